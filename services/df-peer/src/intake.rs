//! The threads on which content arrives: what parents and origins send is written and hashed there, in place, while it is
//! in the processor's cache. Another thread for each write cost more than the write itself.
//!
//! **Invariant.** Downloads and the hashing of contents run here, and nothing else: a disk that stalls holds them up, but
//! nobody who is served.

use std::io;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What comes is written and hashed in steps of this, each to a multiple of it in the content. Such a step stays in the
/// processor's cache meanwhile, and the kernel keeps it in large pages, which cost less to write and to send.
pub(crate) const STEP_BYTES: usize = 128 * 1024;

/// How far it is from here in the content to the next multiple of a step.
pub(crate) fn left_of_step(at: u64) -> u64 {
    STEP_BYTES as u64 - at % STEP_BYTES as u64
}

/// One per peer.
pub(crate) struct Intake {
    /// `None` when it has ended.
    runtime: Mutex<Option<Runtime>>,
    /// One per core.
    computing: Semaphore,
}

// === impl Intake ===

impl Intake {
    /// A thread per core.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("intake").build()?;
        let computing = Semaphore::new(runtime.metrics().num_workers());
        Ok(Self { runtime: Mutex::new(Some(runtime)), computing })
    }

    /// `None` when it has ended: then nothing is started any more.
    pub fn spawn<F>(&self, work: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.lock().as_ref().map(|runtime| runtime.spawn(work))
    }

    /// Work for a core, on a thread beside those that take bytes in; no more of it at a time than there are cores.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let _turn = self.computing.acquire().await.map_err(io::Error::other)?;
        let computing = self.runtime.lock().as_ref().map(|runtime| runtime.spawn_blocking(work));
        computing.ok_or_else(|| io::Error::other("the daemon is ending"))?.await.map_err(io::Error::other)
    }

    /// Cancels what runs, and waits for nothing.
    pub fn end(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Intake {
    /// Dropping a runtime waits for it, which may be what drops this.
    fn drop(&mut self) {
        self.end();
    }
}
