//! The directory: one folder per task, one process per directory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use df_api::TaskId;
use df_api::scheduler::HeldTask;
use rustix::fs::FlockOperation;

use crate::task::StoredTask;

/// All tasks of one dfdaemon.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    trash: PathBuf,
    removed: AtomicU64,
    tasks: Mutex<HashMap<TaskId, Arc<StoredTask>>>,
    /// Held for as long as the store lives.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the storage directory {dir}")]
    Unusable { dir: PathBuf, source: io::Error },
    #[error("{lock} is held by another process: two daemons cannot share a storage directory")]
    Locked { lock: PathBuf },
}

// === impl Store ===

impl Store {
    /// Takes the lock and reads what is there. Content is not read: only marked pieces are believed.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { dir: dir.to_owned(), source };
        let tasks_dir = dir.join("tasks");
        std::fs::create_dir_all(&tasks_dir).map_err(unusable)?;
        let lock_path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(unusable)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::Locked { lock: lock_path })?;
        let trash = dir.join("trash");
        if trash.exists() {
            std::fs::remove_dir_all(&trash).map_err(unusable)?;
        }
        std::fs::create_dir(&trash).map_err(unusable)?;
        let tasks = recover(&tasks_dir).map_err(unusable)?;
        Ok(Self { dir: tasks_dir, trash, removed: AtomicU64::new(0), tasks: Mutex::new(tasks), _lock: lock })
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<StoredTask>>> {
        self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn get(&self, id: &TaskId) -> Option<Arc<StoredTask>> {
        self.tasks().get(id).cloned()
    }

    pub fn get_or_create(&self, id: &TaskId) -> io::Result<Arc<StoredTask>> {
        let mut tasks = self.tasks();
        if let Some(task) = tasks.get(id) {
            return Ok(task.clone());
        }
        let task = Arc::new(StoredTask::open(id.clone(), &folder(&self.dir, id))?);
        tasks.insert(id.clone(), task.clone());
        Ok(task)
    }

    /// Forgets the task; who holds it reads on. Its folder is renamed under the lock, so that a new task of the same id
    /// never meets it; deleting the returned path may take a while, and is for a blocking thread.
    pub fn remove(&self, id: &TaskId) -> io::Result<PathBuf> {
        let mut tasks = self.tasks();
        tasks.remove(id);
        let doomed = self.trash.join(format!("{id}-{}", self.removed.fetch_add(1, Ordering::Relaxed)));
        std::fs::rename(folder(&self.dir, id), &doomed)?;
        Ok(doomed)
    }

    /// Complete tasks, to announce.
    pub fn held(&self) -> Vec<HeldTask> {
        let complete = |(id, task): (&TaskId, &Arc<StoredTask>)| {
            let meta = task.meta().filter(|_| task.is_complete())?;
            Some(HeldTask { id: id.clone(), length: meta.length?, piece_length: meta.piece_length })
        };
        self.tasks().iter().filter_map(complete).collect()
    }
}

/// Two levels, so that no folder has more than a few thousand entries.
fn folder(dir: &Path, id: &TaskId) -> PathBuf {
    dir.join(&id.as_str()[..2]).join(id.as_str())
}

fn recover(dir: &Path) -> io::Result<HashMap<TaskId, Arc<StoredTask>>> {
    let mut tasks = HashMap::new();
    for shelf in std::fs::read_dir(dir)? {
        for entry in std::fs::read_dir(shelf?.path())? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok()) else { continue };
            match StoredTask::open(id.clone(), &entry.path()) {
                // Never described: an origin that did not answer.
                Ok(task) if task.meta().is_none() => std::fs::remove_dir_all(entry.path())?,
                Ok(task) => {
                    tasks.insert(id, Arc::new(task));
                }
                Err(error) => tracing::warn!(%error, task = %id, "a stored task cannot be read; it is left out"),
            }
        }
    }
    Ok(tasks)
}
