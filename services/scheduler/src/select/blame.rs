//! Who is to blame: what complaints and rates do to a relay's slot.
//!
//! The incumbent calls a parent bad whose last piece took twenty times the mean of its pieces, or, once it knows 2,000 of
//! them, the mean and three standard deviations. That compares a host with its own past: one that was always slow never is
//! bad, one that is slow because what it reads from is slow is, and it says so after pieces, not seconds. Here a relay goes
//! when it is slow beside the median of the task *and* it alone can be why: its own source has what it lacks
//! (`Question::blocks`), or the others of its row, who read from the same, are far ahead (`Question::lags`), or most who read
//! from it find that it has what it does not send. In simulations, judging by the median alone demoted 490 of 1,000 peers
//! for 48 slow ones; this demotes the 50 that are slow, and nobody else.
//!
//! **Invariants.** Blame is local: behind one bad relay everybody is slow, so being slow alone demotes nobody. Of a task's
//! peers at most a tenth is demoted within ten seconds, or one.

use df_api::HostId;
use df_api::scheduler::{ComplaintReason, DemotionReason};

use super::{Effect, Question, View};
use crate::pace::median;
use crate::task::Peer;

/// Of two who say the same, one at least is honest.
const WITNESSES: usize = 2;
/// A rate means nothing sooner.
const PROBATION_MS: u64 = 700;
/// Row mates read from the same: a rate beside theirs means something sooner, if so many bytes have come of it.
const BESIDE_MATES_MS: u64 = 400;
const BEHIND_MATES_BYTES: u64 = 8 << 20;
/// A relay that is the bottleneck goes at less than this part of the median.
const BOTTLENECK_PART: u64 = 4;
/// So many of its pieces, at least, its own source has and it has not.
const BEHIND_PIECES: usize = 4;
/// A relay that others find silent goes at less than this part of the median.
const SILENT_PART: u64 = 2;
/// In this time, one of so many peers may be demoted.
const DEMOTION_MS: u64 = 10_000;
const DEMOTION_PART: usize = 10;

// === impl Question ===

