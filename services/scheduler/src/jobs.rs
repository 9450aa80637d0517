//! Jobs of the manager: taken by one long poll that also says how they stand; what they want of hosts rides on the hosts'
//! own long polls.
//!
//! **Invariants.** Nothing of a job that matters is here: a scheduler that dies loses its lease, and the next one begins
//! anew with what the hosts have by then. Of what the manager does not name any more, nothing goes on.

mod answer;
mod choose;
mod run;
mod spread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use df_api::manager::{ClusterResult, JobAssignment, JobReport, JobState, JobSyncRequest, JobSyncResponse};
use df_client::ClientError;
use df_http::worker::Worker;
use tokio::sync::watch;
use tokio::time::Instant;

use self::run::{Command, End, Run};
use crate::ensemble::Unreachable;
use crate::register::Registration;
use crate::swarm::Swarm;

/// Looks after the jobs that this scheduler has.
pub struct Jobs {
    registration: Registration,
    swarm: Arc<Swarm>,
    cluster_id: i64,
    hostname: String,
    /// Of this process.
    holder: String,
    /// By the manager's number.
    runs: BTreeMap<i64, Run>,
    orders: watch::Receiver<()>,
    /// What the manager knows.
    said: Vec<JobReport>,
}

#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Shared(#[from] Unreachable),
}

/// At once.
const RUNS_MAX: usize = 100;
const WAIT_IDLE: Duration = Duration::from_secs(25);
/// A lease is three times as long.
const WAIT_BUSY: Duration = Duration::from_secs(3);
/// So often is looked at what no bell rings for: time.
const TICK: Duration = Duration::from_millis(500);
/// Of all results in one call: far below what a body may have.
const ENTRIES_MAX: usize = 5_000;
/// Between two reports of progress; an end is told at once.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Several hosts report at once.
const SETTLING: Duration = Duration::from_millis(20);
/// Nobody is asked before the manager knows this scheduler.
const REGISTERING: Duration = Duration::from_millis(200);

// === impl Jobs ===

impl Jobs {
    pub fn new(registration: Registration, swarm: Arc<Swarm>, cluster_id: i64, hostname: String) -> Self {
        let holder = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let orders = swarm.orders_bell();
        Self { registration, swarm, cluster_id, hostname, holder, runs: BTreeMap::new(), orders, said: Vec::new() }
    }

    /// Each run as far as it goes.
    async fn advance(&mut self) -> Result<(), Unreachable> {
        self.orders.borrow_and_update();
        let swarm = self.swarm.clone();
        for (id, run) in self.runs.iter_mut().filter(|(_, run)| run.end().is_none()) {
            while go_on(&swarm, *id, run).await? {}
            if let Some(end) = run.end() {
                let (kind, error) = (run.assignment().kind, &end.error);
                tracing::info!(job = run.assignment().job_id, ?kind, state = ?end.state, error, "a job has ended here");
                swarm.end_orders(*id).await?;
            }
        }
        Ok(())
    }

    /// Ends for which there is no room yet are told next time; the first always has some.
    fn reports(&self) -> Vec<JobReport> {
        let mut room = ENTRIES_MAX;
        let report = |(id, run): (&i64, &Run)| {
            let entries = run.end().map_or(0, End::entries);
            let end = run.end().filter(|_| entries <= room || room == ENTRIES_MAX);
            room = room.saturating_sub(end.map_or(0, |_| entries));
            JobReport {
                id: *id,
                attempt: run.assignment().attempt,
                state: end.map_or(JobState::Started, |end| end.state),
                error: end.map(End::told).unwrap_or_default(),
                progress: run.progress(),
                result: end.map(|end| ClusterResult { scheduler_cluster_id: self.cluster_id, ..end.result.clone() }),
            }
        };
        self.runs.iter().map(report).collect()
    }

    fn open(&self) -> usize {
        self.runs.values().filter(|run| run.end().is_none()).count()
    }

