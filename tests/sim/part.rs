//! One host's part in one task: what it has, what it has asked for, and what the driver of a download remembers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use df_api::scheduler::{Complaint, ComplaintReason, Parent, PeerDecision, Row};
use df_api::{Bitmap, Digest, PeerId};
use df_peer::decisions::{Key, Linked, Links, Meter, Testimony};

use crate::events::{FlightId, HostIndex, PartId, Question};

pub const NOBODY: u32 = u32::MAX;

/// What a content is: the same digests for every task.
pub struct Digests {
    right: Vec<Digest>,
}

/// Where a part of a host in a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody of the host has asked yet.
    Absent,
    /// It waits for what the cluster says.
    Asking,
    /// It reads from parents.
    Swarm,
    Origin,
    Whole,
    Dead,
}

#[derive(Clone, Debug)]
pub enum Advice {
    Pending,
    Alone,
    Decided(Rc<PeerDecision>),
}

pub struct Part {
    pub host: HostIndex,
    pub task: usize,
    pub phase: Phase,
    /// It knows how long the content is.
    pub described: bool,
    /// By piece.
    pub slots: Vec<Slot>,
    /// It sends nothing, whatever it is asked for.
    pub silent: bool,
    /// Who has put wrong bytes into a piece; 0 is nobody.
    pub taint: Vec<u8>,
    pub marked: Bitmap,
    /// Marked pieces in their order.
    pub log: Vec<u32>,
    /// Who waits for news of pieces.
    pub listeners: Vec<Question>,
    pub works: BTreeMap<u32, Work>,
    pub links: Links<Link>,
    pub in_flight: Vec<InFlight>,
    /// Flights whose last bytes have landed, and that the driver has not heard of.
    pub landings: Vec<Landing>,
    pub questions: Vec<Open>,
    pub rests: BTreeMap<Key, u64>,
    pub said: Vec<Key>,
    pub said_since_ms: Option<u64>,
    pub testimonies: Vec<Testimony>,
    pub from_one: BTreeSet<u32>,
    pub hedged_bytes: u64,
    pub hedged_in_vain: bool,
    pub orphaned_ms: Option<u64>,
    pub began_ms: u64,
    /// How often it has begun to read from parents.
    pub tries: u32,
    /// When bytes came last, or it began to wait for them.
    pub moved_ms: u64,
    pub sync: Sync,
    /// It reads from hosts it knows, because no scheduler answers.
    pub alone: Option<Alone>,
    /// It was told to go to the origin.
    pub sent: bool,
    pub small: Small,
    /// Its driver has something to do.
    pub stirred: bool,
    pub times: Times,
    pub counts: Counts,
}

/// A peer without a scheduler.
#[derive(Clone, Debug)]
pub struct Alone {
    /// Whom it reads from.
    pub told: Vec<Parent>,
    /// When it looks for better ones, and after which pause then.
    pub next_ms: u64,
    pub pause_ms: u64,
}

/// What every step of everything that moves looks at of a piece, side by side.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Bytes of it.
    pub landed: u32,
    /// First of the requests of others; [`NOBODY`] without any. They are linked through the flights.
    pub requests: FlightId,
    /// One of them waits for more to land.
    pub waited_for: bool,
}

/// Whether the seed is asked if the content is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Small {
    Asking,
    /// The cluster has spoken; the seed has a moment left.
    Leaving,
    No,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub start_ms: u64,
    pub first_byte_ms: Option<u64>,
    pub whole_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub requests: u32,
    pub reports: u32,
    pub lists: u32,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub origin_bytes: u64,
    pub went_to_origin: u32,
    pub wrong_marks: u32,
}

/// A piece that has begun to arrive.
#[derive(Clone, Debug, Default)]
pub struct Work {
    pub senders: Vec<Key>,
    pub unchecked: bool,
    pub whole_ms: Option<u64>,
}

/// The last byte of a piece has come.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// Of the flight.
    pub number: u32,
    pub piece: u32,
}

pub struct InFlight {
    pub id: FlightId,
    pub number: u32,
    pub piece: u32,
    pub key: Key,
    pub hedge: bool,
    pub meter: Meter,
}

/// A question that is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub key: Key,
    pub probe: bool,
    pub serial: u64,
    pub asked_ms: u64,
}

/// A parent.
pub struct Link {
    pub key: Key,
    pub parent: Parent,
    pub part: PartId,
    pub told: RefCell<Bitmap>,
    /// The first event it has not told of.
    pub next: Cell<u64>,
    pub must_check: Cell<bool>,
    /// It says of every piece that it is something else.
    lies: bool,
    digests: Rc<Digests>,
}

/// A peer's side of sync.
pub struct Sync {
    pub advice: Advice,
    /// The driver has not looked at it yet.
    pub news: bool,
    pub at_origin: bool,
    pub complaints: Vec<Complaint>,
    /// The version of the last answer.
    pub known: Option<u64>,
    pub row: Option<Row>,
    pub serial: u64,
    /// A report is on its way, or its answer is.
    pub calling: bool,
    pub asked_ms: u64,
    pub poked: bool,
    pub hold_ms: u64,
    /// The last word is said.
    pub over: bool,
}

