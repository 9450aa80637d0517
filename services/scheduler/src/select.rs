//! The decision: whom may this peer read from? Pure and deterministic; what must change because of it is returned as
//! [`Effect`]s, which the caller applies.
//!
//! First the right to the origin (here), then who is to blame (`blame`), then the rows of relays (`rows`). Who may be a
//! parent at all is in `filter`, who is the better one in `score`; `explain` says both to people.
//!
//! **Invariants.** Nobody is told to read from itself, and over any one piece, among answers given to one and the same
//! state without complaints, not through others either. At most one host holds the lease on the origin. The verdict
//! `Wait` implies that somebody else holds it, or may be about to say so. Only who is told a place has a slot. A decision looks at a few rows and
//! holders, not at all peers.

mod blame;
mod explain;
mod filter;
mod rows;
mod score;

use df_api::HostId;
use df_api::rendezvous::weight;
use df_api::rules::Priority;
use df_api::scheduler::{ComplaintReason, DemotionReason, RestReason, RowPlace, Wants};

use crate::host::{Host, Hosts};
use crate::policy::{DUTIES_MAX, Policy};
use crate::table::Idc;
use crate::task::{Lease, Peer, Sources, Task};
pub use explain::explain;

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Parents(Sources),
    Origin,
    Wait,
    /// The asker wants only what the cluster has.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The holder is dead, stands still, or did not start.
    Revoke { holder: HostId },
    /// The asker holds the lease and no longer needs it.
    Release,
    /// With `duty` the holder is a seed that has to be told.
    Grant { holder: HostId, duty: bool },
    /// From now on it only reads.
    Demote { host: HostId, why: DemotionReason },
    /// Its slot is empty, or it reads from no row any more.
    Leave { host: HostId },
    /// The asker stands there.
    Take { place: RowPlace, width: u32, idc: Idc },
    /// The asker has no slot and reads from a row.
    Read { row: u64 },
}

/// One peer's question, and what is decided of the answer so far.
struct Question<'a> {
    view: View<'a>,
    id: &'a HostId,
    peer: &'a Peer,
    /// Its host, if that has announced itself.
    own: Option<&'a Host>,
    /// Who is at the origin after the effects.
    holder: Option<HostId>,
    revoked: Option<&'a HostId>,
    /// Who loses its slot by the effects.
    out: Vec<HostId>,
    effects: Vec<Effect>,
    recheck_ms: Option<u64>,
}

/// What a complaint of the asker does to a candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Only those it does not complain of.
    Clean,
    /// Also those that were gone, silent or busy; never those that sent wrong bytes.
    Doubted,
}

/// For a peer of the task. One that does not run, or is not known, gets an empty answer: it needs nothing.
pub fn select(view: View<'_>, asker: &HostId) -> Selection {
    let Some((id, peer)) = view.task.peers.get_key_value(asker).filter(|(_, peer)| peer.is_running()) else {
        return Selection { verdict: Verdict::Wait, effects: Vec::new(), recheck_ms: None };
    };
    let mut question = Question::new(view, id, peer);
    let verdict = match question.settle_lease() {
        At::Origin => {
            question.stand_nowhere();
            Verdict::Origin
        }
        At::Nowhere => {
            question.stand_nowhere();
            Verdict::Nobody
        }
        At::Parents => {
            question.blame();
            question.find_sources().map_or(Verdict::Wait, Verdict::Parents)
        }
    };
    Selection { verdict, effects: question.effects, recheck_ms: question.recheck_ms }
}

/// Where the asker belongs.
enum At {
    Origin,
    Parents,
    Nowhere,
}

// === impl Verdict ===

impl Verdict {
    /// Whom to read from, where that is the verdict.
    pub fn sources(&self) -> Option<&Sources> {
        match self {
            Self::Parents(sources) => Some(sources),
            Self::Origin | Self::Wait | Self::Nobody => None,
        }
    }
}

// === impl Question ===

impl<'a> Question<'a> {
    fn new(view: View<'a>, id: &'a HostId, peer: &'a Peer) -> Self {
        let own = view.hosts.announced.get(id);
        let (out, effects) = (Vec::new(), Vec::new());
        Self { view, id, peer, own, holder: None, revoked: None, out, effects, recheck_ms: None }
    }

    fn settle_lease(&mut self) -> At {
        let view = self.view;
        let whole_source = self.has_whole_source();
        match &view.task.lease {
            None => {}
            Some(lease) if lease.holder == *self.id && whole_source => self.effects.push(Effect::Release),
            Some(lease) if lease.holder == *self.id => return At::Origin,
            Some(lease) => match self.lease_ends_ms(lease) {
                ends_ms if ends_ms <= view.now_ms => {
                    self.revoked = Some(&lease.holder);
                    self.effects.push(Effect::Revoke { holder: lease.holder.clone() });
                }
                ends_ms => {
                    self.holder = Some(lease.holder.clone());
                    self.recheck(ends_ms);
                }
            },
        }
        if whole_source {
            return At::Parents;
        }
        if let Some(holder) = &self.holder {
            // Nothing would come of waiting for one that may not give it to the asker.
            return if self.may_give(holder) { At::Parents } else { At::Origin };
        }
        if let Some(until_ms) = self.hears_more_until() {
            self.recheck(until_ms);
            return At::Parents;
        }
        if self.peer.admission.priority == Priority::CACHED_ONLY {
            return At::Nowhere;
        }
        // All who come later would wait for what it does not fetch.
        if self.peer.report.wants != Wants::All {
            return At::Origin;
        }
        match self.seed_to_send() {
            Some(seed) => {
                self.effects.push(Effect::Grant { holder: seed.clone(), duty: true });
                self.holder = Some(seed);
                self.recheck(view.now_ms + view.policy.duty_timeout_ms);
                At::Parents
            }
            None => {
                // Nobody could read from a host that shares nothing, so it takes the lease from nobody.
                if self.shares() {
                    self.effects.push(Effect::Grant { holder: self.id.clone(), duty: false });
                }
                At::Origin
            }
        }
    }

