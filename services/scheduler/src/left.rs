//! Who has left a moment ago, so that a report of before which comes late does not bring it back.
//!
//! **Invariant.** Bounded in number and time: what does not fit is not remembered, and then a late report costs as much as
//! one of a host that has vanished.

use std::collections::HashMap;

use df_api::{HostId, TaskId};
use serde::{Deserialize, Serialize};

/// A request may have been on its way for this long.
const LATE_MS: u64 = 10_000;
const LEFT_MAX: usize = 100_000;

/// Hosts, and peers of tasks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Left {
    of: HashMap<(HostId, Option<TaskId>), Gone>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Gone {
    seq: u64,
    until_ms: u64,
}

// === impl Left ===

impl Left {
    /// With the number of the farewell.
    pub fn note(&mut self, now_ms: u64, host: &HostId, task: Option<&TaskId>, seq: u64) {
        if self.of.len() < LEFT_MAX {
            let gone = self.of.entry((host.clone(), task.cloned())).or_insert(Gone { seq, until_ms: 0 });
            *gone = Gone { seq: gone.seq.max(seq), until_ms: now_ms + LATE_MS };
        }
    }

    /// A report of a peer, or of a host where no task is named, is older than the farewell of either.
    pub fn is_late(&self, now_ms: u64, host: &HostId, task: Option<&TaskId>, seq: u64) -> bool {
        if self.of.is_empty() {
            return false;
        }
        let gone = |task: Option<&TaskId>| self.of.get(&(host.clone(), task.cloned()));
        let all = [gone(None), task.and_then(|task| gone(Some(task)))];
        all.into_iter().flatten().any(|gone| gone.until_ms > now_ms && gone.seq > seq)
    }

    pub fn expire(&mut self, now_ms: u64) {
        self.of.retain(|_, gone| gone.until_ms > now_ms);
    }
}
