//! How a duty stands, and telling its scheduler.

use std::fmt::Display;
use std::time::Duration;

use df_api::scheduler::{DutyOutcome, DutyReport, DutyState, DutyTask, ResolvedContent};
use df_peer::{JobDuty, Peer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// What is done of it.
pub struct Progress(watch::Sender<DutyReport>);

/// Why no more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The scheduler knows how it ended.
    Told,
    /// It does not know the duty any more.
    Unknown,
    /// Nothing was heard of it for [`SILENCE_MAX`].
    Unheard,
}

enum Answer {
    Heard,
    Unknown,
    None,
}

/// Between reports of what has changed.
const EVERY: Duration = Duration::from_millis(500);
/// Of what has not changed: a scheduler gives up on a host that is silent.
const HEARTBEAT: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// For one report.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what is said of an error: four bytes each at most, so that it fits.
const ERROR_CHARS_MAX: usize = 1000;

/// Tells the beginning at once, then what changes, and the end.
pub async fn tell(peer: &Peer, duty: &JobDuty, mut progress: watch::Receiver<DutyReport>) -> Ended {
    let (mut heard, mut pause) = (Instant::now(), PAUSE_MIN);
    loop {
        let report = progress.borrow_and_update().clone();
        match send(peer, duty, &report).await {
            Answer::Heard if is_end(&report) => return Ended::Told,
            Answer::Heard => {
                (heard, pause) = (Instant::now(), PAUSE_MIN);
                news(&mut progress).await;
            }
            Answer::Unknown => return Ended::Unknown,
            Answer::None if heard.elapsed() > SILENCE_MAX => return Ended::Unheard,
            Answer::None => {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn send(peer: &Peer, duty: &JobDuty, report: &DutyReport) -> Answer {
    // Anew each time: the credential may be.
    let Some(client) = peer.scheduler_client(&duty.scheduler) else { return Answer::None };
    match timeout(PATIENCE, client.report_duty(peer.host_id(), duty.id, report)).await {
        Ok(Ok(())) => Answer::Heard,
        Ok(Err(error)) if error.status() == Some(404) => Answer::Unknown,
        Ok(Err(error)) => {
            tracing::debug!(duty = duty.id, error = df_http::error::chain(&error), "a report was not taken");
            Answer::None
        }
        Err(_) => Answer::None,
    }
}

/// Waits until there is something to tell, or it is time to say that there is not.
async fn news(progress: &mut watch::Receiver<DutyReport>) {
    let mut end = progress.clone();
    if timeout(EVERY, end.wait_for(is_end)).await.is_err() {
        let _ = timeout(HEARTBEAT - EVERY, progress.changed()).await;
    }
}

fn is_end(report: &DutyReport) -> bool {
    report.state != DutyState::Running
}

fn short(error: &impl Display) -> String {
    error.to_string().chars().take(ERROR_CHARS_MAX).collect()
}

// === impl Progress ===

impl Progress {
    /// Nothing is done yet of any task, if there are some.
    pub fn new(tasks: usize) -> Self {
        let waiting = DutyTask { outcome: DutyOutcome::Waiting, length: None, held_bytes: 0, error: String::new() };
        let tasks = vec![waiting; tasks];
        let begun = DutyReport { state: DutyState::Running, error: String::new(), contents: Vec::new(), tasks };
        Self(watch::Sender::new(begun))
    }

    pub fn subscribe(&self) -> watch::Receiver<DutyReport> {
        self.0.subscribe()
    }

    pub fn resolved(&self, contents: Vec<ResolvedContent>) {
        self.0.send_modify(|report| (report.contents, report.state) = (contents, DutyState::Done));
    }

    pub fn failed(&self, why: &impl Display) {
        self.0.send_modify(|report| (report.error, report.state) = (short(why), DutyState::Failed));
    }

    pub fn set(&self, index: usize, task: DutyTask) {
        self.0.send_if_modified(|report| match report.tasks.get_mut(index) {
            Some(known) if *known != task => {
                *known = task;
                true
            }
            _ => false,
        });
    }

    /// As far as it has come, it stays.
    pub fn set_failed(&self, index: usize, why: &impl Display) {
        let known = self.0.borrow().tasks.get(index).cloned();
        if let Some(known) = known {
            self.set(index, DutyTask { outcome: DutyOutcome::Failed, error: short(why), ..known });
        }
    }

    /// Nothing more is done of any task; `name` is how to call one.
    pub fn conclude(&self, name: impl Fn(usize) -> String) {
        let failed = |task: &DutyTask| task.outcome != DutyOutcome::Done;
        self.0.send_modify(|report| match report.tasks.iter().position(failed) {
            Some(first) => {
                let error = format!("{}: {}", name(first), report.tasks[first].error);
                (report.error, report.state) = (short(&error), DutyState::Failed);
            }
            None => report.state = DutyState::Done,
        });
    }
}