    /// Says how they stand, and waits for news of either side. `None`: there is more to say already.
    async fn sync(&mut self) -> Result<Option<JobSyncResponse>, JobsError> {
        let reports = self.reports();
        let news = reports != self.said;
        let wait = match (news, self.runs.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => WAIT_IDLE,
            (false, false) => WAIT_BUSY,
        };
        let request = JobSyncRequest {
            scheduler_cluster_id: self.cluster_id,
            hostname: self.hostname.clone(),
            holder: self.holder.clone(),
            room: u32::try_from(RUNS_MAX.saturating_sub(self.open())).unwrap_or(0),
            jobs: reports.clone(),
        };
        let client = self.registration.client();
        let asked = Instant::now();
        let mut answer = std::pin::pin!(client.sync_jobs(&request, wait));
        loop {
            tokio::select! {
                answered = &mut answer => {
                    self.said = reports;
                    return Ok(Some(answered?));
                }
                Ok(()) = self.orders.changed(), if self.open() > 0 => tokio::time::sleep(SETTLING).await,
                () = tokio::time::sleep(TICK), if self.open() > 0 => {}
            }
            let open = self.open();
            self.advance().await?;
            let changed = self.reports() != reports;
            if self.open() < open || changed && !news && asked.elapsed() >= PROGRESS_EVERY {
                self.said.clear();
                return Ok(None);
            }
        }
    }

    async fn follow(&mut self, told: JobSyncResponse) -> Result<(), Unreachable> {
        let is_told = |id: &i64, attempt: i64| told.jobs.iter().any(|job| (job.id, job.attempt) == (*id, attempt));
        let gone: Vec<i64> =
            self.runs.iter().filter(|(id, run)| !is_told(id, run.assignment().attempt)).map(|(id, _)| *id).collect();
        for id in gone {
            self.drop(id).await?;
        }
        for job in told.jobs {
            if !self.runs.contains_key(&job.id) {
                self.begin(job).await?;
            }
        }
        Ok(())
    }

    async fn drop(&mut self, id: i64) -> Result<(), Unreachable> {
        if self.runs.remove(&id).is_some_and(|run| run.end().is_none()) {
            tracing::info!(assignment = id, "a job is dropped: it was cancelled, or is done elsewhere");
            self.swarm.end_orders(id).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, job: JobAssignment) -> Result<(), Unreachable> {
        // What an earlier holder had ordered is not looked after any more.
        self.swarm.end_orders(job.id).await?;
        tracing::info!(job = job.job_id, kind = ?job.kind, attempt = job.attempt, "a job begins here");
        let run = self.swarm.look(|_, now_ms| Run::new(job.clone(), now_ms));
        self.runs.insert(job.id, run);
        Ok(())
    }
}

/// One step of a run. Whether hosts were given something, so that there may be another.
async fn go_on(swarm: &Swarm, id: i64, run: &mut Run) -> Result<bool, Unreachable> {
    let mut ordered = false;
    for command in swarm.look(|state, now_ms| run.advance(state, now_ms)) {
        match command {
            Command::Forget(duty) => swarm.end_order(duty).await?,
            Command::Order { host, work } => {
                let duty = swarm.order(host.clone(), id, work).await?;
                run.ordered(&host, duty);
                ordered = true;
            }
        }
    }
    Ok(ordered)
}

impl Worker for Jobs {
    const NAME: &'static str = "jobs";
    type Error = JobsError;
    const RETRY_MAX: Duration = Duration::from_secs(1);

    async fn round(&mut self) -> Result<Duration, JobsError> {
        if !self.registration.is_registered() {
            return Ok(REGISTERING);
        }
        self.advance().await?;
        let asked = Instant::now();
        if let Some(told) = self.sync().await? {
            let idle = told.jobs.is_empty() && self.runs.is_empty();
            self.follow(told).await?;
            // A manager that does not hold its answer back must not be asked in a tight loop.
            if idle && self.said.is_empty() && asked.elapsed() < TICK {
                return Ok(TICK);
            }
        }
        Ok(Duration::ZERO)
    }
}
