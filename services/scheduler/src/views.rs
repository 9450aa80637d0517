//! The state as it is shown to those who look.

use std::collections::HashMap;

use df_api::HostId;
use df_api::scheduler::{DemotionView, HostView, LeaseView, PeerState, PeerView, RestView, TaskView};
use df_api::task::piece_count;

use crate::select::{View, explain};
use crate::state::State;
use crate::task::Task;

/// Peers of a task that are explained; rests and demotions that are listed.
const LISTED_MAX: usize = 100;

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
pub fn task_view(state: &State, now_ms: u64, task: &Task) -> TaskView {
    let pieces = match (task.facts.length, task.facts.piece_length) {
        (Some(length), Some(piece_length)) if piece_length > 0 => piece_count(length, piece_length),
        _ => 0,
    };
    let only_hold = task.whole().iter().filter(|id| !task.peers.contains_key(*id)).count();
    let known = task.peers.len() + only_hold;
    let holders = task.whole().iter().filter(|id| !task.peers.contains_key(*id)).map(|id| PeerView {
        peer_id: id.peer(),
        host_id: id.clone(),
        seed: state.hosts.is_seed(id),
        state: PeerState::Complete,
        at_origin: false,
        pieces,
        received_bytes: 0,
        place: None,
        parents: Vec::new(),
        complaints: Vec::new(),
        why: None,
    });
    let mut joined: Vec<_> = task.peers.iter().collect();
    joined.sort_by_key(|(_, peer)| peer.seat);
    let view = View { now_ms, task, hosts: &state.hosts, policy: &state.policy };
    let peers = joined.into_iter().enumerate().map(|(at, (id, peer))| PeerView {
        peer_id: id.peer(),
        host_id: id.clone(),
        seed: state.hosts.is_seed(id),
        state: peer.report.state,
        at_origin: peer.report.at_origin,
        pieces: peer.report.pieces.count(),
        received_bytes: peer.report.received_bytes,
        place: task.table().place(id),
        parents: peer.told.iter().flat_map(|told| &told.parents).map(|parent| parent.id.peer()).collect(),
        complaints: peer.report.complaints.clone(),
        why: if at < LISTED_MAX { explain(view, id, known) } else { None },
    });
    let rests = task.resting.iter().filter(|(_, rest)| rest.until_ms > now_ms).map(|(id, rest)| RestView {
        host_id: id.clone(),
        why: rest.why,
        left_ms: rest.until_ms - now_ms,
    });
    let demoted = task.demoted.iter().map(|(id, demotion)| DemotionView {
        host_id: id.clone(),
        why: demotion.why,
        since_ms: now_ms.saturating_sub(demotion.at_ms),
    });
    TaskView {
        id: task.id.clone(),
        facts: task.facts.clone(),
        origin_url: task.origin_url.clone(),
        lease: task.lease.as_ref().map(|lease| LeaseView {
            holder: lease.holder.clone(),
            duty_pending: lease.duty_pending,
            held_ms: now_ms.saturating_sub(lease.granted_ms),
            still_ms: now_ms.saturating_sub(lease.moved_ms),
        }),
        rests: rests.take(LISTED_MAX).collect(),
        demoted: demoted.take(LISTED_MAX).collect(),
        peers: holders.chain(peers).collect(),
    }
}
