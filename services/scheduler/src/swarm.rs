//! What the handlers ask: reports become events, and who waits for news is answered when there is some.
//!
//! **Invariants.** A poll listens before it decides, so no ring is missed. No poll outlives
//! [`Policy::host_refresh_ms`](crate::policy::Policy::host_refresh_ms), so a held poll never costs a lease.

use std::sync::Arc;
use std::time::Duration;

use df_api::scheduler::{DutyReport, HostDecision, HostReport, HostView, PeerDecision, PeerReport, TaskView, Work};
use df_api::{HostId, TaskId};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answers::Pending;
use crate::ensemble::{Ensemble, Unreachable};
use crate::event::{Event, Outcome, Settings};
use crate::replica::Replica;
use crate::state::{Refused, State};
use crate::views::{host_views, task_view};

/// All that is known of one cluster.
pub struct Swarm {
    replica: Arc<Replica>,
    /// Where several schedulers answer behind one URL.
    ensemble: Option<Ensemble>,
    /// Ends all polls.
    closing: CancellationToken,
}

/// Why a report is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Shared(#[from] Unreachable),
}

/// What others have done is looked for so often by who waits, where nothing else tells of it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

// === impl Swarm ===

impl Swarm {
    /// In the memory of this process alone.
    pub fn alone(settings: Settings, closing: CancellationToken) -> Self {
        // Milliseconds times a thousand: above the ids of every earlier scheduler, and exact in a JavaScript number.
        let first_number = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(1).saturating_mul(1_000);
        let mut state = State::new(settings.policy.clone(), first_number);
        state.follow(settings);
        Self { replica: Arc::new(Replica::new(state)), ensemble: None, closing }
    }

    pub fn together(ensemble: Ensemble, closing: CancellationToken) -> Self {
        Self { replica: ensemble.replica(), ensemble: Some(ensemble), closing }
    }

    /// `None` when the host was deleted while it waited.
    pub async fn report_host(
        &self,
        id: &HostId,
        report: HostReport,
        wait: Duration,
    ) -> Result<Option<HostDecision>, Unanswered> {
        let bell = self.replica.host_bell(id);
        let first = self.tell(Event::Host(id.clone(), Box::new(report))).await?.into_host()?;
        Ok(self.poll(bell, wait, first, &Event::AskHost(id.clone()), Outcome::into_host).await)
    }

    pub async fn delete_host(&self, id: HostId, seq: u64) -> Result<(), Unreachable> {
        self.tell(Event::EndHost(id, seq)).await.map(drop)
    }

    /// `None` when the peer was deleted while it waited.
    pub async fn report_peer(
        &self,
        task: &TaskId,
        host: &HostId,
        report: PeerReport,
        wait: Duration,
    ) -> Result<Option<PeerDecision>, Unanswered> {
        if wait.is_zero() {
            return self.report_peer_at_once(task, host, report).await;
        }
        let bell = self.replica.peer_bell(task, host);
        let first = self.tell(Event::Peer(task.clone(), host.clone(), Box::new(report))).await?.into_peer()?;
        let again = Event::AskPeer(task.clone(), host.clone());
        Ok(self.poll(bell, wait, first, &again, Outcome::into_peer).await)
    }

    /// Nobody waits for it: `None` when the peer has left.
    pub async fn report_peer_at_once(
        &self,
        task: &TaskId,
        host: &HostId,
        report: PeerReport,
    ) -> Result<Option<PeerDecision>, Unanswered> {
        let told = self.tell(Event::Peer(task.clone(), host.clone(), Box::new(report))).await?.into_peer()?;
        Ok(told.map(|pending| pending.answer))
    }

    pub async fn delete_peer(&self, task: TaskId, host: HostId, seq: u64) -> Result<(), Unreachable> {
        self.tell(Event::EndPeer(task, host, seq)).await.map(drop)
    }

    // --- orders of jobs ---

    pub fn orders_bell(&self) -> watch::Receiver<()> {
        self.replica.orders_bell()
    }

    /// The number of the duty, if the host could be given one.
    pub async fn order(&self, host: HostId, job: i64, work: Work) -> Result<Option<u64>, Unreachable> {
        match self.tell(Event::Order(host, job, Box::new(work))).await? {
            Outcome::Ordered(id) => Ok(id),
            _ => Ok(None),
        }
    }

    /// Whether somebody wants to know.
    pub async fn report_duty(&self, host: HostId, id: u64, report: DutyReport) -> Result<bool, Unreachable> {
        Ok(matches!(self.tell(Event::Duty(host, id, Box::new(report))).await?, Outcome::Heard(true)))
    }

