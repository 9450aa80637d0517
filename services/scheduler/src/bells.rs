//! Whom to wake because of a change.
//!
//! **Invariant.** A bell is there as long as somebody listens; who listens before deciding misses no ring.

use std::collections::HashMap;

use df_api::{HostId, TaskId};
use tokio::sync::watch;

use crate::state::Ring;

/// One per host, and per peer of a task, on which somebody waits.
#[derive(Debug, Default)]
pub struct Bells {
    hosts: HashMap<HostId, Bell>,
    peers: HashMap<TaskId, HashMap<HostId, Bell>>,
    orders: Bell,
}

type Bell = watch::Sender<()>;

// === impl Bells ===

impl Bells {
    pub fn host(&mut self, id: &HostId) -> watch::Receiver<()> {
        self.hosts.entry(id.clone()).or_insert_with(|| Bell::new(())).subscribe()
    }

    pub fn peer(&mut self, task: &TaskId, host: &HostId) -> watch::Receiver<()> {
        let peers = self.peers.entry(task.clone()).or_default();
        peers.entry(host.clone()).or_insert_with(|| Bell::new(())).subscribe()
    }

    pub fn orders(&self) -> watch::Receiver<()> {
        self.orders.subscribe()
    }

    pub fn ring(&self, ring: &Ring) {
        let rung: Box<dyn Iterator<Item = &Bell>> = match ring {
            Ring::Host(id) => Box::new(self.hosts.get(id).into_iter()),
            Ring::Task(id) => Box::new(self.peers.get(id).into_iter().flat_map(HashMap::values)),
            Ring::Peer(id, host) => Box::new(self.peers.get(id).and_then(|peers| peers.get(host)).into_iter()),
            Ring::AllTasks => Box::new(self.peers.values().flat_map(HashMap::values)),
            Ring::Orders => Box::new(std::iter::once(&self.orders)),
        };
        for bell in rung {
            bell.send_replace(());
        }
    }

    pub fn ring_all(&self) {
        let peers = self.peers.values().flat_map(HashMap::values);
        self.hosts.values().chain(peers).chain([&self.orders]).for_each(|bell| bell.send_replace(()));
    }

    /// Of those to whom nobody listens any more.
    pub fn forget(&mut self) {
        let is_heard = |bell: &Bell| bell.receiver_count() > 0;
        self.hosts.retain(|_, bell| is_heard(bell));
        self.peers.retain(|_, peers| {
            peers.retain(|_, bell| is_heard(bell));
            !peers.is_empty()
        });
    }
}
