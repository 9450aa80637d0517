//! Every background loop is a [`Worker`]: it has a name, it stops when told, and a failed round is logged in one way.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A loop of rounds. One round does its work and says when the next one is due.
pub trait Worker: Send + 'static {
    const NAME: &'static str;
    type Error: std::error::Error + Send + Sync + 'static;
    /// Between two rounds of which the first failed.
    const RETRY_MAX: Duration = RETRY_MAX;

    /// May be dropped at any await point when the process stops.
    fn round(&mut self) -> impl Future<Output = Result<Duration, Self::Error>> + Send;
}

/// After a failure: 250 ms, doubling to 15 s, so that a manager coming back is noticed soon and not flooded.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// The loops of one process.
#[derive(Clone)]
pub struct Workers {
    tracker: TaskTracker,
    stop: CancellationToken,
}

// === impl Workers ===

impl Workers {
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop }
    }

    pub fn spawn<W: Worker>(&self, mut worker: W) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let mut failures = 0u32;
            loop {
                let result = tokio::select! { result = worker.round() => result, () = stop.cancelled() => return };
                let pause = match result {
                    Ok(pause) => {
                        failures = 0;
                        pause
                    }
                    Err(error) => {
                        failures += 1;
                        let pause = RETRY_MIN.saturating_mul(1 << failures.min(8)).min(W::RETRY_MAX);
                        report(W::NAME, failures, &error, pause);
                        pause
                    }
                };
                tokio::select! { () = tokio::time::sleep(pause) => {}, () = stop.cancelled() => return }
            }
        });
    }

    /// Resolves when all loops have stopped.
    pub async fn stopped(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The first failure and every tenth, so that an outage of a day does not fill a disk.
fn report(worker: &'static str, failures: u32, error: &(dyn std::error::Error + 'static), pause: Duration) {
    if failures == 1 || failures.is_multiple_of(10) {
        tracing::warn!(
            worker,
            failures,
            error = crate::error::chain(error),
            ?pause,
            "a background round failed; trying again"
        );
    }
}
