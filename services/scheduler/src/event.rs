//! Whatever changes the state, as data.
//!
//! **Invariant.** The same events at the same times make the same state and the same answers, wherever they are applied.

use df_api::scheduler::{DutyReport, HostDecision, HostReport, PeerDecision, PeerReport, Work};
use df_api::{HostId, TaskId};
use serde::{Deserialize, Serialize};

use crate::answers::{Pending, host_answer, host_decision, peer_answer, peer_decision};
use crate::policy::Policy;
use crate::rules::RuleSet;
use crate::state::{Refused, State};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A report, and the question in it.
    Host(HostId, Box<HostReport>),
    Peer(TaskId, HostId, Box<PeerReport>),
    /// Somebody who waits for news asks again.
    AskHost(HostId),
    AskPeer(TaskId, HostId),
    /// With the number of the farewell.
    EndHost(HostId, u64),
    EndPeer(TaskId, HostId, u64),
    Settings(Box<Settings>),
    /// A job, by its number at the manager, wants something of a host.
    Order(HostId, i64, Box<Work>),
    Duty(HostId, u64, Box<DutyReport>),
    EndOrders(i64),
    EndOrder(u64),
    /// Nothing but time.
    Tick,
}

/// What people have said of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub policy: Policy,
    pub rules: RuleSet,
}

/// What an event leads to. `None`: who asked is not there.
#[derive(Debug)]
pub enum Outcome {
    Done,
    Refused(Refused),
    /// The number of the duty, if the host could be given one.
    Ordered(Option<u64>),
    /// Whether somebody wants to know.
    Heard(bool),
    Host(Option<Pending<HostDecision>>),
    Peer(Option<Pending<PeerDecision>>),
}

// === impl Event ===

impl Event {
    /// Time does not run backwards from one event to the next.
    pub fn apply(self, state: &mut State, now_ms: u64) -> Outcome {
        state.expire_when_due(now_ms);
        match self {
            Self::Host(id, report) => match state.report_host(now_ms, &id, *report) {
                Ok(()) => Outcome::Host(host_decision(state, &id)),
                Err(refused) => Outcome::Refused(refused),
            },
            Self::Peer(task, host, report) => match state.report_peer(now_ms, &task, &host, *report) {
                Ok(()) => Outcome::Peer(peer_decision(state, now_ms, &task, &host)),
                Err(refused) => Outcome::Refused(refused),
            },
            Self::AskHost(id) => Outcome::Host(host_decision(state, &id)),
            Self::AskPeer(task, host) => Outcome::Peer(peer_decision(state, now_ms, &task, &host)),
            Self::EndHost(id, seq) => {
                state.end_host(now_ms, &id, seq);
                Outcome::Done
            }
            Self::EndPeer(task, host, seq) => {
                state.end_peer(now_ms, &task, &host, seq);
                Outcome::Done
            }
            Self::Settings(settings) => {
                state.follow(*settings);
                Outcome::Done
            }
            Self::Order(host, job, work) => Outcome::Ordered(state.order(now_ms, &host, job, *work)),
            Self::Duty(host, id, report) => Outcome::Heard(state.report_duty(now_ms, &host, id, *report)),
            Self::EndOrders(job) => {
                state.end_orders(job);
                Outcome::Done
            }
            Self::EndOrder(id) => {
                state.end_order(id);
                Outcome::Done
            }
            Self::Tick => Outcome::Done,
        }
    }

    /// The outcome of a question that changes nothing, so that nobody else has to hear of it.
    pub fn foresee(&self, state: &State, now_ms: u64) -> Option<Outcome> {
        match self {
            Self::AskHost(id) => {
                let told = state.hosts.announced.get(id).and_then(|host| host.told_rules);
                let answer = host_answer(state, id);
                let same = answer.as_ref().map(|pending| pending.answer.ask_first) == told;
                same.then_some(Outcome::Host(answer))
            }
            Self::AskPeer(task, host) => {
                let Some(selection) = state.select(now_ms, task, host) else { return Some(Outcome::Peer(None)) };
                let told = state.tasks.get(task)?.peers.get(host)?.told.as_ref();
                let quiet = told == selection.verdict.sources() && selection.effects.is_empty();
                quiet.then(|| Outcome::Peer(peer_answer(state, task, host, selection, told.is_some())))
            }
            _ => None,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub fn into_host(self) -> Result<Option<Pending<HostDecision>>, Refused> {
        match self {
            Self::Host(pending) => Ok(pending),
            Self::Refused(refused) => Err(refused),
            Self::Done | Self::Peer(_) | Self::Ordered(_) | Self::Heard(_) => Ok(None),
        }
    }

    pub fn into_peer(self) -> Result<Option<Pending<PeerDecision>>, Refused> {
        match self {
            Self::Peer(pending) => Ok(pending),
            Self::Refused(refused) => Err(refused),
            Self::Done | Self::Host(_) | Self::Ordered(_) | Self::Heard(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
