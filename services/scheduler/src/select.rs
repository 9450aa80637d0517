//! The decision: whom may this peer read from? Pure and deterministic; what must change because of it is returned as
//! [`Effect`]s, which the caller applies.
//!
//! **Invariants.** Nobody is told to read from itself, directly or through others: a running parent joined earlier, or
//! is at the origin, and does not reach the asker over recorded parents. At most one host holds the lease on the
//! origin. The verdict `Wait` implies that somebody else holds it.

use std::collections::BTreeSet;

use df_api::HostId;
use df_api::scheduler::ComplaintReason;
use sha2::{Digest as _, Sha256};

use crate::host::{Host, Hosts};
use crate::policy::{DUTIES_MAX, Policy};
use crate::task::{Lease, Peer, RestReason, Task};

/// All that a decision depends on.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub now_ms: u64,
    pub task: &'a Task,
    pub hosts: &'a Hosts,
    pub policy: &'a Policy,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    pub verdict: Verdict,
    /// In this order.
    pub effects: Vec<Effect>,
    /// When time alone may change the verdict.
    pub recheck_ms: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Best first, never empty; seeds last.
    Parents(Vec<HostId>),
    Origin,
    Wait,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// The holder is dead, stands still, or did not start.
    Revoke { holder: HostId },
    /// The asker holds the lease and no longer needs it.
    Release,
    /// With `duty` the holder is a seed that has to be told.
    Grant { holder: HostId, duty: bool },
}

/// One peer's question, and what is decided of the answer so far.
struct Question<'a> {
    view: View<'a>,
    id: &'a HostId,
    peer: &'a Peer,
    /// Who is at the origin after the effects.
    holder: Option<HostId>,
    revoked: Option<&'a HostId>,
}

/// What a complaint of the asker does to a candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Only those it does not complain of.
    Clean,
    /// Also those that were gone or silent; never those that sent wrong bytes.
    Doubted,
}

/// For a peer of the task. One that does not run, or is not known, gets an empty answer: it needs nothing.
pub fn select(view: View<'_>, asker: &HostId) -> Selection {
    let mut effects = Vec::new();
    let Some((id, peer)) = view.task.peers.get_key_value(asker).filter(|(_, peer)| peer.is_running()) else {
        return Selection { verdict: Verdict::Wait, effects, recheck_ms: None };
    };
    let mut question = Question { view, id, peer, holder: None, revoked: None };
    let whole_source = question.has_whole_source();
    let mut recheck_ms = None;
    match &view.task.lease {
        None => {}
        Some(lease) if lease.holder == *id && whole_source => effects.push(Effect::Release),
        Some(lease) if lease.holder == *id => return origin(effects),
        Some(lease) => match question.lease_ends_ms(lease) {
            ends_ms if ends_ms <= view.now_ms => {
                question.revoked = Some(&lease.holder);
                effects.push(Effect::Revoke { holder: lease.holder.clone() });
            }
            ends_ms => {
                question.holder = Some(lease.holder.clone());
                recheck_ms = Some(ends_ms);
            }
        },
    }
    if question.holder.is_none() && !whole_source {
        match question.seed_to_send() {
            Some(seed) => {
                effects.push(Effect::Grant { holder: seed.clone(), duty: true });
                question.holder = Some(seed);
                recheck_ms = Some(view.now_ms + view.policy.duty_timeout_ms);
            }
            None => {
                // Nobody could read from a host that shares nothing, so it takes the lease from nobody.
                if question.shares() {
                    effects.push(Effect::Grant { holder: id.clone(), duty: false });
                }
                return origin(effects);
            }
        }
    }
    let parents = [Trust::Clean, Trust::Doubted].into_iter().map(|trust| question.parents(trust));
    let verdict = parents.into_iter().find(|parents| !parents.is_empty()).map_or(Verdict::Wait, Verdict::Parents);
    Selection { verdict, effects, recheck_ms }
}

