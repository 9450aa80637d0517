//! The cluster's schedulers as this host knows them, and which of them a task belongs to.

use df_api::TaskId;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

/// Filled by discovery or by configuration; the last known list stays when the manager is silent.
#[derive(Debug)]
pub struct Schedulers {
    urls: watch::Sender<Vec<String>>,
}

// === impl Schedulers ===

impl Schedulers {
    pub fn new(urls: Vec<String>) -> Self {
        Self { urls: watch::Sender::new(urls) }
    }

    pub fn set(&self, urls: Vec<String>) {
        self.urls.send_if_modified(|known| {
            let changed = *known != urls;
            *known = urls;
            changed
        });
    }

    pub fn subscribe(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    /// Rendezvous order: every peer of a task asks the same scheduler first, and one that goes moves only its own tasks.
    pub fn for_task(&self, task: &TaskId) -> Vec<String> {
        let mut urls = self.urls.borrow().clone();
        urls.sort_by_cached_key(|url| {
            let mut hash = Sha256::new();
            hash.update(url.as_bytes());
            hash.update([0]);
            hash.update(task.as_str().as_bytes());
            std::cmp::Reverse(hash.finalize().to_vec())
        });
        urls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_a_scheduler_moves_only_its_tasks() {
        let urls = |n: u32| (0..n).map(|i| format!("http://s{i}:8002")).collect::<Vec<_>>();
        let (four, three) = (Schedulers::new(urls(4)), Schedulers::new(urls(3)));
        let mut moved = 0;
        for i in 0..200u32 {
            let task: TaskId = format!("{i:064x}").parse().unwrap();
            let (before, after) = (four.for_task(&task)[0].clone(), three.for_task(&task)[0].clone());
            moved += u32::from(before != after);
            assert!(before == after || before == "http://s3:8002");
        }
        assert!((20..80).contains(&moved), "{moved} of 200");
    }
}
