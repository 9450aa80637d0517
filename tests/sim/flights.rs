//! Requests for bytes, and how bytes get from one part to another: step by step, as much as there is and the network lets
//! through.

use crate::events::{Event, FlightId, PartId, STEP_MS};
use crate::network::{FREE, Flow, Pipe};
use crate::part::{Landing, NOBODY, Phase};
use crate::world::World;

/// Requests for bytes.
#[derive(Default)]
pub struct Flights {
    pub all: Vec<Flight>,
    free: Vec<FlightId>,
    /// Those with bytes to send.
    pub moving: Vec<FlightId>,
    started: u32,
    flows: Vec<Flow>,
    given: Vec<f32>,
}

#[derive(Clone, Debug)]
pub struct Flight {
    pub number: u32,
    pub child: PartId,
    /// `None`: the origin.
    pub parent: Option<PartId>,
    pub piece: u32,
    pub kind: Kind,
    pub key: u32,
    /// Where in the piece it is.
    pub at: u32,
    pub bytes: u64,
    pub weight: f32,
    pub through: [Pipe; 4],
    pub checked: bool,
    /// Its parent had checked the piece when it began to answer.
    pub told: bool,
    /// It is known as one who has brought bytes of the piece.
    pub noted: bool,
    pub live: bool,
    pub arrived: bool,
    pub active: bool,
    pub next: FlightId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Piece,
    /// The first bytes of a content that may be small.
    Small,
    /// From the origin, up to a piece.
    Run(u32),
}

/// What is asked of a seed by whoever does not know how long the content is.
pub const SMALL_BYTES: u32 = 64 * 1024;

// === impl World ===

impl World {
    /// One step of all that moves.
    pub fn transfer(&mut self) {
        let mut flows = std::mem::take(&mut self.flights.flows);
        let mut given = std::mem::take(&mut self.flights.given);
        let mut moving = std::mem::take(&mut self.flights.moving);
        flows.clear();
        moving.retain(|&id| {
            if let Some(flow) = self.flow(id) {
                flows.push(flow);
                return true;
            }
            let flight = &mut self.flights.all[id as usize];
            flight.active = false;
            if !flight.live {
                self.flights.free.push(id);
            } else if let Some(parent) = flight.parent {
                self.parts[parent].slots[flight.piece as usize].waited_for = true;
            }
            false
        });
        self.network.share(&flows, &mut given);
        for (&id, &bytes) in moving.iter().zip(&given) {
            if bytes >= 1.0 {
                self.deliver(id, bytes as u32);
            }
        }
        // Those that have begun to move meanwhile.
        moving.append(&mut self.flights.moving);
        (self.flights.flows, self.flights.given, self.flights.moving) = (flows, given, moving);
    }

    /// `None` when there is nothing to send.
    fn flow(&self, id: FlightId) -> Option<Flow> {
        let flight = &self.flights.all[id as usize];
        let there = if flight.live { self.there(flight) } else { 0 };
        let bytes = there.saturating_sub(flight.at);
        (bytes > 0).then_some(Flow { bytes: bytes as f32, weight: flight.weight, through: flight.through })
    }

    /// Cards, and the uplinks of racks where it goes from one to another.
    fn way(&self, child: PartId, parent: Option<PartId>) -> [Pipe; 4] {
        let child = self.host_of(child);
        let Some(parent) = parent else { return [self.origin, child.down, FREE, FREE] };
        let parent = self.host_of(parent);
        let leaves = |rack: Option<(Pipe, Pipe)>| rack.filter(|_| parent.rack != child.rack);
        let up = leaves(parent.rack).map_or(FREE, |(up, _)| up);
        let down = leaves(child.rack).map_or(FREE, |(_, down)| down);
        [parent.up, child.down, up, down]
    }

    /// Bytes of the piece that whoever sends it may send.
    fn there(&self, flight: &Flight) -> u32 {
        let Some(parent) = flight.parent else { return self.scenario.piece_bytes };
        let part = &self.parts[parent];
        if part.silent {
            return 0;
        }
        let landed = part.slots[flight.piece as usize].landed;
        match flight.kind {
            Kind::Small => landed.min(SMALL_BYTES),
            _ if flight.checked && !part.marked.has(flight.piece) => 0,
            _ => landed,
        }
    }

    fn deliver(&mut self, id: FlightId, bytes: u32) {
        let flight = &mut self.flights.all[id as usize];
        let first = flight.bytes == 0;
        flight.at += bytes;
        flight.bytes += u64::from(bytes);
        let (child, parent, piece, at) = (flight.child, flight.parent, flight.piece, flight.at);
        if let Some(parent) = parent {
            self.parts[parent].counts.sent_bytes += u64::from(bytes);
        }
        if flight.kind == Kind::Small {
            if first {
                self.events.plan(self.now_ms + STEP_MS, Event::NotSmall(id, flight.number));
                self.no_more_small(child);
            }
            return;
        }
        let part = &mut self.parts[child];
        part.counts.received_bytes += u64::from(bytes);
        part.moved_ms = self.now_ms;
        let landed = &mut part.slots[piece as usize].landed;
        let new = at > *landed;
        *landed = at.max(*landed);
        if parent.is_none() {
            part.counts.origin_bytes += u64::from(bytes);
        }
        if first {
            self.begins_to_arrive(id);
        }
        if !new {
            return;
        }
        if !self.flights.all[id as usize].noted || self.dishonest {
            self.note_sender(id);
        }
        self.wake_requests(child, piece);
        if at == self.scenario.piece_bytes {
            self.piece_landed(id);
        }
    }

