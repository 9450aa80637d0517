//! The directory, shared by the store and by the tasks in use: the index, what is evicted, and whether anything can be
//! written.
//!
//! **Invariant.** Locks are taken in this order: `evicting`, `index`, an entry's `live`, a task's `record`, its `content`,
//! its `state`. Nobody holds a task's lock while room is made.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use df_api::TaskId;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use rustix::fs::FlockOperation;
use tokio::sync::{Notify, watch};

use crate::aside::{self, Aside};
use crate::entry::{Entry, now_s};
use crate::evict::{Limits, evict};
use crate::fault::StoreError;
use crate::policy::Policy;
use crate::recover::{Folder, read_folder};
use crate::task::StoredTask;

#[derive(Debug)]
pub(crate) struct Home {
    pub root: PathBuf,
    pub policy: Policy,
    pub index: Mutex<HashMap<TaskId, Arc<Entry>>>,
    pub aside: Aside,
    pub surveyed: AtomicBool,
    /// The state file speaks of this boot of the machine.
    pub boot_told: AtomicBool,
    /// The state file could not be written at the start: it may still say that the last end was clean.
    pub blocked: AtomicBool,
    changes: watch::Sender<u64>,
    fault: AtomicU8,
    closed: RwLock<bool>,
    evicting: Mutex<()>,
    evicted: AtomicU64,
    /// Bytes that may still be marked before there is more than the policy allows.
    room: AtomicU64,
    crowded: Notify,
    renamed: AtomicU64,
    /// Held for as long as the store lives.
    lock: File,
}

/// Why nothing is stored now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    NoSpace,
    ReadOnly,
}

impl Drop for Home {
    fn drop(&mut self) {
        // Not by closing: a child process that is just being started has a copy of every open file.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// When the room of what is evicted is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Soon,
    /// Nothing goes that somebody still knows of: it stays readable for them, and so its room stays taken.
    Now,
}

// === impl Home ===

impl Home {
    pub fn new(root: PathBuf, policy: Policy, index: HashMap<TaskId, Arc<Entry>>, lock: File) -> Self {
        Self {
            aside: Aside::new(root.join("aside")),
            root,
            policy,
            index: Mutex::new(index),
            surveyed: AtomicBool::new(false),
            boot_told: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            changes: watch::Sender::new(0),
            fault: AtomicU8::new(Fault::None as u8),
            closed: RwLock::new(false),
            evicting: Mutex::default(),
            room: AtomicU64::new(u64::MAX),
            crowded: Notify::new(),
            evicted: AtomicU64::new(0),
            renamed: AtomicU64::new(0),
            lock,
        }
    }

    pub fn index(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<Entry>>> {
        self.index.lock()
    }

    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.index().values().cloned().collect()
    }

    /// Two levels, so that no folder has more than a few thousand entries.
    pub fn folder(&self, id: &TaskId) -> PathBuf {
        self.root.join("tasks").join(&id.as_str()[..2]).join(id.as_str())
    }

    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    // --- tasks ---

    /// The task in use, read from disk if nobody uses it now. `None` when there is nothing of it; then its entry has
    /// been removed, unless it is to be created.
    pub fn task_of(self: &Arc<Self>, entry: &Arc<Entry>, create: bool) -> Result<Option<Arc<StoredTask>>, StoreError> {
        let mut live = entry.live.lock();
        if entry.is_removed() {
            return Ok(None);
        }
        if let Some(task) = live.upgrade() {
            return Ok(Some(task));
        }
        let dir = self.folder(&entry.id);
        let (recovered, cut) = match read_folder(&dir)? {
            Folder::Sound { recovered, cut, altered, changed_s } => {
                if !entry.brief().known {
                    entry.set_last_read(changed_s);
                }
                if altered {
                    tracing::warn!(task = %entry.id, "a content has changed after its record: it is checked before use");
                    entry.set_suspect();
                    // It may have been announced before.
                    self.announce_change();
                }
                (Some(recovered), cut)
            }
            Folder::Missing => (None, false),
            Folder::Empty => {
                self.discard(&entry.id);
                (None, false)
            }
            Folder::Foreign(why) => {
                self.aside.put(&dir, why);
                (None, false)
            }
        };
        if recovered.is_none() {
            entry.clear_suspicion();
            if !create {
                entry.set_removed();
                drop(live);
                self.forget(entry);
                return Ok(None);
            }
        }
        let recovered = recovered.unwrap_or_default();
        let task = Arc::new(StoredTask::new(entry.clone(), Arc::downgrade(self), dir, recovered));
        task.tell_brief(&task.state());
        if cut {
            // Otherwise the holes of a content that grows again would be believed after the next start.
            task.rewrite(&mut task.record.lock(), &task.state())?;
        }
        *live = Arc::downgrade(&task);
        Ok(Some(task))
    }

    fn forget(&self, entry: &Arc<Entry>) {
        let mut index = self.index();
        if index.get(&entry.id).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            index.remove(&entry.id);
        }
    }

