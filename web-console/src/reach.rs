//! Whether the manager answers. Every call reports here; while it is silent, one prober (see `app`) asks again, and the
//! rest of the page waits for it, so that a manager that comes back is not met by a crowd.

use leptos::prelude::*;

use crate::api::Failure;
use crate::clock::now;

/// When to ask again, while there is no answer.
#[derive(Clone, Copy)]
pub struct Reach(RwSignal<Option<f64>>);

const RETRY_AFTER_MS: f64 = 4000.0;

// === impl Reach ===

impl Reach {
    pub fn new() -> Self {
        Self(RwSignal::new(None))
    }

    pub fn answers(self) -> bool {
        self.0.with(Option::is_none)
    }

    /// True from the moment the next try is due.
    pub fn is_due(self, now: f64) -> bool {
        self.0.get().is_some_and(|due| now >= due)
    }

    /// `now` may be a second old: that must not show as a second more.
    pub fn seconds_left(self, now: f64) -> u32 {
        let left_ms = self.0.get().map_or(0.0, |due| (due - now).clamp(0.0, RETRY_AFTER_MS));
        (left_ms / 1000.0).ceil() as u32
    }

    pub fn try_now(self) {
        self.0.update(|due| *due = due.map(|_| 0.0));
    }

    pub fn note<T>(self, outcome: &Result<T, Failure>) {
        match outcome {
            Err(Failure::Silent) => self.0.set(Some(now() + RETRY_AFTER_MS)),
            _ if self.0.with_untracked(Option::is_some) => self.0.set(None),
            _ => {}
        }
    }
}
