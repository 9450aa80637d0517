//! One task as the scheduler knows it: who holds it, who is getting it, and who may go to the origin.
//!
//! **Invariants.** A host has one peer per task, and the peer's id is spelled like the host's. At most one host has the
//! right to the origin (the lease), and it has no slot. A complete or failed peer has no parents; only one that is not
//! failed has a slot. `apart` is exactly the whole hosts without a slot.

use std::collections::{BTreeMap, BTreeSet};

use df_api::rendezvous::weight;
use df_api::scheduler::{DemotionReason, ParentRole, PeerReport, PeerState, RestReason, Row, RowPlace, TaskFacts};
use df_api::{HostId, TaskId};
use serde::{Deserialize, Serialize};

use crate::complaints::Complaints;
use crate::maps::SteadyMap;
use crate::pace::{Median, Pace, Reference};
use crate::rules::Admission;
use crate::table::{Idc, Table};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub facts: TaskFacts,
    /// No origin has it.
    pub imported: bool,
    /// Empty while only known from hosts that hold it.
    pub origin_url: String,
    pub peers: SteadyMap<HostId, Peer>,
    /// Who has all of it: complete peers, and hosts that announced it.
    whole: BTreeSet<HostId>,
    /// Those of them that have no slot, by their weight for this task: each task begins with others.
    apart: BTreeSet<([u8; 8], HostId)>,
    table: Table,
    pub complaints: Complaints,
    pub demoted: BTreeMap<HostId, Demotion>,
    pub median: Median,
    pub reference: Reference,
    pub lease: Option<Lease>,
    /// Not to be asked to fetch, nor to be read from while it is not whole.
    pub resting: BTreeMap<HostId, Rest>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Join order.
    pub seat: u64,
    pub report: PeerReport,
    pub joined_ms: u64,
    pub seen_ms: u64,
    pub pace: Pace,
    /// What the cluster's rules say of its wish.
    pub admission: Admission,
    /// Whom this scheduler told it to read from.
    pub told: Option<Sources>,
}

/// Whom a peer reads from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    pub row: Row,
    /// Mates, then those above, then the reserve. Never empty.
    pub parents: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub id: HostId,
    pub role: ParentRole,
    pub slot: u32,
}

/// The cluster's one right to read this task from its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub holder: HostId,
    pub granted_ms: u64,
    /// When the holder last had more bytes than before.
    pub moved_ms: u64,
    /// Given to a seed as a duty, and the seed has not reported a peer since.
    pub duty_pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    pub until_ms: u64,
    pub why: RestReason,
}

/// A relay no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demotion {
    pub at_ms: u64,
    pub why: DemotionReason,
}

// === impl Task ===

impl Task {
    /// See [`Table::new`].
    pub fn new(id: TaskId, first_row: u64) -> Self {
        Self {
            id,
            facts: TaskFacts::default(),
            imported: false,
            origin_url: String::new(),
            peers: SteadyMap::default(),
            whole: BTreeSet::new(),
            apart: BTreeSet::new(),
            table: Table::new(first_row),
            complaints: Complaints::default(),
            demoted: BTreeMap::new(),
            median: Median::default(),
            reference: Reference::default(),
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

    pub fn whole(&self) -> &BTreeSet<HostId> {
        &self.whole
    }

    pub fn is_apart(&self, host: &HostId) -> bool {
        self.whole.contains(host) && self.table.place(host).is_none()
    }

    /// Whole, and no relay; the heaviest for this task first.
    pub fn apart(&self) -> impl Iterator<Item = &HostId> {
        self.apart.iter().rev().map(|(_, id)| id)
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Says whether that is new.
    pub fn add_whole(&mut self, host: &HostId) -> bool {
        let new = self.whole.insert(host.clone());
        self.sort_apart(host);
        new
    }

    /// Says whether it was.
    pub fn drop_whole(&mut self, host: &HostId) -> bool {
        let was = self.whole.remove(host);
        if was {
            self.sort_apart(host);
        }
        was
    }

    /// Like all changes of the table: says who should look again.
    pub fn take_slot(&mut self, host: &HostId, place: RowPlace, width: u32, idc: &Idc) -> BTreeSet<HostId> {
        let concerned = self.table.take(host, place, width, idc);
        self.sort_apart(host);
        concerned
    }

    pub fn read_row(&mut self, host: &HostId, row: u64) -> BTreeSet<HostId> {
        let concerned = self.table.read(host, row);
        self.sort_apart(host);
        concerned
    }

    pub fn leave_row(&mut self, host: &HostId) -> BTreeSet<HostId> {
        let concerned = self.table.leave(host);
        self.sort_apart(host);
        concerned
    }

    fn sort_apart(&mut self, host: &HostId) {
        let entry = (weight(&self.id, host), host.clone());
        match self.whole.contains(host) && self.table.place(host).is_none() {
            true => self.apart.insert(entry),
            false => self.apart.remove(&entry),
        };
    }

    /// Bytes of one piece and of the content, as far as known.
    fn lengths(&self) -> (u64, u64) {
        (self.facts.piece_length.unwrap_or(0), self.facts.length.unwrap_or(0))
    }

    /// So little has it got that it may stand in a row with newcomers: 2 % and two pieces.
    pub fn at_start(&self, host: &HostId) -> bool {
        let (piece_length, length) = self.lengths();
        let held = |peer: &Peer| {
            let pieces = u64::from(peer.report.pieces.count()).saturating_mul(piece_length);
            pieces.max(peer.report.received_bytes)
        };
        self.peers.get(host).is_some_and(|peer| held(peer) <= length / 50 + 2 * piece_length)
    }
}

// === impl Peer ===

impl Peer {
    pub fn is_running(&self) -> bool {
        self.report.state == PeerState::Running
    }

    /// It was told to read from this host, other than in reserve.
    pub fn was_told(&self, host: &HostId) -> bool {
        self.told.iter().flat_map(Sources::serving).any(|parent| parent == host)
    }
}

// === impl Sources ===

impl Sources {
    /// Who serves this peer as long as all goes well: those above one that only reads bring it nothing that the row does.
    pub fn serving(&self) -> impl Iterator<Item = &HostId> {
        let reads_row = self.row.place.is_none() && self.parents.iter().any(|parent| parent.role == ParentRole::Mate);
        let serves = move |parent: &&Source| match parent.role {
            ParentRole::Mate => true,
            ParentRole::Above => !reads_row,
            ParentRole::Reserve => false,
        };
        self.parents.iter().filter(serves).map(|parent| &parent.id)
    }
}
