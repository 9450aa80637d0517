//! When something last moved: what waits for others is given up when nothing does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Shared by what moves and what watches.
#[derive(Clone, Debug)]
pub struct Moved(Arc<Mutex<Instant>>);

// === impl Moved ===

impl Moved {
    pub fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Resolves when nothing has moved for `idle`.
    pub async fn still_for(&self, idle: Duration) {
        loop {
            let until = *self.0.lock() + idle;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}
