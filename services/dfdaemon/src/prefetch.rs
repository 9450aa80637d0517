//! Fetching the whole of a content of which somebody has asked for a part.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use df_api::TaskId;
use df_api::range::Requested;
use df_peer::{Delivery, Peer, Task};
use df_store::Trust;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ProxyConfig;

/// Cheap to clone; what it starts is once per task, whoever asks.
#[derive(Clone)]
pub struct Prefetch(Arc<Inner>);

struct Inner {
    peer: Arc<Peer>,
    /// Where a request does not say.
    usual: bool,
    /// For the first byte.
    patience: Duration,
    running: Mutex<HashSet<TaskId>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

// === impl Prefetch ===

impl Prefetch {
    /// What it starts is among `tasks`, and ends with `stop`.
    pub fn new(peer: Arc<Peer>, config: &ProxyConfig, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let (usual, patience) = (config.prefetch, Duration::from_millis(config.first_byte_timeout_ms));
        Self(Arc::new(Inner { peer, usual, patience, running: Mutex::default(), tasks, stop }))
    }

    /// A part of `task` is being read. Reads all of it for nobody, so that the download goes on, unless that is not wished.
    pub fn begin(&self, task: &Arc<Task>, wish: Option<bool>) {
        let wished = wish.unwrap_or(self.0.usual) && !task.stored().is_complete();
        if !wished || !self.0.running.lock().insert(task.id().clone()) {
            return;
        }
        let (prefetch, task) = (self.0.clone(), task.clone());
        self.0.tasks.spawn(async move {
            let read = async {
                let opened = task.open(&prefetch.peer, Requested::Whole, Trust::Landed, prefetch.patience).await;
                let Ok(content) = opened else { return };
                let mut bytes = std::pin::pin!(content.stream(Delivery::default()));
                while let Some(Ok(_)) = bytes.next().await {}
            };
            prefetch.stop.run_until_cancelled(read).await;
            prefetch.running.lock().remove(task.id());
        });
    }
}
