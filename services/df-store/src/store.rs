//! All tasks of one dfdaemon, in one directory.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use df_api::TaskId;
use df_api::scheduler::HeldTask;
use rustix::fs::FlockOperation;
use tokio::sync::watch;

use crate::entry::Entry;
use crate::fault::StoreError;
use crate::home::{Fault, Home};
use crate::policy::Policy;
use crate::recover::list_tasks;
use crate::task::StoredTask;
use crate::{aside, boot};

/// The tasks, and what keeps their number bounded. Cheap to ask; what blocks says so.
#[derive(Debug)]
pub struct Store {
    home: Arc<Home>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the storage directory {dir}")]
    Unusable { dir: PathBuf, source: io::Error },
    #[error("{lock} is held by another process: two daemons cannot share a storage directory")]
    Locked { lock: PathBuf },
}

/// For metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub tasks: usize,
    /// Marked bytes of all tasks.
    pub held_bytes: u64,
    /// Since the start.
    pub evicted_tasks: u64,
    pub storing: bool,
}

/// Free space that must be there before a full disk counts as usable again: this much, or a twentieth of a small one.
const FREE_BYTES: u64 = 64 * 1024 * 1024;
const FREE_SHARE: u64 = 20;
const PROBE_BYTES: usize = 64 * 1024;

// === impl Store ===

impl Store {
    /// Takes the lock and lists the tasks; blocks only for that. What cannot be written to is served from all the same.
    pub fn open(dir: &Path, policy: Policy) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { dir: dir.to_owned(), source };
        let tasks_dir = dir.join("tasks");
        if let Err(error) = std::fs::create_dir_all(&tasks_dir) {
            return Err(unusable(error));
        }
        let lock = take_lock(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { lock: dir.join("lock") },
            _ => unusable(error),
        })?;
        let believed = boot::is_believed(dir);
        let quarantine = aside::Aside::new(dir.join("aside"));
        let index = list_tasks(&tasks_dir, &quarantine, !believed).map_err(unusable)?;
        if !believed && !index.is_empty() {
            tracing::warn!(
                tasks = index.len(),
                "the machine has ended uncleanly: what is stored is checked before use"
            );
        }
        let home = Home::new(dir.to_owned(), policy, index, lock);
        if let Err(error) = prepare(&home) {
            match StoreError::from(error) {
                StoreError::Failed(error) => return Err(unusable(error)),
                error => {
                    home.blocked.store(true, Ordering::Release);
                    home.saw(&error);
                }
            }
        }
        Ok(Self { home: Arc::new(home) })
    }

    /// The task if there is anything of it. Reads its record when nobody uses it yet.
    pub fn get(&self, id: &TaskId) -> Option<Arc<StoredTask>> {
        let entry = self.home.index().get(id).cloned()?;
        self.home.task_of(&entry, false).unwrap_or_else(|error| {
            tracing::warn!(task = %id, %error, "a stored task cannot be read");
            None
        })
    }

    /// Nothing is written before there is something to write.
    pub fn get_or_create(&self, id: &TaskId) -> Result<Arc<StoredTask>, StoreError> {
        loop {
            let entry = {
                let mut index = self.home.index();
                let known = index.get(id).filter(|entry| !entry.is_removed()).cloned();
                known.unwrap_or_else(|| {
                    let new = Arc::new(Entry::new(id.clone(), true, false));
                    index.insert(id.clone(), new.clone());
                    new
                })
            };
            // `None` when it has been removed in between.
            if let Some(task) = self.home.task_of(&entry, true)? {
                return Ok(task);
            }
        }
    }

    /// Something was completed that schedulers do not hear of otherwise.
    pub fn tell_change(&self) {
        self.home.announce_change();
    }

    /// Forgets the task; who holds it reads on. Deleting the returned path may take a while, and is for a blocking
    /// thread. `None` when there is nothing to delete, or another task has taken its place.
    pub fn remove(&self, task: &StoredTask) -> io::Result<Option<PathBuf>> {
        let removed = self.home.remove(&task.entry);
        if task.is_complete() {
            self.home.announce_change();
        }
        removed
    }

    // --- what others should know ---

    /// Complete tasks, to announce: all of them once [`Store::is_surveyed`].
    pub fn held(&self) -> Vec<HeldTask> {
        self.home.index().values().filter_map(|entry| entry.held()).collect()
    }

    /// The first `limit` tasks with a label that is to be listed, whose id is after `after`, in the order of their ids. Blocks where a record has
    /// to be read.
    pub fn labelled(&self, after: Option<&TaskId>, limit: usize) -> Vec<Arc<StoredTask>> {
        let may_be = |entry: &Arc<Entry>| {
            let brief = *entry.brief();
            brief.labelled || !brief.known
        };
        let mut entries: Vec<_> = self.home.entries().into_iter().filter(may_be).collect();
        entries.retain(|entry| after.is_none_or(|after| entry.id > *after));
        entries.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let tasks = entries.iter().filter_map(|entry| self.home.task_of(entry, false).ok().flatten());
        tasks.filter(|task| task.label().is_some_and(|label| !label.unlisted)).take(limit).collect()
    }

    /// Every record has been read: what [`Store::held`] leaves out is not there, or not believed yet.
    pub fn is_surveyed(&self) -> bool {
        self.home.surveyed.load(Ordering::Acquire)
    }

    /// Whether contents can be written. If not, what is there is served all the same.
    pub fn is_storing(&self) -> bool {
        self.home.fault() == Fault::None
    }

    /// Changes when tasks have gone or been found, or storing has stopped or begun: a host's full announcement is due.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.home.changes()
    }

    pub fn usage(&self) -> Usage {
        let tasks = self.home.index().len();
        let held_bytes = self.home.held_bytes();
        Usage { tasks, held_bytes, evicted_tasks: self.home.evictions(), storing: self.is_storing() }
    }

    // --- housekeeping: all of it blocks ---

    /// Reads every record that has not been read yet, and deletes what an earlier process left to be deleted.
    pub fn survey(&self) {
        for entry in self.home.entries() {
            if self.home.is_closed() {
                return;
            }
            let known = entry.brief().known;
            if !known && let Err(error) = self.home.task_of(&entry, false) {
                tracing::warn!(task = %entry.id, %error, "a stored task cannot be read; it is left out");
            }
        }
        self.home.surveyed.store(true, Ordering::Release);
        self.home.announce_change();
        for doomed in std::fs::read_dir(self.home.trash()).into_iter().flatten().flatten() {
            if let Err(error) = aside::remove(&doomed.path()) {
                tracing::debug!(%error, path = %doomed.path().display(), "rubbish is still there");
            }
        }
    }

    /// Checks one task that is suspect after an unclean end of the machine. `false` when there is none, and marks of
    /// this boot are believed from now on.
    pub fn check_one(&self) -> bool {
        let suspect = self.home.entries().into_iter().find(|entry| entry.is_suspect() && !entry.was_tried());
        if let Some(entry) = suspect {
            let found = self.home.task_of(&entry, false);
            // Only now: being read may have made it suspect anew.
            entry.set_tried();
            let checked = found.and_then(|task| task.map_or(Ok(()), |task| task.check()));
            if let Err(error) = checked {
                tracing::warn!(task = %entry.id, %error, "a stored task cannot be checked; it stays out of use");
            }
            return !self.home.is_closed();
        }
        if !self.home.boot_told.load(Ordering::Acquire)
            && let Err(error) = prepare(&self.home)
        {
            self.home.saw(&error.into());
        }
        false
    }

    /// Evicts by the policy; returns how many tasks went. Then, if nothing could be stored, tries whether that is over.
    pub fn keep_house(&self) -> usize {
        let went = self.home.evict_now();
        if !self.is_storing() {
            match probe(&self.home).and_then(|()| prepare(&self.home)) {
                Ok(()) => self.home.set_fault(Fault::None),
                Err(error) => self.home.saw(&error.into()),
            }
        }
        went
    }

    /// Resolves when more has been written than the policy allows: time for [`Store::keep_house`].
    pub async fn crowded(&self) {
        self.home.crowded().await;
    }

    /// The clean end: from now on nothing is written; all that was reaches the disk, and the next start believes it. A
    /// disk that takes longer than `patience` makes it an unclean one.
    pub fn close(&self, patience: Duration) {
        self.home.set_closed();
        if self.home.fault() == Fault::ReadOnly || !self.home.boot_told.load(Ordering::Acquire) {
            return;
        }
        let (done, synced) = mpsc::channel();
        let root = self.home.root.clone();
        std::thread::spawn(move || done.send(sync_disk(&root)));
        let saved = match synced.recv_timeout(patience) {
            Ok(synced) => synced.and_then(|()| boot::save(&self.home.root, true)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "not everything stored has reached the disk");
        }
    }
}

