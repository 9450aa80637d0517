//! Parts of jobs that schedulers give to this host: to find out what an image is made of, to have contents, and to have
//! them no more.
//!
//! **Invariants.** A duty is done once, however often it is given. Its scheduler is told how it stands until it has heard
//! the end; when it does not know the duty any more, or is silent for a minute, nothing more is done for it. The secrets of
//! a job are shown to its origins, and told to nobody.

mod hold;
mod image;
mod manifest;
mod remove;
mod report;
mod resolve;
mod secrets;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::scheduler::{DutyReport, TASKS_OF_DUTY_MAX, Work};
use df_peer::announce::ManagerAccess;
use df_peer::{JobDuty, Peer};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::rules::Rules;
use report::{Ended, Progress};

/// Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    peer: Arc<Peer>,
    /// Of the mirror: where it has a registry asked.
    rules: Rules,
    manager: Option<ManagerAccess>,
    /// For the manager.
    http: reqwest::Client,
    /// For a first byte.
    patience: Duration,
    turns: Arc<Semaphore>,
}

/// Scheduler, and its number there.
type Key = (String, u64);

/// When a duty has ended; `None` while it is in hand.
type Known = HashMap<Key, Option<Instant>>;

/// Duties that are being done; others wait their turn, and their schedulers hear that they do.
const AT_ONCE: usize = 16;
/// With those that wait.
const IN_HAND: usize = 500;
/// One that has ended may be given again until the scheduler has heard that it was taken up.
const KNOWN_FOR: Duration = Duration::from_secs(300);

// === impl Jobs ===

impl Jobs {
    pub fn new(peer: Arc<Peer>, rules: Rules, manager: Option<ManagerAccess>, patience: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { peer, rules, manager, http: df_client::http_client(), patience, turns }
    }

    /// Does what schedulers give it, among `tasks`, until `stop`.
    pub fn start(self, tasks: &TaskTracker, stop: CancellationToken) {
        if let Some(duties) = self.peer.duties() {
            tasks.spawn(async move { stop.run_until_cancelled(self.run(duties)).await });
        }
    }

    async fn run(self, mut duties: mpsc::Receiver<JobDuty>) {
        let mut known = Known::new();
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = running.join_next() => match ended {
                    Ok((key, Ended::Told)) => { known.insert(key, Some(Instant::now())); }
                    // If it is given again, it is wanted.
                    Ok((key, Ended::Unknown | Ended::Unheard)) => { known.remove(&key); }
                    Err(error) => tracing::error!(%error, "a duty of a job broke off"),
                },
                duty = duties.recv(), if running.len() < IN_HAND => {
                    let Some(duty) = duty else { return };
                    known.retain(|_, ended| ended.is_none_or(|at| at.elapsed() < KNOWN_FOR));
                    let key = (duty.scheduler.clone(), duty.id);
                    if !known.contains_key(&key) {
                        known.insert(key.clone(), None);
                        let span = tracing::info_span!("duty", id = duty.id, otel.kind = "internal");
                        let jobs = self.clone();
                        running.spawn(async move { (key, jobs.take_up(duty).await) }.instrument(span));
                    }
                }
            }
        }
    }

    async fn take_up(&self, duty: JobDuty) -> Ended {
        let tasks = match &duty.work {
            Work::Hold(duty) => duty.tasks.len(),
            Work::Drop(tasks) => tasks.len(),
            Work::Fetch(_) | Work::Resolve(_) => 0,
        };
        // What is too much is not done, nor told of one by one.
        let fits = tasks <= TASKS_OF_DUTY_MAX;
        let progress = Progress::new(if fits { tasks } else { 0 });
        if !fits {
            progress.failed(&format!("{tasks} tasks are more than the {TASKS_OF_DUTY_MAX} of one duty"));
        }
        let begun = Instant::now();
        let working = async {
            // Nobody closes it.
            let _turn = self.turns.acquire().await;
            if fits {
                self.work(&duty.work, &progress).await;
            }
            pending::<Infallible>().await
        };
        let ended = tokio::select! {
            ended = report::tell(&self.peer, &duty, progress.subscribe()) => ended,
            never = working => match never {},
        };
        let DutyReport { state, error, .. } = progress.subscribe().borrow().clone();
        tracing::info!(scheduler = duty.scheduler, ?ended, ?state, error, took = ?begun.elapsed(), "a part of a job is over");
        ended
    }

    async fn work(&self, work: &Work, progress: &Progress) {
        match work {
            Work::Resolve(image) => match self.resolve(image).await {
                Ok(contents) => progress.resolved(contents),
                Err(error) => progress.failed(&error),
            },
            Work::Hold(duty) => self.hold(duty, progress).await,
            Work::Drop(tasks) => self.remove(tasks, progress).await,
            Work::Fetch(_) => progress.failed(&"to fetch a task is no part of a job"),
        }
    }
}