fn origin(effects: Vec<Effect>) -> Selection {
    Selection { verdict: Verdict::Origin, effects, recheck_ms: None }
}

// === impl Question ===

impl<'a> Question<'a> {
    /// A host that is not known yet may turn out to share: peers report before their hosts when a scheduler starts.
    fn shares(&self) -> bool {
        self.view.hosts.announced.get(self.id).is_none_or(|host| !host.report.sharing_off)
    }

    fn has_whole_source(&self) -> bool {
        let whole = self.view.task.whole.iter();
        whole.into_iter().any(|id| self.readable(id).is_some() && self.trusts(id, Trust::Clean))
    }

    /// Somebody else, alive, and willing.
    fn readable(&self, id: &HostId) -> Option<&'a Host> {
        let host = self.view.hosts.live(id, self.view.now_ms)?;
        (id != self.id && !host.report.sharing_off).then_some(host)
    }

    fn trusts(&self, id: &HostId, trust: Trust) -> bool {
        match self.peer.complaint_about(id) {
            None => true,
            Some(ComplaintReason::WrongBytes) => false,
            Some(ComplaintReason::Gone | ComplaintReason::Silent | ComplaintReason::Busy) => trust == Trust::Doubted,
        }
    }

    /// A holder that moves keeps its lease. One that the asker finds gone has to prove itself sooner.
    fn lease_ends_ms(&self, lease: &Lease) -> u64 {
        let policy = self.view.policy;
        let Some(host) = self.view.hosts.announced.get(&lease.holder) else {
            return lease.granted_ms + policy.duty_timeout_ms;
        };
        let gone = self.peer.complaint_about(&lease.holder) == Some(ComplaintReason::Gone);
        let stalls_ms = match lease.duty_pending {
            true => lease.granted_ms + policy.duty_timeout_ms,
            false if gone => lease.moved_ms + policy.duty_timeout_ms.min(policy.origin_stall_ms),
            false => lease.moved_ms + policy.origin_stall_ms,
        };
        stalls_ms.min(host.expires_ms)
    }

    /// The seed that shall fetch the task, by rendezvous hashing. `None` when the asker itself has to go to the origin.
    fn seed_to_send(&self) -> Option<HostId> {
        let View { now_ms, task, hosts, .. } = self.view;
        if self.peer.report.origin.node_only || self.peer.report.at_origin {
            return None;
        }
        // The asker shall see the origin's own answer, given to its own credentials.
        if hosts.live_seeds(now_ms).any(|(id, _)| task.rests(id, now_ms) == Some(RestReason::Failed)) {
            return None;
        }
        let fit = hosts.live_seeds(now_ms).filter(|(id, host)| {
            !host.report.sharing_off
                && host.duties.len() < DUTIES_MAX
                && task.rests(id, now_ms).is_none()
                && Some(*id) != self.revoked
                && self.peer.complaint_about(id).is_none()
        });
        let (chosen, _) = fit.max_by_key(|(id, _)| weight(task, id))?;
        (chosen != self.id).then(|| chosen.clone())
    }

    /// Parents that it has already and that are still right stay: a change costs a connection and helps nobody.
    fn parents(&self, trust: Trust) -> Vec<HostId> {
        let limit = self.view.policy.candidate_parent_limit.max(1);
        let seeds = self.seeds(trust);
        let room = if seeds.is_empty() { limit } else { (limit - 1).max(1) };
        let mut chosen: Vec<HostId> = Vec::with_capacity(limit + 1);
        for id in &self.peer.parents {
            if chosen.len() < room && !chosen.contains(id) && self.rank(id, trust).is_some() && !self.reaches_asker(id)
            {
                chosen.push(id.clone());
            }
        }
        if chosen.len() < room {
            let mut ranked: Vec<_> = self.candidates().filter_map(|id| self.rank(id, trust)).collect();
            ranked.sort_unstable();
            for Rank { id, .. } in ranked {
                if chosen.len() == room {
                    break;
                }
                if !chosen.contains(id) && !self.reaches_asker(id) {
                    chosen.push(id.clone());
                }
            }
        }
        let seeds_room = limit.saturating_sub(chosen.len()).max(1);
        chosen.extend(seeds.into_iter().take(seeds_room).cloned());
        chosen
    }

    fn candidates(&self) -> impl Iterator<Item = &'a HostId> {
        let task = self.view.task;
        let peers = task.peers.keys().filter(|id| !task.whole.contains(*id));
        // A holder of the lease that has no peer yet is a seed, or else not known as a host.
        task.whole.iter().chain(peers)
    }

    /// Seeds that have the task or are fetching it; kept ones first, then those with fewest children.
    fn seeds(&self, trust: Trust) -> Vec<&'a HostId> {
        let hosts = self.view.hosts;
        let live = hosts.live_seeds(self.view.now_ms).map(|(id, _)| id);
        let mut seeds: Vec<_> = live.filter(|id| self.usable(id, trust) && !self.reaches_asker(id)).collect();
        seeds.sort_by_key(|id| (!self.peer.parents.contains(id), hosts.children(id), *id));
        seeds
    }

    /// A candidate but for the question whether it reads, over others, from the asker.
    fn usable(&self, id: &HostId, trust: Trust) -> bool {
        let task = self.view.task;
        self.readable(id).is_some()
            && self.trusts(id, trust)
            && (task.whole.contains(id) || self.holder.as_ref() == Some(id) || self.runs_ahead(id))
    }

    fn runs_ahead(&self, id: &HostId) -> bool {
        let rests = self.view.task.rests(id, self.view.now_ms).is_some() || self.revoked == Some(id);
        let peer = self.view.task.peers.get(id).filter(|peer| peer.is_running() && !rests);
        peer.is_some_and(|peer| peer.seat < self.peer.seat || peer.report.at_origin)
    }

    fn rank<'b>(&self, id: &'b HostId, trust: Trust) -> Option<Rank<'b>> {
        let View { task, hosts, .. } = self.view;
        let host = self.readable(id).filter(|host| !host.report.seed)?;
        if !self.usable(id, trust) {
            return None;
        }
        let (children, slots) = (u64::from(hosts.children(id)), u64::from(host.report.upload_slots.max(1)));
        let own_idc = hosts.announced.get(self.id).map(|own| own.report.place.idc.as_str()).unwrap_or_default();
        Some(Rank {
            full: children >= slots,
            partial: !task.whole.contains(id),
            load: children * 1024 / slots,
            elsewhere: !host.report.place.idc.eq_ignore_ascii_case(own_idc),
            seat: task.peers.get(id).map_or(0, |peer| peer.seat),
            id,
        })
    }

    /// Over recorded parents; those that were answered before were looked at then. Whole peers and the one at the origin read from nobody.
    fn reaches_asker(&self, from: &HostId) -> bool {
        let task = self.view.task;
        let kept = self.peer.settled && self.peer.parents.contains(from);
        if kept || self.view.hosts.children(self.id) == 0 {
            return false;
        }
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(id) = next.pop() {
            if id == self.id {
                return true;
            }
            if self.holder.as_ref() == Some(id) || !seen.insert(id) {
                continue;
            }
            next.extend(task.peers.get(id).into_iter().flat_map(|peer| &peer.parents));
        }
        false
    }
}

/// Smaller is better: the order of the fields is the order of importance.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    full: bool,
    partial: bool,
    /// Children per upload slot, in 1/1024.
    load: u64,
    elsewhere: bool,
    seat: u64,
    id: &'a HostId,
}

/// Rendezvous (highest random weight) hashing: when a seed comes or goes, only its own share of the tasks moves.
fn weight(task: &Task, seed: &HostId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(task.id.as_str());
    hash.update([0]);
    hash.update(seed.as_str());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
