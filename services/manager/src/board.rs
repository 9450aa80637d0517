//! Where those hang who wait for a job, or for its end.
//! **Invariant:** only a shortcut: who waits looks into the database itself, too, since another manager may have changed it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How soon a change is noticed that another manager made.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct Board {
    changes: watch::Sender<u64>,
}

// === impl Board ===

impl Board {
    /// Something was changed here.
    pub fn ring(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// To be made before the look whose answer it is to follow.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Until it is time to look again; `false` when `until` has come.
pub async fn next_look(changes: &mut watch::Receiver<u64>, until: Instant) -> bool {
    if Instant::now() >= until {
        return false;
    }
    // Either way somebody looks.
    drop(timeout_at(until.min(Instant::now() + LOOK_EVERY), changes.changed()).await);
    true
}
