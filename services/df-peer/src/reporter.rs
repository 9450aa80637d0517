//! This host's reports to one scheduler. A few tasks report for themselves, at once; of many, those that are due together
//! go in one request.
//!
//! **Invariants.** Few requests are on their way at a time, however many tasks there are. A report waits for the next
//! batch, never for an answer that is held back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use df_api::scheduler::{PeerAnswer, PeerDecision, PeerReport, PeerReports, REPORTS_MAX, TaskReport};
use df_api::{Problem, TaskId};
use df_client::{ClientError, SchedulerClient};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::peer::Peer;

/// Reports on their way by themselves; further ones are gathered.
const ALONE_MAX: usize = 8;
/// Of those that wait at the scheduler for something new; further ones ask again and again.
const HELD_MAX: usize = 32;
/// How long a batch is gathered.
const GATHERING: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ReportError {
    #[error(transparent)]
    Client(Arc<ClientError>),
    #[error("the scheduler refused the report: {}", .0.detail)]
    Refused(Box<Problem>),
    #[error("the scheduler answered fewer reports than there were")]
    Short,
    #[error("this peer has ended")]
    Ended,
}

type Answer = Result<PeerDecision, ReportError>;

/// To one scheduler.
#[derive(Debug)]
pub(crate) struct Reporter {
    url: String,
    alone: AtomicUsize,
    held: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody will send them.
    gathering: bool,
}

#[derive(Debug)]
struct Waiting {
    report: TaskReport,
    answer: oneshot::Sender<Answer>,
}

/// By the scheduler's URL.
#[derive(Debug, Default)]
pub(crate) struct Reporters {
    by_url: Mutex<HashMap<String, Arc<Reporter>>>,
}

/// One of few that may be on their way at once.
struct Permit<'a>(&'a AtomicUsize);

// === impl ReportError ===

impl ReportError {
    /// Nobody has answered.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_silence())
    }

    /// What the scheduler itself has said.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Client(error) => error.problem(),
            Self::Refused(problem) => Some(problem),
            Self::Short | Self::Ended => None,
        }
    }
}

// === impl Reporters ===

impl Reporters {
    pub fn at(&self, url: &str) -> Arc<Reporter> {
        let mut by_url = self.by_url.lock();
        // Of schedulers that are gone and nobody reports to.
        by_url.retain(|known, reporter| known == url || Arc::strong_count(reporter) > 1);
        let reporter = by_url.entry(url.to_owned()).or_insert_with(|| Arc::new(Reporter::new(url)));
        reporter.clone()
    }
}

// === impl Reporter ===

impl Reporter {
    fn new(url: &str) -> Self {
        Self { url: url.to_owned(), alone: AtomicUsize::new(0), held: AtomicUsize::new(0), queue: Mutex::default() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn report(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        task: &TaskId,
        report: PeerReport,
        hold: Duration,
    ) -> Answer {
        let client = peer.scheduler_client(&self.url).ok_or(ReportError::Ended)?;
        let permit = match hold.is_zero() {
            true => Permit::take(&self.alone, ALONE_MAX),
            false => Permit::take(&self.held, HELD_MAX),
        };
        let Some(_permit) = permit else { return self.gather(peer, task, report).await };
        let answered = client.report_peer(task, &peer.peer_id(), &report, hold).await;
        answered.map_err(|error| ReportError::Client(Arc::new(error)))
    }

    async fn gather(self: &Arc<Self>, peer: &Arc<Peer>, task: &TaskId, report: PeerReport) -> Answer {
        let (answer, answered) = oneshot::channel();
        let report = TaskReport { task_id: task.clone(), report };
        if self.is_first(Waiting { report, answer }) {
            // By itself: whoever began it may be gone before it is sent.
            tokio::spawn(self.clone().send_gathered(peer.clone()));
        }
        answered.await.unwrap_or(Err(ReportError::Ended))
    }

    /// Whether nobody gathers yet.
    fn is_first(&self, one: Waiting) -> bool {
        let mut queue = self.queue.lock();
        queue.waiting.push(one);
        !std::mem::replace(&mut queue.gathering, true)
    }

    async fn send_gathered(self: Arc<Self>, peer: Arc<Peer>) {
        tokio::time::sleep(GATHERING).await;
        loop {
            let batch = self.take();
            if batch.is_empty() {
                return;
            }
            let (reports, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(|it| (it.report, it.answer)).unzip();
            let answers = match peer.scheduler_client(&self.url) {
                Some(client) => ask(&client, &peer, reports).await,
                None => Err(ReportError::Ended),
            };
            match answers {
                Err(error) => waiting.into_iter().for_each(|one| drop(one.send(Err(error.clone())))),
                // Who has stopped waiting does not hear it.
                Ok(answers) => {
                    let all = answers.into_iter().map(answer).chain(std::iter::repeat(Err(ReportError::Short)));
                    waiting.into_iter().zip(all).for_each(|(one, answer)| drop(one.send(answer)));
                }
            }
        }
    }

    /// Those that wait, as many as one request takes. With the last, nobody gathers any more.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        queue.waiting.retain(|one| !one.answer.is_closed());
        let count = queue.waiting.len().min(REPORTS_MAX);
        queue.gathering = count > 0;
        queue.waiting.drain(..count).collect()
    }
}

async fn ask(client: &SchedulerClient, peer: &Peer, reports: Vec<TaskReport>) -> Result<Vec<PeerAnswer>, ReportError> {
    let answered = client.report_peers(peer.host_id(), &PeerReports { reports }).await;
    answered.map(|answers| answers.answers).map_err(|error| ReportError::Client(Arc::new(error)))
}

fn answer(answer: PeerAnswer) -> Answer {
    match answer {
        PeerAnswer::Decision(decision) => Ok(decision),
        PeerAnswer::Refused(problem) => Err(ReportError::Refused(Box::new(problem))),
    }
}

// === impl Permit ===

impl<'a> Permit<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let permit = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(permit)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
