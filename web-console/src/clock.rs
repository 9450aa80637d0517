//! The one timer of the page: what counts down, polls or goes stale looks at this signal.

use std::time::Duration;

use leptos::prelude::*;

/// Milliseconds since the epoch, a new value every second.
#[derive(Clone, Copy)]
pub struct Clock(RwSignal<f64>);

pub fn now() -> f64 {
    js_sys::Date::now()
}

/// The time of day as a clock on the wall shows it.
pub fn time_of_day(ms: f64) -> String {
    let date = js_sys::Date::new(&ms.into());
    format!("{:02}:{:02}:{:02}", date.get_hours(), date.get_minutes(), date.get_seconds())
}

/// The same for machines.
pub fn iso(ms: f64) -> String {
    String::from(js_sys::Date::new(&ms.into()).to_iso_string())
}

// === impl Clock ===

impl Clock {
    pub fn start() -> Self {
        let ticks = RwSignal::new(now());
        set_interval(move || ticks.set(now()), Duration::from_secs(1));
        Self(ticks)
    }

    pub fn now(self) -> f64 {
        self.0.get()
    }
}
