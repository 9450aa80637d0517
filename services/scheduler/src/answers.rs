//! What is said to who asks: the decision as it travels, and whether there is a reason to hold it back.
//!
//! **Invariant.** Alike for alike states, whichever scheduler answers.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use df_api::scheduler::{Decision, HostDecision, Parent, PeerDecision, Row, TaskFacts};
use df_api::{HostId, TaskId};

use crate::select::{Selection, Verdict};
use crate::state::State;
use crate::task::Source;

/// An answer, and whether and until when there is a reason to hold it back.
#[derive(Debug)]
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

/// Remembers what the host is told.
pub fn host_decision(state: &mut State, id: &HostId) -> Option<Pending<HostDecision>> {
    let answer = host_answer(state, id)?;
    state.hosts.announced.get_mut(id)?.told_rules = Some(answer.answer.ask_first);
    Some(answer)
}

pub fn host_answer(state: &State, id: &HostId) -> Option<Pending<HostDecision>> {
    let ask_first = !state.rules.is_empty();
    let host = state.hosts.announced.get(id)?;
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
    let stale = host.told_rules == Some(ask_first) && !answer.resend_tasks && answer.duties.is_empty();
    Some(Pending { answer, stale, hold_ms: state.policy.host_refresh_ms(), recheck_ms: None, calm: Duration::ZERO })
}

/// Decides, and remembers that.
pub fn peer_decision(state: &mut State, now_ms: u64, id: &TaskId, host: &HostId) -> Option<Pending<PeerDecision>> {
    let told = state.tasks.get(id)?.peers.get(host)?.told.is_some();
    let selection = state.decide(now_ms, id, host)?;
    peer_answer(state, id, host, selection, told)
}

/// `told`: it reads from others already.
pub fn peer_answer(
    state: &State,
    id: &TaskId,
    host: &HostId,
    selection: Selection,
    told: bool,
) -> Option<Pending<PeerDecision>> {
    let Selection { verdict, recheck_ms, .. } = selection;
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
        Some(Parent { peer_id: id.peer(), url: report.url.clone(), seed: report.seed, host_id: id, role, slot })
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
