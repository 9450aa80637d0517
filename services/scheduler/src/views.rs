//! The state as it is shown to those who look.

use std::collections::HashMap;

use df_api::HostId;
use df_api::scheduler::{HostView, PeerState, PeerView, TaskView};
use df_api::task::piece_count;

use crate::state::State;
use crate::task::{Task, peer_of};

pub fn host_views(state: &State) -> Vec<HostView> {
    let mut held: HashMap<&HostId, u32> = HashMap::new();
    for id in state.tasks.values().flat_map(|task| task.whole()) {
        *held.entry(id).or_default() += 1;
    }
    let views = state.hosts.announced.iter().map(|(id, host)| HostView {
        id: id.clone(),
        place: host.report.place.clone(),
        url: host.report.url.clone(),
        seed: host.report.seed,
        storing: host.report.storing,
        tasks: held.get(id).copied().unwrap_or(0),
    });
    views.collect()
}

/// Peers in join order after those that are only known to hold the task.
pub fn task_view(state: &State, task: &Task) -> TaskView {
    let pieces = match (task.facts.length, task.facts.piece_length) {
        (Some(length), Some(piece_length)) if piece_length > 0 => piece_count(length, piece_length),
        _ => 0,
    };
    let holders = task.whole().iter().filter(|id| !task.peers.contains_key(*id)).map(|id| PeerView {
        peer_id: peer_of(id),
        host_id: id.clone(),
        seed: state.hosts.is_seed(id),
        state: PeerState::Complete,
        at_origin: false,
        pieces,
        received_bytes: 0,
        place: None,
        parents: Vec::new(),
        complaints: Vec::new(),
    });
    let mut joined: Vec<_> = task.peers.iter().collect();
    joined.sort_by_key(|(_, peer)| peer.seat);
    let peers = joined.into_iter().map(|(id, peer)| PeerView {
        peer_id: peer_of(id),
        host_id: id.clone(),
        seed: state.hosts.is_seed(id),
        state: peer.report.state,
        at_origin: peer.report.at_origin,
        pieces: peer.report.pieces.count(),
        received_bytes: peer.report.received_bytes,
        place: task.table().place(id),
        parents: peer.told.iter().flat_map(|told| &told.parents).map(|parent| peer_of(&parent.id)).collect(),
        complaints: peer.report.complaints.clone(),
    });
    TaskView {
        id: task.id.clone(),
        facts: task.facts.clone(),
        origin_url: task.origin_url.clone(),
        peers: holders.chain(peers).collect(),
    }
}
