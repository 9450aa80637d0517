//! The state behind a lock, and the long polls on it: a report changes the state, a change rings the bells of those whom
//! it may concern, and each decides anew.
//!
//! **Invariants.** The lock is never held across an await. A poll listens before it decides, so no ring is missed. No
//! poll outlives [`Policy::host_refresh_ms`], so a held poll never costs a lease.

use std::time::Duration;

use df_api::scheduler::{
    Decision, HostDecision, HostReport, HostView, Parent, PeerDecision, PeerReport, PeerState, TaskFacts, TaskView,
};
use df_api::{HostId, TaskId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bells::Bells;
use crate::policy::Policy;
use crate::select::{Selection, Verdict};
use crate::state::{Full, State};
use crate::task::{Peer, Source, Sources, peer_of};
use crate::views::{host_views, task_view};

/// All that is known of one cluster.
#[derive(Debug)]
pub struct Swarm {
    inner: Mutex<Inner>,
    started: Instant,
    /// Ends all polls.
    closing: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    state: State,
    bells: Bells,
}

/// An answer, and whether and until when there is a reason to hold it back.
struct Pending<T> {
    answer: T,
    /// Nothing in it is news for the asker.
    stale: bool,
    hold_ms: u64,
    recheck_ms: Option<u64>,
    /// After a ring, time for more to ring: one answer to many changes.
    calm: Duration,
}

/// Within this time a herd of newcomers fills a row.
const CALM: Duration = Duration::from_millis(10);

// === impl Swarm ===

impl Swarm {
    pub fn new(policy: Policy, closing: CancellationToken) -> Self {
        // Milliseconds times a thousand: above the ids of every earlier scheduler, and exact in a JavaScript number.
        let first_number = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(1).saturating_mul(1_000);
        let inner = Inner { state: State::new(policy, first_number), bells: Bells::default() };
        Self { inner: Mutex::new(inner), started: Instant::now(), closing }
    }

    /// `None` when the host was deleted while it waited.
    pub async fn report_host(
        &self,
        id: &HostId,
        report: HostReport,
        wait: Duration,
    ) -> Result<Option<HostDecision>, Full> {
        let bell = self.with(|inner, now_ms| {
            inner.state.report_host(now_ms, id, report)?;
            Ok(inner.bells.host(id))
        })?;
        Ok(self.poll(bell, wait, |state, _| host_decision(state, id)).await)
    }

    pub fn delete_host(&self, id: &HostId) {
        self.with(|inner, _| inner.state.delete_host(id));
    }

    /// `None` when the peer was deleted while it waited.
    pub async fn report_peer(
        &self,
        task: &TaskId,
        host: &HostId,
        report: PeerReport,
        wait: Duration,
    ) -> Result<Option<PeerDecision>, Full> {
        let bell = self.with(|inner, now_ms| {
            inner.state.report_peer(now_ms, task, host, report)?;
            Ok(inner.bells.peer(task, host))
        })?;
        Ok(self.poll(bell, wait, |state, now_ms| peer_decision(state, now_ms, task, host)).await)
    }

    pub fn delete_peer(&self, task: &TaskId, host: &HostId) {
        self.with(|inner, _| inner.state.delete_peer(task, host));
    }

    pub fn task(&self, id: &TaskId) -> Option<TaskView> {
        self.with(|inner, _| inner.state.tasks.get(id).map(|task| task_view(&inner.state, task)))
    }

    /// In the order of their ids.
    pub fn hosts(&self) -> Vec<HostView> {
        let mut hosts = self.with(|inner, _| host_views(&inner.state));
        hosts.sort_by(|a, b| a.id.cmp(&b.id));
        hosts
    }

    pub fn set_candidate_parent_limit(&self, limit: usize) {
        self.with(|inner, _| inner.state.policy.candidate_parent_limit = limit);
    }

    /// Forgets the silent. Says when to look again: when the next lease ends, and often enough for hosts that come now.
    pub fn expire(&self) -> Duration {
        self.with(|inner, now_ms| {
            let next_ms = inner.state.expire(now_ms);
            inner.bells.forget();
            let peers: usize = inner.state.tasks.values().map(|task| task.peers.len()).sum();
            metrics::gauge!("dragonfly_scheduler_hosts").set(inner.state.hosts.announced.len() as f64);
            metrics::gauge!("dragonfly_scheduler_tasks").set(inner.state.tasks.len() as f64);
            metrics::gauge!("dragonfly_scheduler_peers").set(peers as f64);
            let latest_ms = inner.state.policy.host_lease_ms / 4;
            let pause_ms = next_ms.map_or(latest_ms, |next_ms| next_ms.saturating_sub(now_ms).min(latest_ms));
            Duration::from_millis(pause_ms)
        })
    }

    /// Decides until there is news, or the wait is over.
    async fn poll<T>(
        &self,
        mut bell: watch::Receiver<()>,
        wait: Duration,
        decide: impl Fn(&mut State, u64) -> Option<Pending<T>>,
    ) -> Option<T> {
        let asked = Instant::now();
        loop {
            let Pending { answer, stale, hold_ms, recheck_ms, calm } =
                self.with(|inner, now_ms| decide(&mut inner.state, now_ms))?;
            let until = asked + wait.min(Duration::from_millis(hold_ms));
            if !stale || Instant::now() >= until || self.closing.is_cancelled() {
                return Some(answer);
            }
            let recheck = recheck_ms.map_or(until, |ms| self.started + Duration::from_millis(ms));
            tokio::select! {
                // Fails only when the bell is gone, and then there is nothing to wait for.
                rung = bell.changed() => match rung {
                    Err(_) => return Some(answer),
                    Ok(()) => tokio::time::sleep(calm).await,
                },
                () = tokio::time::sleep_until(until.min(recheck)) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner, u64) -> T) -> T {
        let mut inner = self.inner.lock();
        // Taken under the lock: time does not run backwards from one change to the next.
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let out = change(&mut inner, now_ms);
        for ring in inner.state.take_rings() {
            inner.bells.ring(&ring);
        }
        out
    }
}

// --- answers ---

fn host_decision(state: &State, id: &HostId) -> Option<Pending<HostDecision>> {
    let host = state.hosts.announced.get(id)?;
    let answer = HostDecision {
        lease_ms: state.policy.host_lease_ms,
        refresh_after_ms: state.policy.host_refresh_ms(),
        resend_tasks: !host.told_tasks,
        duties: host.duties.clone(),
    };
    let stale = !answer.resend_tasks && answer.duties.is_empty();
    Some(Pending { answer, stale, hold_ms: state.policy.host_refresh_ms(), recheck_ms: None, calm: Duration::ZERO })
}

fn peer_decision(state: &mut State, now_ms: u64, id: &TaskId, host: &HostId) -> Option<Pending<PeerDecision>> {
    let told = state.tasks.get(id)?.peers.get(host)?.told.clone();
    let Selection { verdict, recheck_ms, .. } = state.decide(now_ms, id, host)?;
    let (task, policy) = (state.tasks.get(id)?, &state.policy);
    let peer = task.peers.get(host)?;
    let refresh_ms = policy.row_refresh_ms(task.peers.len());
    let (hold_ms, refresh_after_ms) = match verdict {
        _ if !peer.is_running() => (0, policy.host_refresh_ms()),
        Verdict::Parents(_) => (refresh_ms, refresh_ms),
        Verdict::Origin => (policy.origin_refresh_ms(), policy.origin_refresh_ms()),
        Verdict::Wait => (policy.host_refresh_ms(), policy.peer_refresh_ms().min(1_000)),
    };
    let stale = !knows_more(&task.facts, peer) && same(&verdict, told.as_ref(), peer);
    let calm = if told.is_some() { CALM } else { Duration::ZERO };
    let (decision, sources) = match verdict {
        Verdict::Parents(sources) => (Decision::Parents, Some(sources)),
        Verdict::Origin => (Decision::Origin, None),
        Verdict::Wait => (Decision::Wait, None),
    };
    let row = sources.as_ref().map(|sources| sources.row);
    let parents = sources.into_iter().flat_map(|sources| sources.parents).filter_map(|Source { id, role, slot }| {
        let report = &state.hosts.announced.get(&id)?.report;
        Some(Parent { peer_id: peer_of(&id), url: report.url.clone(), seed: report.seed, host_id: id, role, slot })
    });
    let answer = PeerDecision { decision, parents: parents.collect(), row, task: task.facts.clone(), refresh_after_ms };
    Some(Pending { answer, stale, hold_ms, recheck_ms, calm })
}

/// The cluster knows a fact that the peer did not report.
fn knows_more(facts: &TaskFacts, peer: &Peer) -> bool {
    (facts.length.is_some() && peer.report.length.is_none())
        || (facts.piece_length.is_some() && peer.report.piece_length.is_none())
        || (facts.digest.is_some() && peer.report.digest.is_none())
}

/// The verdict is what the peer was told, and does.
fn same(verdict: &Verdict, told: Option<&Sources>, peer: &Peer) -> bool {
    match verdict {
        _ if peer.report.state != PeerState::Running => false,
        Verdict::Origin => peer.report.at_origin,
        Verdict::Wait => !peer.report.at_origin,
        Verdict::Parents(sources) => {
            let reported = &peer.report.parents;
            let echoes = |source: &Source| reported.iter().any(|parent| parent.as_str() == source.id.as_str());
            let arrived = reported.len() == sources.parents.len() && sources.parents.iter().all(echoes);
            !peer.report.at_origin && told == Some(sources) && arrived && peer.report.row == Some(sources.row)
        }
    }
}
