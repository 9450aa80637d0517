//! What is remembered of a task that nobody uses: a few numbers, no open file, no digests.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use df_api::TaskId;
use df_api::scheduler::HeldTask;
use parking_lot::{Mutex, MutexGuard};

use crate::evict::Candidate;
use crate::task::StoredTask;

/// One line of the index. Outlives the task's being in use, not its being stored.
#[derive(Debug)]
pub(crate) struct Entry {
    pub id: TaskId,
    /// The task while somebody holds it. Locked while it is read from disk, so that there is one at most.
    pub live: Mutex<Weak<StoredTask>>,
    brief: Mutex<Brief>,
    /// Pins: open contents, and downloads.
    uses: AtomicU32,
    /// Unix seconds.
    last_read_s: AtomicU64,
    saved_read_s: AtomicU64,
    /// Its marks are from before an unclean end of the machine, or somebody has written to its content since: they are
    /// not believed yet.
    suspect: AtomicBool,
    /// The background pass has been here.
    tried: AtomicBool,
    /// Held by whoever checks it.
    pub checking: Mutex<()>,
    removed: AtomicBool,
}

/// What the record says, in short.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brief {
    /// The record has been read, or there was none.
    pub known: bool,
    pub held_bytes: u64,
    /// Of a complete task: its length and piece length.
    pub whole: Option<(u64, u64)>,
    pub labelled: bool,
    pub imported: bool,
}

/// How far the last read on disk may lag behind.
const SAVE_EVERY_S: u64 = 60;

/// Keeps a task from being evicted.
#[derive(Debug)]
pub struct Pin(Arc<Entry>);

// === impl Pin ===

impl Pin {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        entry.uses.fetch_add(1, Ordering::AcqRel);
        entry.last_read_s.store(now_s(), Ordering::Relaxed);
        Self(entry)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.last_read_s.store(now_s(), Ordering::Relaxed);
        self.0.uses.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Entry ===

impl Entry {
    pub fn new(id: TaskId, known: bool, suspect: bool) -> Self {
        Self {
            id,
            live: Mutex::default(),
            brief: Mutex::new(Brief { known, ..Brief::default() }),
            uses: AtomicU32::new(0),
            last_read_s: AtomicU64::new(now_s()),
            saved_read_s: AtomicU64::new(0),
            suspect: AtomicBool::new(suspect),
            tried: AtomicBool::new(false),
            checking: Mutex::default(),
            removed: AtomicBool::new(false),
        }
    }

    pub fn brief(&self) -> MutexGuard<'_, Brief> {
        self.brief.lock()
    }

    pub fn in_use(&self) -> bool {
        self.uses.load(Ordering::Acquire) > 0
    }

    /// As found on disk.
    pub fn set_last_read(&self, at_s: u64) {
        self.last_read_s.store(at_s, Ordering::Relaxed);
        self.saved_read_s.store(at_s, Ordering::Relaxed);
    }

    pub fn last_read_s(&self) -> u64 {
        self.last_read_s.load(Ordering::Relaxed)
    }

    /// When the last read should be written down now.
    pub fn read_to_save(&self) -> bool {
        let last = self.last_read_s();
        let due = last >= self.saved_read_s.load(Ordering::Relaxed) + SAVE_EVERY_S;
        if due {
            self.saved_read_s.store(last, Ordering::Relaxed);
        }
        due
    }

    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    pub fn set_suspect(&self) {
        self.suspect.store(true, Ordering::Release);
        self.tried.store(false, Ordering::Release);
    }

    pub fn clear_suspicion(&self) {
        self.suspect.store(false, Ordering::Release);
    }

    pub fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    pub fn set_tried(&self) {
        self.tried.store(true, Ordering::Release);
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub fn held(&self) -> Option<HeldTask> {
        let brief = *self.brief();
        let (length, piece_length) = brief.whole.filter(|_| !self.is_suspect())?;
        Some(HeldTask { id: self.id.clone(), length, piece_length, imported: brief.imported })
    }

    /// `None` while its size is not known.
    pub fn candidate(&self) -> Option<Candidate> {
        let brief = *self.brief();
        brief.known.then(|| Candidate {
            id: self.id.clone(),
            bytes: brief.held_bytes,
            last_read_s: self.last_read_s(),
            pinned: self.in_use(),
            complete: brief.whole.is_some(),
        })
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
