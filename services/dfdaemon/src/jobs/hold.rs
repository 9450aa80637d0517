//! Having the whole of some tasks.

use std::sync::Arc;
use std::time::Duration;

use df_api::scheduler::{DutyOutcome, DutyTask, HoldDuty};
use df_api::task::{Origin, TaskSpec};
use df_peer::download::Start;
use df_peer::{Failure, NoOrigin, ReadError, Task};
use df_store::StoreError;
use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};
use url::Url;

use super::Jobs;
use super::report::Progress;
use super::secrets::{Secrets, SecretsError, Shown};
use crate::mirror;

#[derive(Debug, thiserror::Error)]
enum HoldError {
    #[error("what is described is another content")]
    Inconsistent,
    #[error(transparent)]
    Failed(Arc<Failure>),
    #[error("{0}")]
    Unread(ReadError),
    #[error("this node cannot store it: {0}")]
    Storage(#[from] StoreError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("this node ends")]
    Ending,
}

/// Whatever a duty says.
const AT_ONCE_MAX: usize = 64;
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked how far a task has come.
const TICK: Duration = Duration::from_millis(250);

// === impl Jobs ===

impl Jobs {
    pub(super) async fn hold(&self, duty: &HoldDuty, progress: &Progress) {
        let holding = Holding { jobs: self, duty, secrets: Secrets::new(self, duty.secrets_of), progress };
        let at_once = usize::try_from(duty.at_once).unwrap_or(AT_ONCE_MAX).clamp(1, AT_ONCE_MAX);
        let tasks = stream::iter(duty.tasks.iter().enumerate());
        tasks.for_each_concurrent(at_once, |(index, spec)| holding.hold(index, spec)).await;
        progress.conclude(|index| duty.tasks[index].origin.shown_url());
    }
}

struct Holding<'a> {
    jobs: &'a Jobs,
    duty: &'a HoldDuty,
    secrets: Secrets<'a>,
    progress: &'a Progress,
}

// === impl Holding ===

impl Holding<'_> {
    async fn hold(&self, index: usize, spec: &TaskSpec) {
        match self.try_to_hold(index, spec).await {
            Ok(task) => self.progress.set(index, standing(&task, DutyOutcome::Done)),
            Err(error) => {
                tracing::warn!(task = %spec.id, %error, "a task of a job is not here");
                self.progress.set_failed(index, &error);
            }
        }
    }

    async fn try_to_hold(&self, index: usize, spec: &TaskSpec) -> Result<Arc<Task>, HoldError> {
        if !spec.is_consistent() {
            return Err(HoldError::Inconsistent);
        }
        if let Some(task) = self.jobs.peer.task(&spec.id).filter(|task| task.stored().is_complete()) {
            return self.give(task, spec).await;
        }
        let (mut tries, mut renewed) = (1, false);
        let mut shown = None;
        loop {
            let error = match self.fetch(index, spec, &mut shown).await {
                Ok(task) => return Ok(task),
                Err(error) => error,
            };
            // A token may have expired on the way.
            if !renewed && error.is_unauthorized() && self.secrets.exist() {
                renewed = true;
                continue;
            }
            if tries == TRIES || !error.may_pass(self.duty.from_peers) {
                return Err(error);
            }
            shown = None;
            sleep(PAUSE * tries).await;
            tries += 1;
        }
    }

    /// What its origin gets to see. What a registry gives to anybody is asked for as anybody: it is a content of no scope.
    async fn shown(&self, spec: &TaskSpec, refused: Option<&Shown>) -> Result<Shown, HoldError> {
        let as_told = Shown { authorization: spec.origin.authorization.clone(), ..Shown::default() };
        if !self.secrets.exist() || self.duty.from_peers {
            return Ok(as_told);
        }
        let Ok(url) = Url::parse(&spec.origin.url) else { return Ok(as_told) };
        match mirror::by_digest(&url).filter(|_| !is_for_programs(spec)) {
            Some(_) if spec.origin.scope.is_none() => Ok(as_told),
            Some(path) => {
                let mut registry = url.clone();
                registry.set_path("/");
                registry.set_query(None);
                let repository = path.repository().unwrap_or_default();
                Ok(self.secrets.for_repository(&registry, repository, refused).await?)
            }
            None if matches!(url.scheme(), "http" | "https") => Ok(self.secrets.for_file().await?),
            None => Ok(as_told),
        }
    }

    /// `shown` was no good; what is shown instead takes its place.
    async fn fetch(&self, index: usize, spec: &TaskSpec, shown: &mut Option<Shown>) -> Result<Arc<Task>, HoldError> {
        let now_shown = self.shown(spec, shown.as_ref()).await?;
        let Shown { authorization, headers } = shown.insert(now_shown).clone();
        let origin = Origin { authorization, headers, peers_only: self.duty.from_peers, ..spec.origin.clone() };
        let task = self.jobs.peer.start(TaskSpec { origin, ..spec.clone() }, Start::Ask)?;
        let task = self.give(task, spec).await?;
        let mut whole = std::pin::pin!(task.whole());
        loop {
            self.progress.set(index, standing(&task, DutyOutcome::Running));
            if let Ok(ended) = timeout(TICK, &mut whole).await {
                return ended.map(|()| task.clone()).map_err(HoldError::from);
            }
        }
    }

    /// What a program of this node would have asked for, programs may see and read.
    async fn give(&self, task: Arc<Task>, spec: &TaskSpec) -> Result<Arc<Task>, HoldError> {
        if task.is_for_programs() || !is_for_programs(spec) {
            return Ok(task);
        }
        let origin = spec.origin.clone();
        let given = tokio::task::spawn_blocking(move || {
            task.give_to_programs(&origin);
            task
        });
        given.await.map_err(|_| HoldError::Ending)
    }
}

/// Rather than of a registry, who says who may read it.
fn is_for_programs(spec: &TaskSpec) -> bool {
    spec.id == TaskSpec::for_programs(spec.origin.clone(), spec.digest.clone()).id
}

fn standing(task: &Task, outcome: DutyOutcome) -> DutyTask {
    let snapshot = task.stored().snapshot();
    let length = snapshot.meta.and_then(|meta| meta.length);
    DutyTask { outcome, length, held_bytes: snapshot.held_bytes, error: String::new() }
}

// === impl HoldError ===

impl HoldError {
    fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Failed(failure) if matches!(**failure, Failure::Origin { status: 401, .. }))
    }

    /// Whether another try may help. Whoever is to have it for the others may just be about to tell that it has.
    fn may_pass(&self, from_peers: bool) -> bool {
        match self {
            Self::Failed(failure) if let Failure::Nobody(NoOrigin::Disabled) = **failure => from_peers,
            Self::Failed(failure) => failure.may_pass(),
            // Somebody has stopped it, or it was evicted on the way.
            Self::Unread(_) => true,
            Self::Secrets(SecretsError::Unanswered { .. }) => true,
            Self::Inconsistent | Self::Storage(_) | Self::Secrets(_) | Self::Ending => false,
        }
    }
}

impl From<ReadError> for HoldError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(failure) => Self::Failed(failure),
            other => Self::Unread(other),
        }
    }
}
