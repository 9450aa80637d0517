//! What happens when, in virtual milliseconds: the only clock there is. What is due at the same time happens in the order
//! in which it was planned, so a run is the same whenever it is repeated.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::rc::Rc;

use df_api::scheduler::{HostDecision, HostReport, PeerDecision, PeerReport};
use df_peer::decisions::Key;

/// Of the model: bytes that landed in one step go on in the next, and so does every message.
pub const STEP_MS: u64 = 2;

/// Index into the world's parts.
pub type PartId = usize;
/// Index into the world's hosts.
pub type HostIndex = usize;
/// Index into the world's flights.
pub type FlightId = u32;

#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody of the host asks for the content.
    Start(PartId),
    /// The driver's ten looks per second; the number tells them from those of an earlier try.
    Look(PartId, u32),
    /// A request for bytes reaches its parent; the number tells it from a later one of the same index.
    Asked(FlightId, u32),
    /// The child has seen that the content is not small, and hung up.
    NotSmall(FlightId, u32),
    /// The moment that a seed has to show that the content is small is over.
    NoMoreSmall(PartId),
    ListAsked(Question),
    /// With the number of events that the asked has told of by now.
    ListTold(Question, u64),
    ReportDue(PartId, u64),
    Report(PartId, Rc<Call<PeerReport>>),
    Decided(PartId, u64, Option<Rc<PeerDecision>>),
    HostDue(HostIndex, u64),
    HostReport(HostIndex, Rc<Call<HostReport>>),
    HostDecided(HostIndex, u64, Option<Rc<HostDecision>>),
    /// A poll at the scheduler looks again.
    Poll(u64, u64),
    Expire,
    Fault(usize),
    /// Samples what cannot be seen at the end.
    Sample,
}

/// What a peer or a host says to the scheduler.
#[derive(Debug)]
pub struct Call<T> {
    pub report: T,
    /// Tells an answer from that to an earlier call.
    pub serial: u64,
    pub wait_ms: u64,
}

/// Which pieces somebody has.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub asker: PartId,
    pub asked: PartId,
    pub key: Key,
    pub probe: bool,
    pub since: u64,
    pub serial: u64,
    /// Until then the answer may be held back.
    pub until_ms: u64,
}

#[derive(Default)]
pub struct Events {
    heap: BinaryHeap<Reverse<Entry>>,
    planned: u64,
}

struct Entry {
    at_ms: u64,
    number: u64,
    event: Event,
}

// === impl Events ===

impl Events {
    pub fn plan(&mut self, at_ms: u64, event: Event) {
        self.heap.push(Reverse(Entry { at_ms, number: self.planned, event }));
        self.planned += 1;
    }

    pub fn due(&mut self, now_ms: u64) -> Option<Event> {
        let is_due = self.heap.peek().is_some_and(|Reverse(next)| next.at_ms <= now_ms);
        is_due.then(|| self.heap.pop().map(|Reverse(entry)| entry.event)).flatten()
    }
}

// === impl Entry ===

impl Entry {
    fn order(&self) -> (u64, u64) {
        (self.at_ms, self.number)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Entry {}
