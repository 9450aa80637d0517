//! What programs of this node may do with the tasks that are theirs: see them, take them as files, remove them.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use df_api::TaskId;
use df_api::dfdaemon::TaskList;
use df_api::task::Origin;
use df_store::Label;

use crate::peer::Peer;
use crate::reader::ReadError;
use crate::readers::Reading;
use crate::sync;
use crate::task::{Failure, Task};

/// Why a task stays.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("it is being fetched; remove it when that is over, or end whoever reads it")]
    Running,
    #[error("its files cannot be removed: {0}")]
    Storage(io::Error),
}

/// Why a file does not get a task's bytes this way.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// Copying works all the same.
    #[error("the file cannot share the store's bytes: {0}")]
    Impossible(io::Error),
    #[error(transparent)]
    Failed(Arc<Failure>),
    #[error("nobody is fetching the rest of this task")]
    Idle,
}

/// How long the schedulers are waited for: they learn of it by the host's next list, too.
const TELL_PATIENCE: Duration = Duration::from_secs(2);

// === impl Task ===

impl Task {
    /// From now on the programs of this node may see and read it. Blocks when something of it is stored.
    pub fn give_to_programs(&self, origin: &Origin) {
        self.stored().set_label(Label {
            url: Some(origin.shown_url()).filter(|url| !url.is_empty()),
            tag: origin.tag.clone(),
            application: origin.application.clone(),
            unlisted: origin.scope.is_some(),
        });
    }

    /// Waits for all of it, and keeps the download going as a reader does.
    pub async fn whole(self: &Arc<Self>) -> Result<(), ReadError> {
        let _reading = Reading::start(self, 0, true);
        let mut changes = self.stored().subscribe();
        loop {
            changes.borrow_and_update();
            if self.stored().is_complete() {
                return Ok(());
            }
            if let Some(failure) = self.failure() {
                return Err(ReadError::Failed(failure));
            }
            if !self.is_running() {
                return Err(ReadError::Idle);
            }
            let _ = changes.changed().await;
        }
    }

    /// Waits up to `patience` for the task to be complete, and makes the empty `file` share its bytes; `false` when it
    /// is not complete by then. Whether that can be is said at once.
    pub async fn clone_into(self: &Arc<Self>, file: Arc<File>, patience: Duration) -> Result<bool, CloneError> {
        // As a reader does, it keeps the download going.
        let _reading = Reading::start(self, 0, true);
        let mut changes = self.stored().subscribe();
        let complete = async {
            let mut tried = false;
            loop {
                changes.borrow_and_update();
                if self.stored().is_complete() {
                    return Ok(());
                }
                if let Some(failure) = self.failure() {
                    return Err(CloneError::Failed(failure));
                }
                if !self.is_running() {
                    return Err(CloneError::Idle);
                }
                if !tried && self.stored().snapshot().landed_bytes > 0 {
                    self.share(file.clone(), None).await?;
                    tried = true;
                }
                let _ = changes.changed().await;
            }
        };
        match tokio::time::timeout(patience, complete).await {
            Ok(Ok(())) => {
                let length = self.stored().meta().and_then(|meta| meta.length);
                self.share(file, length).await.map(|()| true)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Without the `length` it must have in the end this is a trial, which leaves `file` empty.
    async fn share(&self, file: Arc<File>, length: Option<u64>) -> Result<(), CloneError> {
        let content = self.stored().clone().content();
        let share = move || {
            content?.share_with(&file)?;
            if length == Some(file.metadata()?.len()) {
                return Ok(());
            }
            file.set_len(0)?;
            if length.is_none() { Ok(()) } else { Err(io::Error::other("the stored file has another length")) }
        };
        let shared = tokio::task::spawn_blocking(share).await.map_err(io::Error::other);
        shared.and_then(|shared| shared).map_err(CloneError::Impossible)
    }
}

// === impl Peer ===

impl Peer {
    /// Those that programs of this node have asked for or imported, at most `limit` after that id. Blocks.
    pub fn tasks_of_programs(&self, after: Option<&TaskId>, limit: usize) -> TaskList {
        let mut stored = self.store().labelled(after, limit.saturating_add(1));
        let more = stored.len() > limit;
        stored.truncate(limit);
        let next = stored.last().filter(|_| more).map(|task| task.id().clone());
        let tasks = stored.iter().filter_map(|stored| self.task(stored.id()));
        TaskList { tasks: tasks.map(|task| task.status()).collect(), next }
    }

    /// The task is no longer on this host; who reads it reads on. The cluster is told.
    pub async fn remove_task(self: &Arc<Self>, task: &Arc<Task>) -> Result<(), RemoveError> {
        if task.is_running() {
            return Err(RemoveError::Running);
        }
        let (peer, stored) = (self.clone(), task.stored().clone());
        self.forget(task);
        let remove = move || match peer.store().remove(&stored)? {
            Some(path) => std::fs::remove_dir_all(path),
            None => Ok(()),
        };
        let removed = tokio::task::spawn_blocking(remove).await.map_err(io::Error::other);
        removed.and_then(|removed| removed).map_err(RemoveError::Storage)?;
        tracing::info!(task = %task.id(), "a task was removed");
        let _ = tokio::time::timeout(TELL_PATIENCE, sync::leave(self, task.id())).await;
        Ok(())
    }
}