    fn begins_to_arrive(&mut self, id: FlightId) {
        let flight = &self.flights.all[id as usize];
        let (child, parent) = (flight.child, flight.parent);
        let told = parent.is_some_and(|at| self.parts[at].marked.has(flight.piece));
        self.flights.all[id as usize].told = told;
        let part = &mut self.parts[child];
        part.times.first_byte_ms.get_or_insert(self.now_ms);
        if parent.is_none() && !std::mem::replace(&mut part.described, true) {
            self.tell_listeners(child);
            self.stir(child);
        }
    }

    /// Who has brought bytes of a piece, and whether they were right.
    fn note_sender(&mut self, id: FlightId) {
        self.flights.all[id as usize].noted = true;
        let flight = &self.flights.all[id as usize];
        let (piece, key, checked) = (flight.piece, flight.key, flight.checked || flight.told);
        let taint = if self.dishonest { self.taint_of(flight) } else { 0 };
        let part = &mut self.parts[flight.child];
        let known = &mut part.taint[piece as usize];
        *known = match (*known, taint) {
            (0, taint) | (taint, 0) => taint,
            (one, other) if one == other => one,
            _ => u8::MAX - 1,
        };
        if let Some(work) = part.works.get_mut(&piece) {
            if !work.senders.contains(&key) {
                work.senders.push(key);
            }
            work.unchecked |= !checked;
        }
    }

    fn piece_landed(&mut self, id: FlightId) {
        let flight = &mut self.flights.all[id as usize];
        let (child, piece) = (flight.child, flight.piece);
        if let Kind::Run(end) = flight.kind
            && piece + 1 < end
        {
            (flight.piece, flight.at) = (piece + 1, 0);
        }
        let number = flight.number;
        self.parts[child].landings.push(Landing { number, piece });
        self.stir(child);
    }

    /// Whose wrong bytes these are.
    fn taint_of(&self, flight: &Flight) -> u8 {
        let Some(parent) = flight.parent else { return 0 };
        if self.host_of(parent).manner.spoils {
            return (self.parts[parent].host % 200 + 1) as u8;
        }
        self.parts[parent].taint[flight.piece as usize]
    }

    /// Whoever waits for bytes of this piece gets on.
    pub fn wake_requests(&mut self, part: PartId, piece: u32) {
        let slot = &mut self.parts[part].slots[piece as usize];
        let mut next = if std::mem::take(&mut slot.waited_for) { slot.requests } else { NOBODY };
        while next != NOBODY {
            let flight = &mut self.flights.all[next as usize];
            if !std::mem::replace(&mut flight.active, true) {
                self.flights.moving.push(next);
            }
            next = flight.next;
        }
    }

    pub fn asked(&mut self, id: FlightId, number: u32) {
        let flight = &self.flights.all[id as usize];
        if !flight.live || flight.number != number {
            return;
        }
        let (parent, piece, kind) = (flight.parent, flight.piece, flight.kind);
        if kind == Kind::Small
            && let Some(seed) = parent
            && self.parts[seed].phase == Phase::Absent
        {
            self.start(seed, true);
        }
        let flight = &mut self.flights.all[id as usize];
        (flight.arrived, flight.active) = (true, true);
        if let Some(parent) = parent {
            flight.next = std::mem::replace(&mut self.parts[parent].slots[piece as usize].requests, id);
        }
        self.flights.moving.push(id);
    }

    /// Sends a request on its way.
    pub fn launch_flight(&mut self, flight: Flight) -> (FlightId, u32) {
        let number = self.flights.started;
        self.flights.started += 1;
        let weight = 1.0 + self.scenario.uneven * (2.0 * self.rng.f32() - 1.0);
        let flight = Flight { number, weight, through: self.way(flight.child, flight.parent), ..flight };
        let id = match self.flights.free.pop() {
            Some(id) => {
                self.flights.all[id as usize] = flight;
                id
            }
            None => {
                self.flights.all.push(flight);
                (self.flights.all.len() - 1) as FlightId
            }
        };
        self.events.plan(self.soon_ms(), Event::Asked(id, number));
        (id, number)
    }

    /// Its connection is closed.
    pub fn drop_flight(&mut self, id: FlightId) {
        let flight = &mut self.flights.all[id as usize];
        flight.live = false;
        let (arrived, parent, piece, next) = (flight.arrived, flight.parent, flight.piece, flight.next);
        if !flight.active {
            self.flights.free.push(id);
        }
        let Some(parent) = parent.filter(|_| arrived) else { return };
        let head = self.parts[parent].slots[piece as usize].requests;
        if head == id {
            self.parts[parent].slots[piece as usize].requests = next;
            return;
        }
        let mut at = head;
        while at != NOBODY {
            let following = self.flights.all[at as usize].next;
            if following == id {
                self.flights.all[at as usize].next = next;
                return;
            }
            at = following;
        }
    }
}

// === impl Flight ===

impl Flight {
    pub fn new(child: PartId, parent: Option<PartId>, piece: u32, kind: Kind) -> Self {
        Self {
            number: 0,
            child,
            parent,
            piece,
            kind,
            key: 0,
            at: 0,
            bytes: 0,
            weight: 1.0,
            through: [FREE; 4],
            checked: false,
            told: false,
            noted: false,
            live: true,
            arrived: false,
            active: false,
            next: NOBODY,
        }
    }
}
