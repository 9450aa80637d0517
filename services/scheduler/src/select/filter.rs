//! Who is passed over as a parent, and why: the hard filters, all here.
//!
//! **Invariant.** Whoever is named passes them, but for two that yield when nobody else is left: a complaint that is not
//! about wrong bytes, and [`Filter::Full`]. What the filters leave cannot starve the asker or lead back to it, because the
//! rows offer only who stands above it, or is beside it, or reads from nobody.
//!
//! Two hosts at one address are two machines as far as this is concerned: behind one address there may be many (NAT, pods
//! of a node), and a neighbour on the same machine is the nearest parent there is. No two hosts have one URL (`State`).

use df_api::HostId;
use df_api::scheduler::{ComplaintReason, Filter};

use super::{Question, Trust, View};
use crate::complaints::Standing;
use crate::host::Host;

// === impl Question ===

impl<'a> Question<'a> {
    /// Somebody else, alive, willing and able, whom the asker may be told to read from.
    pub(super) fn usable(&self, id: &HostId, trust: Trust) -> bool {
        self.filter(id, trust).is_none()
    }

    /// The first reason to pass somebody over.
    pub(super) fn filter(&self, id: &HostId, trust: Trust) -> Option<Filter> {
        if id == self.id {
            return Some(Filter::Itself);
        }
        let Some(host) = self.view.hosts.live(id, self.view.now_ms) else { return Some(Filter::Gone) };
        let task = self.view.task;
        if host.report.sharing_off {
            Some(Filter::SharingOff)
        } else if !host.report.storing && !task.whole().contains(id) {
            // What is not stored cannot be passed on; what was stored before can.
            Some(Filter::NotStoring)
        } else if !self.may_give(id) {
            Some(Filter::Blocked)
        } else if self.sends_wrong_bytes(id) {
            Some(Filter::WrongBytes)
        } else if self.out.contains(id) {
            Some(Filter::Demoted)
        } else {
            self.distrust(id, trust)
        }
    }

    /// What the asker's own complaint does to somebody.
    fn distrust(&self, id: &HostId, trust: Trust) -> Option<Filter> {
        let Standing { reason, since_ms } = self.view.task.complaints.standing(id, self.id)?;
        let over = reason == ComplaintReason::Busy && since_ms + self.view.policy.busy_ms <= self.view.now_ms;
        match reason {
            ComplaintReason::WrongBytes => Some(Filter::WrongBytes),
            _ if over || trust == Trust::Doubted => None,
            ComplaintReason::Busy => Some(Filter::Busy),
            ComplaintReason::Gone | ComplaintReason::Silent => Some(Filter::Complained),
        }
    }

    /// It can take one more child, or the asker is its child.
    pub(super) fn has_room(&self, id: &HostId) -> bool {
        let View { hosts, policy, .. } = self.view;
        let has = |host: &Host| hosts.children(id) < policy.slots(&host.report);
        hosts.announced.get(id).is_none_or(has) || self.peer.was_told(id)
    }
}
