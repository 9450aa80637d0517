//! The state behind a lock, and the long polls on it: a report changes the state, a change rings the bells of those whom
//! it may concern, and each decides anew.
//!
//! **Invariants.** The lock is never held across an await. A poll listens before it decides, so no ring is missed. No
//! poll outlives [`Policy::host_refresh_ms`], so a held poll never costs a lease.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use df_api::scheduler::{
    Decision, HostDecision, HostReport, HostView, Parent, PeerDecision, PeerReport, Row, TaskFacts, TaskView,
};
use df_api::{HostId, TaskId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bells::Bells;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::select::{Selection, Verdict};
use crate::state::{Refused, State};
use crate::task::{Source, peer_of};
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
pub struct Pending<T> {
    pub answer: T,
    /// Nothing in it is news for the asker.
    pub stale: bool,
    pub hold_ms: u64,
    pub recheck_ms: Option<u64>,
    /// After a ring, time for more to ring: one answer to many changes.
    pub calm: Duration,
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
    ) -> Result<Option<HostDecision>, Refused> {
        let bell = self.with(|inner, now_ms| {
            inner.state.report_host(now_ms, id, report)?;
            Ok::<_, Refused>(inner.bells.host(id))
        })?;
        Ok(self.poll(bell, wait, |state, _| host_decision(state, id)).await)
    }

    pub fn delete_host(&self, id: &HostId, seq: u64) {
        self.with(|inner, now_ms| inner.state.end_host(now_ms, id, seq));
    }

    /// `None` when the peer was deleted while it waited.
    pub async fn report_peer(
        &self,
        task: &TaskId,
        host: &HostId,
        report: PeerReport,
        wait: Duration,
    ) -> Result<Option<PeerDecision>, Refused> {
        let bell = self.with(|inner, now_ms| {
            inner.state.report_peer(now_ms, task, host, report)?;
            Ok::<_, Refused>(inner.bells.peer(task, host))
        })?;
        Ok(self.poll(bell, wait, |state, now_ms| peer_decision(state, now_ms, task, host)).await)
    }

    /// One of several of a host. Nobody waits for it: `None` when the peer has left.
    pub fn report_peer_at_once(
        &self,
        task: &TaskId,
        host: &HostId,
        report: PeerReport,
    ) -> Result<Option<PeerDecision>, Refused> {
        self.with(|inner, now_ms| {
            inner.state.report_peer(now_ms, task, host, report)?;
            Ok(peer_decision(&mut inner.state, now_ms, task, host).map(|pending| pending.answer))
        })
    }

    pub fn delete_peer(&self, task: &TaskId, host: &HostId, seq: u64) {
        self.with(|inner, now_ms| inner.state.end_peer(now_ms, task, host, seq));
    }

    pub fn task(&self, id: &TaskId) -> Option<TaskView> {
        self.with(|inner, now_ms| inner.state.tasks.get(id).map(|task| task_view(&inner.state, now_ms, task)))
    }

    /// In the order of their ids.
    pub fn hosts(&self) -> Vec<HostView> {
        let mut hosts = self.with(|inner, _| host_views(&inner.state));
        hosts.sort_by(|a, b| a.id.cmp(&b.id));
        hosts
    }

    pub fn change_policy(&self, change: impl FnOnce(&mut Policy)) {
        self.with(|inner, _| change(&mut inner.state.policy));
    }

    pub fn set_rules(&self, rules: Rules) {
        self.with(|inner, _| inner.state.set_rules(rules));
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

pub fn host_decision(state: &mut State, id: &HostId) -> Option<Pending<HostDecision>> {
    let ask_first = !state.rules.is_empty();
    let host = state.hosts.announced.get_mut(id)?;
    let news = std::mem::replace(&mut host.told_rules, ask_first) != ask_first;
    let answer = HostDecision {
        lease_ms: state.policy.host_lease_ms,
        refresh_after_ms: state.policy.host_refresh_ms(),
        resend_tasks: !host.told_tasks,
        hosts: state.directory.news(host.report.hosts_known),
        ask_first,
        duties: host.duties.clone(),
        seq: host.report.seq,
    };
    // Other hosts to know of are no reason to wake anybody.
    let stale = !news && !answer.resend_tasks && answer.duties.is_empty();
    Some(Pending { answer, stale, hold_ms: state.policy.host_refresh_ms(), recheck_ms: None, calm: Duration::ZERO })
}

pub fn peer_decision(state: &mut State, now_ms: u64, id: &TaskId, host: &HostId) -> Option<Pending<PeerDecision>> {
    let told = state.tasks.get(id)?.peers.get(host)?.told.is_some();
    let Selection { verdict, recheck_ms, .. } = state.decide(now_ms, id, host)?;
    let (task, policy) = (state.tasks.get(id)?, &state.policy);
    let peer = task.peers.get(host)?;
    let refresh_ms = policy.row_refresh_ms(task.peers.len());
    let (hold_ms, refresh_after_ms) = match verdict {
        _ if !peer.is_running() => (0, policy.host_refresh_ms()),
        Verdict::Parents(_) => (refresh_ms, refresh_ms),
        Verdict::Origin => (policy.origin_refresh_ms(), policy.origin_refresh_ms()),
        Verdict::Wait | Verdict::Nobody => (policy.host_refresh_ms(), policy.peer_refresh_ms().min(1_000)),
    };
    let (decision, sources) = match verdict {
        Verdict::Parents(sources) => (Decision::Parents, Some(sources)),
        Verdict::Origin => (Decision::Origin, None),
        Verdict::Wait => (Decision::Wait, None),
        Verdict::Nobody => (Decision::Nobody, None),
    };
    let row = sources.as_ref().map(|sources| sources.row);
    let parents = sources.into_iter().flat_map(|sources| sources.parents).filter_map(|Source { id, role, slot }| {
        let report = &state.hosts.announced.get(&id)?.report;
        Some(Parent { peer_id: peer_of(&id), url: report.url.clone(), seed: report.seed, host_id: id, role, slot })
    });
    let parents: Vec<_> = parents.collect();
    let version = version(decision, &parents, row, &task.facts);
    let holds = peer.report.known == Some(version);
    // Who has not been answered yet, and asks to wait, waits for something better than `wait`.
    let first_wait = peer.report.known.is_none() && decision == Decision::Wait && !peer.report.at_origin;
    let stale = peer.is_running() && (holds || first_wait);
    let calm = if told { CALM } else { Duration::ZERO };
    let news = PeerDecision {
        decision,
        parents,
        row,
        task: task.facts.clone(),
        refresh_after_ms,
        version,
        seq: peer.report.seq,
    };
    let answer = match holds {
        true => PeerDecision {
            decision: Decision::Unchanged,
            parents: Vec::new(),
            row: None,
            task: TaskFacts::default(),
            ..news
        },
        false => news,
    };
    Some(Pending { answer, stale, hold_ms, recheck_ms, calm })
}

/// Alike for alike answers, also of another scheduler. Exact in a JavaScript number.
fn version(decision: Decision, parents: &[Parent], row: Option<Row>, facts: &TaskFacts) -> u64 {
    let mut hasher = DefaultHasher::new();
    (decision, parents, row, facts).hash(&mut hasher);
    hasher.finish() >> 11
}
