//! Who reads a task right now, and where: what the download fetches first, and whether it is still wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::task::Task;

/// A program that hung up and comes back for the rest does so at once: what is here by then stays.
const PROGRAM_AWAY: Duration = Duration::from_secs(1);
/// A child asks piece by piece, and others in between.
const CHILD_AWAY: Duration = Duration::from_secs(10);

/// The readers of one task: the runtime's, those of programs of this node, and children.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    open: Mutex<Open>,
    /// Told at each leaving.
    leaving: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Reader → where it is.
    at: BTreeMap<u64, Place>,
    /// Somebody has left whose leaving matters.
    left: bool,
    /// From then on nobody wants it, when nobody reads by then.
    until: Option<Instant>,
    /// It was begun for children, who are the only ones to want it then.
    for_children: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The next byte it needs.
    offset: u64,
    /// A program of this node, which goes on from there to the end of the content, or far: a child asks for a piece, and
    /// then for another.
    goes_on: bool,
}

/// One reader; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    task: Arc<Task>,
    key: u64,
}

// === impl Readers ===

impl Readers {
    pub fn is_empty(&self) -> bool {
        self.open.lock().at.is_empty()
    }

    /// Where they read, without repetition, ascending.
    pub fn offsets(&self) -> Vec<u64> {
        self.offsets_of(|_| true)
    }

    /// Of those who go on from there.
    pub fn fronts(&self) -> Vec<u64> {
        self.offsets_of(|place| place.goes_on)
    }

    fn offsets_of(&self, which: impl Fn(&Place) -> bool) -> Vec<u64> {
        let mut offsets: Vec<u64> =
            self.open.lock().at.values().filter(|place| which(place)).map(|place| place.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        offsets
    }

    /// Somebody has asked for the task, and is about to read.
    pub fn expect(&self, for_children: bool) {
        let mut open = self.open.lock();
        open.wanted_for(CHILD_AWAY);
        open.for_children = for_children;
    }

    /// How long it will be until nobody wants the content any more, should nobody come. `None` while somebody reads, and
    /// before anybody ever did: what was started without a reader is wanted by whoever started it, also after children
    /// have come and gone.
    pub fn unwanted_in(&self) -> Option<Duration> {
        let open = self.open.lock();
        let until = open.until.filter(|_| open.left && open.at.is_empty())?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Resolves when a reader leaves, from this call on.
    pub fn leaves(&self) -> impl Future<Output = ()> + '_ {
        self.leaving.notified()
    }
}

// === impl Open ===

impl Open {
    fn wanted_for(&mut self, away: Duration) {
        self.until = self.until.max(Some(Instant::now() + away));
    }
}

// === impl Reading ===

impl Reading {
    pub fn start(task: &Arc<Task>, offset: u64, goes_on: bool) -> Self {
        let mut open = task.readers().open.lock();
        let key = open.next;
        open.next += 1;
        open.at.insert(key, Place { offset, goes_on });
        drop(open);
        // The download may have something else to fetch first now.
        task.stored().wake();
        Self { task: task.clone(), key }
    }

    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    pub fn moved_to(&self, offset: u64) {
        if let Some(place) = self.task.readers().open.lock().at.get_mut(&self.key) {
            place.offset = offset;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let readers = self.task.readers();
        let mut open = readers.open.lock();
        let program = open.at.remove(&self.key).is_some_and(|place| place.goes_on);
        open.left |= program || open.for_children;
        open.wanted_for(if program { PROGRAM_AWAY } else { CHILD_AWAY });
        drop(open);
        readers.leaving.notify_waiters();
    }
}
