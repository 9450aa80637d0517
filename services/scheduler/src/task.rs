//! One task as the scheduler knows it: who holds it, who is getting it, and who may go to the origin.
//!
//! **Invariants.** A host has one peer per task, and the peer's id is spelled like the host's. At most one host has the
//! right to the origin (the lease). A complete or failed peer has no parents.

use std::collections::{BTreeMap, BTreeSet};

use df_api::scheduler::{ComplaintReason, PeerReport, PeerState, TaskFacts};
use df_api::{HostId, PeerId, TaskId};

#[derive(Clone, Debug)]
pub struct Task {
    pub id: TaskId,
    pub facts: TaskFacts,
    /// Empty while only known from hosts that hold it.
    pub origin_url: String,
    pub peers: BTreeMap<HostId, Peer>,
    /// Who has all of it: complete peers, and hosts that announced it.
    pub whole: BTreeSet<HostId>,
    pub lease: Option<Lease>,
    /// Not to be asked to fetch, nor to be read from while it is not whole.
    pub resting: BTreeMap<HostId, Rest>,
}

#[derive(Clone, Debug)]
pub struct Peer {
    /// Join order.
    pub seat: u64,
    pub report: PeerReport,
    pub seen_ms: u64,
    /// What it reads from: as reported, then as answered.
    pub parents: Vec<HostId>,
    /// `parents` is what this scheduler answered: no cycle goes through it.
    pub settled: bool,
}

/// The cluster's one right to read this task from its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub holder: HostId,
    pub granted_ms: u64,
    /// When the holder last had more bytes than before.
    pub moved_ms: u64,
    /// Given to a seed as a duty, and the seed has not reported a peer since.
    pub duty_pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub until_ms: u64,
    pub why: RestReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestReason {
    /// It said so: the origin refused it, most likely. Others ask the origin themselves, to see its own answer.
    Failed,
    /// It did not start in time, or stood still.
    Stalled,
}

// === impl Task ===

impl Task {
    pub fn new(id: TaskId) -> Self {
        Self {
            id,
            facts: TaskFacts::default(),
            origin_url: String::new(),
            peers: BTreeMap::new(),
            whole: BTreeSet::new(),
            lease: None,
            resting: BTreeMap::new(),
        }
    }

    pub fn rests(&self, id: &HostId, now_ms: u64) -> Option<RestReason> {
        self.resting.get(id).filter(|rest| rest.until_ms > now_ms).map(|rest| rest.why)
    }

    pub fn holds_lease(&self, id: &HostId) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.holder == *id)
    }
}

// === impl Peer ===

impl Peer {
    pub fn is_running(&self) -> bool {
        self.report.state == PeerState::Running
    }

    pub fn complaint_about(&self, host: &HostId) -> Option<ComplaintReason> {
        let about = self.report.complaints.iter().filter(|complaint| complaint.peer_id.as_str() == host.as_str());
        about.map(|complaint| complaint.reason).max_by_key(|reason| *reason == ComplaintReason::WrongBytes)
    }
}

/// A host's peer in any task is spelled like the host.
pub fn peer_of(host: &HostId) -> PeerId {
    match PeerId::try_from(host.as_str().to_owned()) {
        Ok(id) => id,
        Err(error) => unreachable!("both follow one rule: {error}"),
    }
}

/// The host of a peer; see [`peer_of`].
pub fn host_of(peer: &PeerId) -> HostId {
    match HostId::try_from(peer.as_str().to_owned()) {
        Ok(id) => id,
        Err(error) => unreachable!("both follow one rule: {error}"),
    }
}