fn take_lock(dir: &Path) -> io::Result<File> {
    let path = dir.join("lock");
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = match opened.map_err(StoreError::from) {
        Ok(lock) => lock,
        // Of a directory that cannot be written to, an old lock will do, or the directory itself.
        Err(error) if error.is_not_storing() => File::open(&path).or_else(|_| File::open(dir))?,
        Err(error) => return Err(io::Error::other(error)),
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// What must be so before the first write: the state file says that nothing is clean any more. It speaks of this boot
/// only when nothing older is suspect.
fn prepare(home: &Home) -> io::Result<()> {
    if home.trash().symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
        home.aside.put(&home.trash(), "not a folder");
    }
    std::fs::create_dir_all(home.trash())?;
    let state = home.root.join("state");
    if state.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        home.aside.put(&state, "not a file");
    }
    if !home.entries().iter().any(|entry| entry.is_suspect()) {
        boot::save(&home.root, false)?;
        home.boot_told.store(true, Ordering::Release);
    }
    home.blocked.store(false, Ordering::Release);
    Ok(())
}

fn probe(home: &Home) -> io::Result<()> {
    let disk = rustix::fs::statvfs(&home.root)?;
    let (all, free) = (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < FREE_BYTES.min(all / FREE_SHARE) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    std::fs::create_dir_all(home.trash())?;
    let path = home.trash().join("probe");
    let written = std::fs::write(&path, [1; PROBE_BYTES]);
    std::fs::remove_file(&path)?;
    written
}

fn sync_disk(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(root)?.as_fd())?)
}