    /// Somebody may be about to say that it has the content, or is at the origin: all of them to a scheduler that has just
    /// started; to one that has just taken the task over from another, those who are in the middle of it.
    fn hears_more_until(&self) -> Option<u64> {
        let View { now_ms, policy, .. } = self.view;
        let report = &self.peer.report;
        if report.at_origin {
            return None;
        }
        let taken_over_ms =
            if report.row.is_some() && self.peer.told.is_none() { self.peer.joined_ms + policy.takeover_ms } else { 0 };
        Some(taken_over_ms.max(policy.learning_ms)).filter(|until_ms| *until_ms > now_ms)
    }

    /// Time alone may change the verdict then.
    fn recheck(&mut self, at_ms: u64) {
        self.recheck_ms = Some(self.recheck_ms.map_or(at_ms, |known| known.min(at_ms)));
    }

    fn stand_nowhere(&mut self) {
        let table = self.view.task.table();
        if table.place(self.id).is_some() || table.reads(self.id).is_some() {
            self.effects.push(Effect::Leave { host: self.id.clone() });
        }
    }

    /// A host that is not known yet may turn out to share: peers report before their hosts when a scheduler starts.
    fn shares(&self) -> bool {
        self.own.is_none_or(|host| !host.report.sharing_off && host.report.storing)
    }

    fn has_whole_source(&self) -> bool {
        self.view.task.whole().iter().any(|id| self.usable(id, Trust::Clean))
    }

    /// No block list forbids it to hosts of its kind.
    fn may_give(&self, id: &HostId) -> bool {
        let admission = &self.peer.admission;
        !(if self.view.hosts.is_seed(id) { admission.seeds_give_nothing } else { admission.peers_give_nothing })
    }

    fn complaint(&self, about: &HostId) -> Option<ComplaintReason> {
        self.view.task.complaints.standing(about, self.id).map(|standing| standing.reason)
    }

    /// A holder that moves keeps its lease. One that the asker finds gone has to prove itself sooner.
    fn lease_ends_ms(&self, lease: &Lease) -> u64 {
        let policy = self.view.policy;
        let Some(host) = self.view.hosts.announced.get(&lease.holder) else {
            return lease.granted_ms + policy.duty_timeout_ms;
        };
        // Whoever waited for it would wait for bytes that nobody can read.
        if host.report.sharing_off || !host.report.storing {
            return lease.granted_ms;
        }
        let gone = self.complaint(&lease.holder) == Some(ComplaintReason::Gone);
        let seen_ms = self.view.task.peers.get(&lease.holder).map_or(lease.granted_ms, |peer| peer.seen_ms);
        let stalls_ms = match lease.duty_pending {
            true => lease.granted_ms + policy.duty_timeout_ms,
            false => lease.moved_ms + policy.origin_stall_ms,
        };
        let silent_ms = if gone { seen_ms + policy.origin_silence_ms() } else { u64::MAX };
        stalls_ms.min(silent_ms).min(host.expires_ms)
    }

    /// The seed that shall fetch the task, by rendezvous hashing. `None` when the asker itself has to go to the origin.
    fn seed_to_send(&self) -> Option<HostId> {
        let View { now_ms, task, hosts, .. } = self.view;
        let admission = &self.peer.admission;
        let itself = self.peer.report.origin.node_only || admission.priority == Priority::NODE_ITSELF;
        if itself || self.peer.report.at_origin || admission.seeds_give_nothing || admission.seeds_fetch_nothing {
            return None;
        }
        // The asker shall see the origin's own answer, given to its own credentials.
        if hosts.live_seeds(now_ms).any(|(id, _)| task.rests(id, now_ms) == Some(RestReason::Failed)) {
            return None;
        }
        let fit = hosts.live_seeds(now_ms).filter(|(id, host)| {
            !host.report.sharing_off
                && host.report.storing
                && host.duties.len() < DUTIES_MAX
                && task.rests(id, now_ms).is_none()
                && Some(*id) != self.revoked
                && self.complaint(id).is_none()
                && !self.sends_wrong_bytes(id)
        });
        let (chosen, _) = fit.max_by_key(|(id, _)| weight(&task.id, id))?;
        (chosen != self.id).then(|| chosen.clone())
    }
}

#[cfg(test)]
mod tests;
