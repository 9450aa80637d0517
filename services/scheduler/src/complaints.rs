//! What the peers of a task complain of, by whom it is about.
//!
//! **Invariant.** Exactly the standing complaints: those of each peer's last report. Of one that no longer runs only
//! wrong bytes count, because they stay wrong.

use std::collections::BTreeMap;

use df_api::HostId;
use df_api::scheduler::{Complaint, ComplaintReason, PeerReport, PeerState};
use serde::{Deserialize, Serialize};

use crate::maps::Map;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Complaints {
    about: Map<HostId, BTreeMap<HostId, Standing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub reason: ComplaintReason,
    pub since_ms: u64,
}

// === impl Complaints ===

impl Complaints {
    /// A peer reports; `old` is what it reported before.
    pub fn replace(&mut self, by: &HostId, old: Option<&PeerReport>, new: Option<&PeerReport>, now_ms: u64) {
        let new = worst(new);
        for about in worst(old).into_keys().filter(|about| !new.contains_key(about)) {
            let Some(standing) = self.about.get_mut(&about) else { continue };
            standing.remove(by);
            if standing.is_empty() {
                self.about.remove(&about);
            }
        }
        for (about, reason) in new {
            let standing = self.about.entry(about).or_default();
            let since_ms =
                standing.get(by).filter(|known| known.reason == reason).map_or(now_ms, |known| known.since_ms);
            standing.insert(by.clone(), Standing { reason, since_ms });
        }
    }

    pub fn standing(&self, about: &HostId, by: &HostId) -> Option<Standing> {
        self.about.get(about)?.get(by).copied()
    }

    /// How many have this reason to complain.
    pub fn count(&self, about: &HostId, reason: ComplaintReason) -> usize {
        let all = self.about.get(about).into_iter().flat_map(BTreeMap::values);
        all.filter(|standing| standing.reason == reason).count()
    }
}

/// One per parent, the worst.
fn worst(report: Option<&PeerReport>) -> BTreeMap<HostId, ComplaintReason> {
    let mut reasons = BTreeMap::new();
    let Some(report) = report else { return reasons };
    let stays =
        |complaint: &&Complaint| report.state == PeerState::Running || complaint.reason == ComplaintReason::WrongBytes;
    for complaint in report.complaints.iter().filter(stays) {
        let reason = reasons.entry(complaint.peer_id.host()).or_insert(complaint.reason);
        if weight(complaint.reason) > weight(*reason) {
            *reason = complaint.reason;
        }
    }
    reasons
}

fn weight(reason: ComplaintReason) -> u8 {
    match reason {
        ComplaintReason::Busy => 0,
        ComplaintReason::Silent => 1,
        ComplaintReason::Gone => 2,
        ComplaintReason::WrongBytes => 3,
    }
}