    pub async fn end_orders(&self, job: i64) -> Result<(), Unreachable> {
        self.tell(Event::EndOrders(job)).await.map(drop)
    }

    pub async fn end_order(&self, id: u64) -> Result<(), Unreachable> {
        self.tell(Event::EndOrder(id)).await.map(drop)
    }

    /// At the state of now, and its time.
    pub fn look<T>(&self, look: impl FnOnce(&State, u64) -> T) -> T {
        self.replica.look(look)
    }

    pub fn is_following(&self, settings: &Settings) -> bool {
        self.replica.look(|state, _| state.is_following(settings))
    }

    pub async fn follow(&self, settings: Settings) -> Result<(), Unreachable> {
        self.tell(Event::Settings(Box::new(settings))).await.map(drop)
    }

    pub async fn task(&self, id: &TaskId) -> Result<Option<TaskView>, Unreachable> {
        self.catch_up().await?;
        Ok(self.replica.look(|state, now_ms| state.tasks.get(id).map(|task| task_view(state, now_ms, task))))
    }

    /// In the order of their ids.
    pub async fn hosts(&self) -> Result<Vec<HostView>, Unreachable> {
        self.catch_up().await?;
        let mut hosts = self.replica.look(|state, _| host_views(state));
        hosts.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(hosts)
    }

    /// Forgets the silent. Says when to look again: when the next lease ends, and often enough for hosts that come now.
    pub async fn expire(&self) -> Result<Duration, Unreachable> {
        self.replica.forget_bells();
        let due = self.replica.look(|state, now_ms| state.expiry_due_ms() <= now_ms);
        if due {
            self.tell(Event::Tick).await?;
        }
        Ok(self.replica.look(|state, now_ms| {
            let peers: usize = state.tasks.values().map(|task| task.peers.len()).sum();
            metrics::gauge!("dragonfly_scheduler_hosts").set(state.hosts.announced.len() as f64);
            metrics::gauge!("dragonfly_scheduler_tasks").set(state.tasks.len() as f64);
            metrics::gauge!("dragonfly_scheduler_peers").set(peers as f64);
            Duration::from_millis(state.expiry_due_ms().saturating_sub(now_ms))
        }))
    }

    /// Decides until there is news, or the wait is over.
    async fn poll<T>(
        &self,
        mut bell: watch::Receiver<()>,
        wait: Duration,
        first: Option<Pending<T>>,
        again: &Event,
        of: fn(Outcome) -> Result<Option<Pending<T>>, Refused>,
    ) -> Option<T> {
        let asked = Instant::now();
        let mut pending = first?;
        loop {
            let until = asked + wait.min(Duration::from_millis(pending.hold_ms));
            if !pending.stale || Instant::now() >= until || self.closing.is_cancelled() {
                return Some(pending.answer);
            }
            let recheck = pending.recheck_ms.map_or(until, |at_ms| self.replica.instant(at_ms));
            tokio::select! {
                // Fails only when the bell is gone, and then there is nothing to wait for.
                rung = bell.changed() => match rung {
                    Err(_) => return Some(pending.answer),
                    Ok(()) => tokio::time::sleep(pending.calm).await,
                },
                () = tokio::time::sleep_until(until.min(recheck)) => {}
                () = self.look_around() => {}
                () = self.closing.cancelled() => {}
            }
            match self.ask(again).await {
                Ok(outcome) => pending = of(outcome).ok().flatten()?,
                // What was reported is known; the last answer is as good as any.
                Err(Unreachable) => tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)).await,
            }
        }
    }

    /// Never done where there is nobody else.
    async fn look_around(&self) {
        match &self.ensemble {
            None => std::future::pending().await,
            Some(ensemble) => {
                tokio::time::sleep(LOOK_EVERY).await;
                ensemble.catch_up_within(LOOK_EVERY).await.ok();
            }
        }
    }

    async fn ask(&self, question: &Event) -> Result<Outcome, Unreachable> {
        match self.ensemble.as_ref().and_then(|_| self.replica.foresee(question)) {
            Some(outcome) => Ok(outcome),
            None => self.tell(question.clone()).await,
        }
    }

    async fn tell(&self, event: Event) -> Result<Outcome, Unreachable> {
        match &self.ensemble {
            None => Ok(self.replica.apply(event)),
            Some(ensemble) => ensemble.tell(event).await,
        }
    }

    /// With what others have done. Fails when that cannot be known.
    pub async fn catch_up(&self) -> Result<(), Unreachable> {
        match &self.ensemble {
            None => Ok(()),
            Some(ensemble) => ensemble.catch_up().await,
        }
    }
}