impl Question<'_> {
    /// Empties slots of those who do not do their part: the asker, and those it complains of.
    pub(super) fn blame(&mut self) {
        let mut about: Vec<_> = self.peer.report.complaints.iter().map(|it| it.peer_id.host()).collect();
        about.sort_unstable();
        about.dedup();
        for id in about {
            self.hear(&id);
        }
        if self.stands(self.id) && (self.lags() || self.blocks()) && self.may_demote() {
            self.demote(self.id, DemotionReason::Bottleneck);
        }
    }

    fn hear(&mut self, id: &HostId) {
        let View { now_ms, task, policy, .. } = self.view;
        let standing = task.complaints.standing(id, self.id);
        match standing.map(|standing| (standing.reason, standing.since_ms)) {
            Some((ComplaintReason::Busy, since_ms)) if since_ms + policy.busy_ms > now_ms => {
                self.recheck(since_ms + policy.busy_ms);
            }
            _ if !self.stands(id) => {}
            Some((ComplaintReason::Gone, _)) if self.is_gone(id) || self.is_mute(id) => self.empty(id),
            Some((ComplaintReason::WrongBytes, _)) if self.sends_wrong_bytes(id) => self.empty(id),
            Some((ComplaintReason::Silent, _)) if self.is_slow_and_silent(id) && self.may_demote() => {
                self.demote(id, DemotionReason::Silent);
            }
            _ => {}
        }
    }

    fn demote(&mut self, id: &HostId, why: DemotionReason) {
        self.effects.push(Effect::Demote { host: id.clone(), why });
        self.out.push(id.clone());
    }

    fn empty(&mut self, id: &HostId) {
        self.effects.push(Effect::Leave { host: id.clone() });
        self.out.push(id.clone());
    }

    fn stands(&self, id: &HostId) -> bool {
        self.view.task.table().place(id).is_some()
    }

    fn is_gone(&self, id: &HostId) -> bool {
        self.view.task.complaints.count(id, ComplaintReason::Gone) >= WITNESSES
    }

    /// For everybody, from now on.
    pub(super) fn sends_wrong_bytes(&self, id: &HostId) -> bool {
        self.view.task.complaints.count(id, ComplaintReason::WrongBytes) >= WITNESSES
    }

    /// It has stopped reporting, too.
    fn is_mute(&self, id: &HostId) -> bool {
        let View { now_ms, task, policy, .. } = self.view;
        let silence_ms = 3 * policy.row_refresh_ms(task.peers.len());
        task.peers.get(id).is_none_or(|peer| peer.is_running() && now_ms.saturating_sub(peer.seen_ms) > silence_ms)
    }

    fn is_slow_and_silent(&self, id: &HostId) -> bool {
        let task = self.view.task;
        let many = task.table().width().unwrap_or(0) as usize / 2;
        // One that is complete has no rate: that many say so must do.
        let slow = |peer: &Peer| !peer.is_running() || task.median.is_slow(&peer.pace, SILENT_PART);
        task.complaints.count(id, ComplaintReason::Silent) > many && task.peers.get(id).is_some_and(slow)
    }

    /// A relay that no complaint keeps from being one. It would come back to the slot it lost otherwise.
    pub(super) fn may_relay(&self, id: &HostId) -> bool {
        let demoted = self.view.task.demoted.contains_key(id);
        !demoted && !self.out.contains(id) && !self.is_gone(id) && !self.sends_wrong_bytes(id)
    }

    /// The asker gets on much slower than the others of its row, who read from the same; what they have was reported before
    /// what it has.
    fn lags(&self) -> bool {
        let View { now_ms, task, .. } = self.view;
        let Some(place) = task.table().place(self.id) else { return false };
        if now_ms.saturating_sub(self.peer.joined_ms) < BESIDE_MATES_MS {
            return false;
        }
        let mates = || {
            let others = task.table().members(place.row).filter(|(_, id)| *id != self.id);
            others.filter_map(|(_, id)| task.peers.get(id)).filter(|peer| peer.is_running())
        };
        let ahead = median(mates().map(|peer| peer.report.received_bytes).collect()).unwrap_or(0);
        self.peer.report.received_bytes.saturating_add(BEHIND_MATES_BYTES) < ahead
            && self.peer.pace.is_slow_beside(mates().map(|peer| peer.pace), BOTTLENECK_PART)
    }

    /// The asker is the bottleneck, and not a victim of one: it is slow although its source has what it lacks.
    fn blocks(&self) -> bool {
        let View { now_ms, task, .. } = self.view;
        let Some(place) = task.table().place(self.id) else { return false };
        let old_enough = now_ms.saturating_sub(self.peer.joined_ms) > PROBATION_MS;
        if !old_enough || !task.median.is_slow(&self.peer.pace, BOTTLENECK_PART) {
            return false;
        }
        let (Some(length), Some(piece_length)) = (task.facts.length, task.facts.piece_length) else { return false };
        if piece_length == 0 {
            return false;
        }
        let Some(width) = task.table().width() else { return false };
        let above: Vec<_> = match task.table().above(place.row) {
            Some(row) => task.table().members(row).collect(),
            None => task.apart().chain(&self.holder).take(1).map(|id| (0, id)).collect(),
        };
        let stripe = (place.slot..df_api::task::piece_count(length, piece_length)).step_by(width as usize);
        let behind = stripe.filter(|&piece| {
            let has = |id: &HostId| {
                task.whole().contains(id) || task.peers.get(id).is_some_and(|peer| peer.report.pieces.has(piece))
            };
            !self.peer.report.pieces.has(piece) && df_api::rows::relay(&above, width, piece).is_some_and(has)
        });
        behind.take(BEHIND_PIECES).count() == BEHIND_PIECES
    }

    fn may_demote(&self) -> bool {
        let View { now_ms, task, .. } = self.view;
        let recent = task.demoted.values().filter(|demotion| demotion.at_ms + DEMOTION_MS > now_ms).count();
        let now = self.effects.iter().filter(|effect| matches!(effect, Effect::Demote { .. })).count();
        recent + now < (task.peers.len() / DEMOTION_PART).max(1)
    }
}