    /// A folder without a task.
    fn discard(&self, id: &TaskId) {
        let doomed = self.doomed(id);
        let deleted = std::fs::rename(self.folder(id), &doomed).and_then(|()| aside::remove(&doomed));
        if let Err(error) = deleted {
            tracing::debug!(task = %id, %error, "an empty folder is still there");
        }
    }

    fn doomed(&self, id: &TaskId) -> PathBuf {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let number = self.renamed.fetch_add(1, Ordering::Relaxed);
        self.trash().join(format!("{at_ms}-{number}-{id}"))
    }

    /// Out of the index and of its folder; who holds it reads on. Returns what is to be deleted. The folder is renamed
    /// under the index's lock, so that a new task of the same id never meets it.
    pub fn remove(&self, entry: &Arc<Entry>) -> io::Result<Option<PathBuf>> {
        let mut index = self.index();
        if !index.get(&entry.id).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            return Ok(None);
        }
        let live = entry.live.lock();
        match live.upgrade() {
            Some(task) => task.detach(),
            None => entry.set_removed(),
        }
        index.remove(&entry.id);
        let doomed = self.doomed(&entry.id);
        match std::fs::rename(self.folder(&entry.id), &doomed) {
            Ok(()) => Ok(Some(doomed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    // --- room ---

    /// How many tasks have been evicted so far.
    pub fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Acquire)
    }

    pub fn held_bytes(&self) -> u64 {
        self.index().values().map(|entry| entry.brief().held_bytes).sum()
    }

    pub fn disk_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.root).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    /// The disk is full. `true` when trying again may help; `seen`: evictions before the attempt that failed.
    pub fn make_room(&self, seen: u64) -> bool {
        let _one = self.evicting.lock();
        self.evictions() != seen
            || self.evict_within(self.policy.limits_when_full(self.disk_bytes(), self.held_bytes()), Room::Now) > 0
    }

    /// By the policy. Returns how many tasks went.
    pub fn evict_now(&self) -> usize {
        let _one = self.evicting.lock();
        let limits = self.policy.limits(self.disk_bytes());
        let went = self.evict_within(limits, Room::Soon);
        self.room.store(limits.high_bytes.saturating_sub(self.held_bytes()), Ordering::Release);
        went
    }

    /// So many bytes have been marked.
    pub fn grew(&self, bytes: u64) {
        let take = |room: u64| Some(room.saturating_sub(bytes));
        if self.room.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok_and(|room| room < bytes) {
            self.crowded.notify_one();
        }
    }

    /// Resolves when so much has been marked since the policy was last applied that it has to be again.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    fn evict_within(&self, limits: Limits, room: Room) -> usize {
        if self.fault() == Fault::ReadOnly {
            return 0;
        }
        let candidates: Vec<_> = self.entries().iter().filter_map(|entry| entry.candidate()).collect();
        let mut went = 0;
        for id in evict(&candidates, limits, now_s()) {
            let Some(entry) = self.index().get(&id).cloned().filter(|entry| !entry.in_use()) else { continue };
            if room == Room::Now && entry.live.lock().strong_count() > 0 {
                continue;
            }
            let removed = self.remove(&entry).and_then(|doomed| doomed.map_or(Ok(()), |doomed| aside::remove(&doomed)));
            match removed {
                Ok(()) => {
                    went += 1;
                    tracing::info!(task = %id, bytes = entry.brief().held_bytes, "evicted");
                }
                Err(error) => tracing::warn!(task = %id, %error, "an evicted task's files are still there"),
            }
        }
        if went > 0 {
            self.evicted.fetch_add(went as u64, Ordering::AcqRel);
            self.announce_change();
        }
        went
    }

    // --- whether anything can be written ---

    pub fn fault(&self) -> Fault {
        match self.fault.load(Ordering::Acquire) {
            1 => Fault::NoSpace,
            2 => Fault::ReadOnly,
            _ => Fault::None,
        }
    }

    pub fn set_fault(&self, fault: Fault) {
        if self.fault.swap(fault as u8, Ordering::AcqRel) == fault as u8 {
            return;
        }
        match fault {
            Fault::None => tracing::info!(dir = %self.root.display(), "storing again"),
            Fault::NoSpace => tracing::error!(dir = %self.root.display(), "not storing: no space is left"),
            Fault::ReadOnly => tracing::error!(dir = %self.root.display(), "not storing: it cannot be written to"),
        }
        self.announce_change();
    }

    /// A write has failed for good.
    pub fn saw(&self, error: &StoreError) {
        match error {
            StoreError::NoSpace(_) => self.set_fault(Fault::NoSpace),
            StoreError::ReadOnly(_) => self.set_fault(Fault::ReadOnly),
            StoreError::Failed(_) => {}
        }
    }

    /// While it is held the store is not closed.
    pub fn begin_write(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        if self.blocked.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let closed = self.closed.read();
        if *closed { Err(io::Error::other("the store has been closed")) } else { Ok(closed) }
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.read()
    }

    pub fn set_closed(&self) {
        *self.closed.write() = true;
    }

    // --- what others should know ---

    pub fn announce_change(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
