//! For how long nothing new has come: the one clock of whoever waits for more, whomever it is waited for.
//!
//! **Invariant.** What this host does itself, by its limits and queues, is nobody's silence and does not count.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Stillness(Mutex<Instant>);

// === impl Stillness ===

impl Stillness {
    /// A new byte is here, or somebody begins to wait.
    pub fn end(&self) {
        *self.0.lock() = Instant::now();
    }

    pub fn excuse(&self, waited: Duration) {
        *self.0.lock() += waited;
    }

    pub fn lasts(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

impl Default for Stillness {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}
