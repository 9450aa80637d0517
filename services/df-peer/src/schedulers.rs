//! The cluster's schedulers as this host knows them, which of them a task belongs to, and which do not answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use df_api::TaskId;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

/// Filled by discovery or by configuration; the last known list stays when the manager is silent.
#[derive(Debug)]
pub struct Schedulers {
    urls: watch::Sender<Vec<String>>,
    /// When they last failed to answer.
    silent: Mutex<HashMap<String, Instant>>,
    doubts: watch::Sender<()>,
}

/// One that did not answer is passed over for this long, unless it answers the host's announcement before: that is sent at
/// once, and again and again.
pub const SILENT_FOR: Duration = Duration::from_secs(10);

// === impl Schedulers ===

impl Schedulers {
    pub fn new(urls: Vec<String>) -> Self {
        Self { urls: watch::Sender::new(urls), silent: Mutex::default(), doubts: watch::Sender::new(()) }
    }

    pub fn set(&self, urls: Vec<String>) {
        self.silent.lock().retain(|url, _| urls.contains(url));
        self.urls.send_if_modified(|known| {
            let changed = *known != urls;
            *known = urls;
            changed
        });
    }

    pub fn urls(&self) -> Vec<String> {
        self.urls.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    /// Rendezvous order: every peer of a task asks the same scheduler first, and one that goes moves only its own tasks.
    /// Without those that have just not answered.
    pub fn for_task(&self, task: &TaskId) -> Vec<String> {
        let mut urls = self.urls();
        let now = Instant::now();
        urls.retain(|url| !self.is_silent(url, now));
        urls.sort_by_cached_key(|url| {
            let mut hash = Sha256::new();
            hash.update(url.as_bytes());
            hash.update([0]);
            hash.update(task.as_str().as_bytes());
            std::cmp::Reverse(hash.finalize().to_vec())
        });
        urls
    }

    /// There are some, and none answers.
    pub fn are_silent(&self) -> bool {
        let (urls, now) = (self.urls(), Instant::now());
        !urls.is_empty() && urls.iter().all(|url| self.is_silent(url, now))
    }

    pub fn set_silent(&self, url: &str) {
        let known = self.silent.lock().insert(url.to_owned(), Instant::now());
        if known.is_none() {
            tracing::info!(url, "a scheduler does not answer: it is passed over until it does");
            self.doubts.send_replace(());
        }
    }

    /// Changes when one has begun to be passed over.
    pub fn doubts(&self) -> watch::Receiver<()> {
        self.doubts.subscribe()
    }

    pub fn is_passed_over(&self, url: &str) -> bool {
        self.is_silent(url, Instant::now())
    }

    pub fn has_answered(&self, url: &str) {
        self.silent.lock().remove(url);
    }

    fn is_silent(&self, url: &str, now: Instant) -> bool {
        self.silent.lock().get(url).is_some_and(|since| now.saturating_duration_since(*since) < SILENT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(n: u32) -> Vec<String> {
        (0..n).map(|i| format!("http://s{i}:8002")).collect()
    }

    fn task(number: u32) -> TaskId {
        format!("{number:064x}").parse().unwrap()
    }

    #[test]
    fn losing_a_scheduler_moves_only_its_tasks() {
        let (four, three) = (Schedulers::new(urls(4)), Schedulers::new(urls(3)));
        let mut moved = 0;
        for i in 0..200u32 {
            let (before, after) = (four.for_task(&task(i))[0].clone(), three.for_task(&task(i))[0].clone());
            moved += u32::from(before != after);
            assert!(before == after || before == "http://s3:8002");
        }
        assert!((20..80).contains(&moved), "{moved} of 200");
    }

    #[test]
    fn one_that_does_not_answer_is_passed_over_until_it_does() {
        let schedulers = Schedulers::new(urls(2));
        let order = schedulers.for_task(&task(1));
        schedulers.set_silent(&order[0]);
        assert_eq!(schedulers.for_task(&task(1)), order[1..]);
        assert!(!schedulers.are_silent());
        schedulers.set_silent(&order[1]);
        assert!(schedulers.are_silent() && schedulers.for_task(&task(1)).is_empty());
        schedulers.has_answered(&order[0]);
        assert_eq!(schedulers.for_task(&task(1)), order[..1]);
        assert!(!Schedulers::new(Vec::new()).are_silent(), "nobody is missing");
    }
}
