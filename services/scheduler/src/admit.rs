//! Whether a peer may go on with its task, as far as the cluster's rules go.
//!
//! **Invariant.** Rules are judged when a wish or the rules are new, not with every report. What is whole already is nobody's
//! concern.

use df_api::scheduler::{PeerReport, PeerState};
use df_api::{HostId, TaskId};

use crate::rules::{Admission, Forbidden};
use crate::state::State;

// === impl State ===

impl State {
    /// Whoever is forbidden to go on is no part of the task any more.
    pub fn admit(&mut self, id: &TaskId, host: &HostId, report: &PeerReport) -> Result<Admission, Forbidden> {
        let peer = self.tasks.get(id).and_then(|task| task.peers.get(host));
        if let Some(peer) = peer {
            let same = peer.admission.version == self.rules.version && peer.report.origin == report.origin;
            if same || report.state != PeerState::Running {
                return Ok(peer.admission);
            }
        }
        let judged = self.rules.judge(&report.origin, self.hosts.is_seed(host));
        match judged {
            Err(_) if report.state != PeerState::Running => Ok(Admission::default()),
            Err(forbidden) if peer.is_some() => {
                self.delete_peer(id, host);
                Err(forbidden)
            }
            judged => judged,
        }
    }
}