// === impl Digests ===

impl Digests {
    pub fn new(pieces: u32) -> Self {
        Self { right: (0..pieces).map(|piece| digest(piece, 0)).collect() }
    }

    pub fn of(&self, piece: u32, taint: u8) -> Digest {
        if taint == 0 { self.right[piece as usize].clone() } else { digest(piece, taint) }
    }
}

fn digest(piece: u32, taint: u8) -> Digest {
    match format!("blake3:{:056x}{taint:08x}", u64::from(piece) + 1).parse() {
        Ok(digest) => digest,
        Err(error) => unreachable!("64 hex digits: {error}"),
    }
}

// === impl Part ===

impl Part {
    pub fn new(host: HostIndex, task: usize, pieces: u32) -> Self {
        let count = pieces as usize;
        Self {
            host,
            task,
            phase: Phase::Absent,
            described: false,
            slots: vec![Slot { landed: 0, requests: NOBODY, waited_for: false }; count],
            silent: false,
            taint: vec![0; count],
            marked: Bitmap::default(),
            log: Vec::new(),
            listeners: Vec::new(),
            works: BTreeMap::new(),
            links: Links::default(),
            in_flight: Vec::new(),
            landings: Vec::new(),
            questions: Vec::new(),
            rests: BTreeMap::new(),
            said: Vec::new(),
            said_since_ms: None,
            testimonies: Vec::new(),
            from_one: BTreeSet::new(),
            hedged_bytes: 0,
            hedged_in_vain: false,
            orphaned_ms: None,
            began_ms: 0,
            tries: 0,
            moved_ms: 0,
            sync: Sync::new(),
            alone: None,
            sent: false,
            small: Small::No,
            stirred: false,
            times: Times::default(),
            counts: Counts::default(),
        }
    }

    pub fn pieces(&self) -> u32 {
        self.slots.len() as u32
    }

    pub fn is_whole(&self) -> bool {
        self.log.len() == self.slots.len()
    }

    pub fn landed_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.landed)).sum()
    }

    /// As a list of pieces counts them: the description is the first event.
    pub fn events(&self) -> u64 {
        if self.described { 1 + self.log.len() as u64 } else { 0 }
    }

    /// The pieces at which children read, and where the host's own reader is.
    pub fn readers(&self) -> (Vec<u32>, Vec<u32>) {
        let front = self.marked.first_missing(0).min(self.pieces());
        let mut readers: Vec<u32> =
            (0..).zip(&self.slots).filter(|(_, slot)| slot.requests != NOBODY).map(|(i, _)| i).collect();
        if let Err(at) = readers.binary_search(&front) {
            readers.insert(at, front);
        }
        (readers, vec![front])
    }

    pub fn is_moving_within(&self, now_ms: u64, patience_ms: u64) -> bool {
        now_ms.saturating_sub(self.moved_ms) < patience_ms
    }
}

// === impl Link ===

impl Link {
    pub fn new(key: Key, parent: Parent, part: PartId, lies: bool, digests: Rc<Digests>) -> Self {
        Self {
            key,
            parent,
            part,
            told: RefCell::default(),
            next: Cell::new(0),
            must_check: Cell::new(false),
            lies,
            digests,
        }
    }
}

impl Linked for Link {
    fn key(&self) -> Key {
        self.key
    }

    fn parent(&self) -> &Parent {
        &self.parent
    }

    fn told(&self, piece: u32) -> Option<Digest> {
        self.has_told(piece).then(|| self.digests.of(piece, if self.lies { u8::MAX } else { 0 }))
    }

    fn has_told(&self, piece: u32) -> bool {
        self.told.borrow().has(piece)
    }
}

// === impl Sync ===

impl Sync {
    fn new() -> Self {
        Self {
            advice: Advice::Pending,
            news: false,
            at_origin: false,
            complaints: Vec::new(),
            known: None,
            row: None,
            serial: 0,
            calling: false,
            asked_ms: 0,
            poked: false,
            hold_ms: 0,
            over: false,
        }
    }

    /// The worst said of each stands. Says whether it is news.
    pub fn complain(&mut self, complaint: Complaint) -> bool {
        match self.complaints.iter_mut().find(|known| known.peer_id == complaint.peer_id) {
            Some(known) if known.reason == complaint.reason => return false,
            Some(known) if known.reason == ComplaintReason::WrongBytes => return false,
            Some(known) => *known = complaint,
            None => self.complaints.push(complaint),
        }
        true
    }

    pub fn complained_of(&self, peer: &PeerId) -> bool {
        self.complaints.iter().any(|one| one.peer_id == *peer && one.reason != ComplaintReason::Busy)
    }
}
