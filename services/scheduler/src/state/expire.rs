//! Who has been silent for too long is forgotten, with what only it knew.
//!
//! **Invariant.** A host is there until its lease ends; what is whole on its disk is there as long as it is.

use std::collections::BTreeSet;

use df_api::scheduler::PeerState;

use super::State;

// === impl State ===

impl State {
    pub fn expire_when_due(&mut self, now_ms: u64) {
        if now_ms >= self.expiry_due_ms() {
            self.expire(now_ms);
        }
    }

    /// When the next host may be silent for too long; before that for those who come meanwhile.
    pub fn expiry_due_ms(&self) -> u64 {
        self.next_expiry_ms.min(self.expired_ms + self.policy.expiry_ms())
    }

    /// Forgets who has been silent for too long.
    pub fn expire(&mut self, now_ms: u64) {
        self.expired_ms = now_ms;
        self.left.expire(now_ms);
        let dead = self.hosts.announced.iter().filter(|(_, host)| host.expires_ms <= now_ms);
        // In one order, so that what follows from it can be repeated.
        for id in dead.map(|(id, _)| id.clone()).collect::<BTreeSet<_>>() {
            tracing::info!(host = %id, "silent beyond its lease: gone, with its peers");
            self.delete_host(&id);
        }
        let silent_since = now_ms.saturating_sub(self.policy.peer_silence_ms());
        let mut silent = Vec::new();
        for task in self.tasks.values_mut() {
            task.resting.retain(|_, rest| rest.until_ms > now_ms);
            let peers = task.peers.iter().filter(|(id, peer)| {
                let holds = peer.report.state == PeerState::Complete && self.hosts.announced.contains_key(*id);
                !holds && peer.seen_ms < silent_since
            });
            silent.extend(peers.map(|(id, _)| (task.id.clone(), id.clone())));
        }
        for (task, host) in silent {
            self.delete_peer(&task, &host);
        }
        self.next_expiry_ms = self.hosts.announced.values().map(|host| host.expires_ms).min().unwrap_or(u64::MAX);
    }
}
