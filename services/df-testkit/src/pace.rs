//! A bandwidth limit as a clock: every chunk books the time it takes, and waits for its turn.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Timers of a loaded machine ring this late.
const LATE_MAX: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Pace {
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// Returns when `bytes` may pass at `bytes_per_second`; callers share the rate.
    pub(crate) async fn pass(&self, bytes: usize, bytes_per_second: u64) {
        let took = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        let until = {
            let mut free_at = self.free_at.lock();
            let now = Instant::now();
            // A timer that rings late is made up for by the next chunk; idle time is not.
            let from = free_at.filter(|at| *at + LATE_MAX > now).unwrap_or(now);
            let until = from + took;
            *free_at = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}
