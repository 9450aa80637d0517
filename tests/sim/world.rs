//! Hosts, their parts in tasks, the network between them and the scheduler, driven through virtual time.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use df_api::HostId;
use df_api::cluster::Place;
use df_api::scheduler::KnownHost;

use crate::build::Deed;
use crate::control::Control;
use crate::events::{Event, Events, HostIndex, PartId, STEP_MS};
use crate::flights::Flights;
use crate::network::{Network, Pipe};
use crate::part::{Digests, Part};
use crate::scenario::Scenario;

pub struct World {
    pub scenario: Scenario,
    pub rng: fastrand::Rng,
    pub now_ms: u64,
    /// Where virtual time is told to code that wants an `Instant`: only differences count.
    epoch: Instant,
    pub events: Events,
    pub network: Network,
    pub hosts: Vec<Host>,
    pub parts: Vec<Part>,
    pub places: HashMap<(HostIndex, usize), PartId>,
    pub flights: Flights,
    pub stirred: Vec<PartId>,
    pub control: Control,
    pub digests: Rc<Digests>,
    /// Parts that somebody still waits for.
    pub unfinished: usize,
    /// Numbers questions.
    pub serial: u64,
    pub origin: Pipe,
    /// The hosts that schedulers have told all others of.
    pub directory: Rc<[KnownHost]>,
    pub circles: Circles,
    /// Somebody lies, or sends wrong bytes: then it matters who has sent what.
    pub dishonest: bool,
    pub deeds: Vec<Deed>,
}

pub struct Host {
    pub id: HostId,
    pub place: Place,
    pub seed: bool,
    pub up: Pipe,
    pub down: Pipe,
    pub rack: Option<(Pipe, Pipe)>,
    pub manner: Manner,
    pub parts: Vec<PartId>,
    /// Of its reports, whatever they are about.
    pub numbers: u64,
    pub announcement: Announcement,
    /// Since when the scheduler is passed over, because it did not answer.
    pub silent_since_ms: Option<u64>,
}

/// How a host behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    pub dead: bool,
    /// When it has everything is of no interest.
    pub uncounted: bool,
    /// Sends wrong bytes.
    pub spoils: bool,
    /// Says of every piece that it is something else.
    pub lies: bool,
}

/// A host's long poll.
#[derive(Clone, Debug, Default)]
pub struct Announcement {
    pub full: bool,
    pub told: bool,
    pub sent_full: bool,
    pub calling: bool,
    pub wait_ms: u64,
    pub asked_ms: u64,
    pub failures: u32,
    pub serial: u64,
    pub duties_taken: Vec<u64>,
}

/// Peers that wait for each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circles {
    /// Samples in a row that had one.
    pub row: u32,
    pub longest: u32,
}

// === impl World ===

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let digests = Rc::new(Digests::new(scenario.pieces));
        let mut network = Network::new();
        let origin = network.add(scenario.bytes_per_step(scenario.origin_mbit));
        Self {
            rng: fastrand::Rng::with_seed(scenario.seed),
            now_ms: 0,
            epoch: Instant::now(),
            events: Events::default(),
            network,
            hosts: Vec::new(),
            parts: Vec::new(),
            places: HashMap::new(),
            flights: Flights::default(),
            stirred: Vec::new(),
            control: Control::new(&scenario),
            digests,
            unfinished: 0,
            serial: 0,
            origin,
            directory: Rc::default(),
            circles: Circles::default(),
            dishonest: false,
            deeds: Vec::new(),
            scenario,
        }
    }

    pub fn instant(&self) -> Instant {
        self.epoch + Duration::from_millis(self.now_ms)
    }

    /// Whatever is sent now arrives then.
    pub fn soon_ms(&self) -> u64 {
        self.now_ms + STEP_MS
    }

    /// Until everybody has everything, or it has taken too long.
    pub fn run(&mut self) {
        while (self.unfinished > 0 || self.now_ms < self.scenario.last_start_ms) && self.now_ms < self.scenario.limit_ms
        {
            self.now_ms += STEP_MS;
            self.transfer();
            while let Some(event) = self.events.due(self.now_ms) {
                self.happen(event);
            }
            // In the order in which they were stirred.
            for part in std::mem::take(&mut self.stirred) {
                self.parts[part].stirred = false;
                self.drive(part);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(part) => self.start(part, false),
            Event::Look(part, series) => self.look(part, series),
            Event::Asked(flight, number) => self.asked(flight, number),
            Event::NotSmall(flight, number) => self.not_small(flight, number),
            Event::NoMoreSmall(part) => self.no_more_small(part),
            Event::ListAsked(question) => self.list_asked(question),
            Event::ListTold(question, next) => self.list_told(question, next),
            Event::ReportDue(part, serial) => self.report_due(part, serial),
            Event::Report(part, call) => self.peer_reports(part, &call),
            Event::Decided(part, serial, decision) => self.decided(part, serial, decision),
            Event::HostDue(host, serial) => self.host_due(host, serial),
            Event::HostReport(host, call) => self.host_reports(host, &call),
            Event::HostDecided(host, serial, decision) => self.host_decided(host, serial, decision.as_deref()),
            Event::Poll(poll, version) => self.poll_again(poll, version),
            Event::Expire => self.expire(),
            Event::Fault(fault) => self.happen_fault(fault),
            Event::Sample => self.sample(),
        }
    }

    pub fn stir(&mut self, part: PartId) {
        if !std::mem::replace(&mut self.parts[part].stirred, true) {
            self.stirred.push(part);
        }
    }

    pub fn host_of(&self, part: PartId) -> &Host {
        &self.hosts[self.parts[part].host]
    }

    // --- samples ---

    /// Whether anybody waits for itself, over any piece.
    fn sample(&mut self) {
        let found = (0..self.parts.len()).any(|part| {
            let waits = self.parts[part].in_flight.iter().filter(|flight| !flight.hedge);
            waits.into_iter().any(|flight| self.is_circle(part, flight.piece))
        });
        self.circles.row = if found { self.circles.row + 1 } else { 0 };
        self.circles.longest = self.circles.longest.max(self.circles.row);
        self.events.plan(self.now_ms + SAMPLE_MS, Event::Sample);
    }

    fn is_circle(&self, from: PartId, piece: u32) -> bool {
        let waits_for = |part: PartId| {
            let mut flights = self.parts[part].in_flight.iter().filter(|flight| flight.piece == piece);
            let (first, second) = (flights.next()?, flights.next());
            let flight = &self.flights.all[first.id as usize];
            if flight.active || second.is_some() { None } else { flight.parent }
        };
        let mut at = from;
        for _ in 0..self.parts.len() {
            match waits_for(at) {
                None => return false,
                Some(next) if next == from => return true,
                Some(next) => at = next,
            }
        }
        false
    }
}

/// How often it is looked for circles.
pub const SAMPLE_MS: u64 = 250;
