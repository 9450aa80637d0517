//! Parts of jobs that schedulers give to this host: handed to whoever does them (see [`crate::Peer::duties`]).

use df_api::scheduler::Work;
use tokio::sync::mpsc;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDuty {
    /// The URL of the scheduler, to report to.
    pub scheduler: String,
    pub id: u64,
    pub work: Work,
}

/// Between the long polls and who does the work.
#[derive(Debug)]
pub(crate) struct Duties {
    given: mpsc::Sender<JobDuty>,
    taken: parking_lot::Mutex<Option<mpsc::Receiver<JobDuty>>>,
}

/// Duties that nobody has begun. What is over that is not acknowledged, and comes again.
const WAITING_MAX: usize = 100;

// === impl Duties ===

impl Duties {
    pub fn new() -> Self {
        let (given, taken) = mpsc::channel(WAITING_MAX);
        Self { given, taken: parking_lot::Mutex::new(Some(taken)) }
    }

    /// Whether there was room for it.
    pub fn give(&self, duty: JobDuty) -> bool {
        self.given.try_send(duty).is_ok()
    }

    /// Once.
    pub fn take(&self) -> Option<mpsc::Receiver<JobDuty>> {
        self.taken.lock().take()
    }
}
