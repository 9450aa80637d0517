//! How fast this node may receive: in all, from origins, ahead of any reader, and per task.
//!
//! **Invariant.** Whoever receives bytes tells them here first, and goes on reading only when this returns: so a limit is
//! felt by the sender, and nothing piles up in memory.

use std::num::NonZeroU64;

use df_http::RateLimit;
use serde::{Deserialize, Serialize};

use crate::task::{Source, Task};

/// How this node downloads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DownloadConfig {
    /// Bytes per second from peers and origins together. Default: unlimited.
    pub bandwidth_limit: Option<NonZeroU64>,
    /// Bytes per second from all origins together. Default: unlimited.
    pub origin_bandwidth_limit: Option<NonZeroU64>,
    /// Bytes per second of what nobody is waiting for: preheating, and the rest of what was read in part. Default:
    /// unlimited.
    pub prefetch_bandwidth_limit: Option<NonZeroU64>,
    /// Bytes per second of each task. Default: unlimited.
    pub task_bandwidth_limit: Option<NonZeroU64>,
    /// Ranges one task asks of its origin at once. Default: 4.
    pub origin_streams: usize,
}

/// What [`DownloadConfig`] amounts to.
#[derive(Debug)]
pub(crate) struct Limits {
    total: RateLimit,
    origin: RateLimit,
    prefetch: RateLimit,
    per_task: Option<NonZeroU64>,
}

impl Default for DownloadConfig {
    fn default() -> Self {
        Self {
            bandwidth_limit: None,
            origin_bandwidth_limit: None,
            prefetch_bandwidth_limit: None,
            task_bandwidth_limit: None,
            origin_streams: 4,
        }
    }
}

// === impl Limits ===

impl Limits {
    pub fn new(config: &DownloadConfig) -> Self {
        Self {
            total: RateLimit::new(config.bandwidth_limit),
            origin: RateLimit::new(config.origin_bandwidth_limit),
            prefetch: RateLimit::new(config.prefetch_bandwidth_limit),
            per_task: config.task_bandwidth_limit,
        }
    }

    /// Counts bytes that have just come, and returns when the next may be read.
    pub async fn received(&self, source: Source, task: &Task, bytes: u64) {
        task.count(source, bytes);
        // It is no silence of the sender.
        let _held = task.stillness().hold();
        task.rate(|| RateLimit::new(self.per_task)).take(bytes).await;
        if source == Source::Origin {
            self.origin.take(bytes).await;
        }
        if task.readers().is_empty() {
            self.prefetch.take(bytes).await;
        }
        self.total.take(bytes).await;
    }
}
