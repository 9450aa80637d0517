//! For how long nothing new has come: the one clock of whoever waits for more, whomever it is waited for.
//!
//! **Invariant.** What this host does itself, by its limits and queues, is nobody's silence and does not count.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Stillness(Mutex<Clock>);

#[derive(Debug)]
struct Clock {
    since: Instant,
    /// How many wait for this host right now, and how long others did before.
    holding: u32,
    held: Duration,
}

/// While this host holds itself back.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    clock: &'a Mutex<Clock>,
    began: Instant,
}

// === impl Stillness ===

impl Stillness {
    /// A new byte is here, or somebody begins to wait.
    pub fn end(&self) {
        self.0.lock().since = Instant::now();
    }

    pub fn hold(&self) -> Hold<'_> {
        self.0.lock().holding += 1;
        Hold { clock: &self.0, began: Instant::now() }
    }

    pub fn lasts(&self) -> Duration {
        self.0.lock().since.elapsed()
    }

    /// How long this host has ever held itself back; `None` while it does.
    pub fn held(&self) -> Option<Duration> {
        let clock = self.0.lock();
        (clock.holding == 0).then_some(clock.held)
    }
}

impl Default for Stillness {
    fn default() -> Self {
        Self(Mutex::new(Clock { since: Instant::now(), holding: 0, held: Duration::ZERO }))
    }
}

// === impl Hold ===

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let waited = self.began.elapsed();
        let mut clock = self.clock.lock();
        clock.holding -= 1;
        clock.since += waited;
        clock.held += waited;
    }
}
