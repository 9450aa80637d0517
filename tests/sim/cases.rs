//! The cells of the table: `reference/broadcast.md` §7, and what issue 5 asks for besides.

use crate::outcome::Outcome;
use crate::scenario::{Fault, Messages, Racks, Scenario, Starts, Who};

pub struct Case {
    pub name: &'static str,
    /// Peers; the larger cells take minutes.
    pub hosts: usize,
    make: fn(Scenario) -> Scenario,
    /// As the simulation that the shape was chosen by had it.
    pub reference_p99: Option<f64>,
    pub goals: Vec<Goal>,
}

#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub of: Measure,
    pub must: f64,
    pub aim: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Completion,
    OriginBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Aim,
    Must,
    Missed,
}

/// Of the speed of the others.
const SLOW: f32 = 0.01;
/// When peers die in the table.
const DEATH_MS: u64 = 3_000;

pub fn all() -> Vec<Case> {
    let mut cases = at_once();
    cases.extend(other_starts());
    cases.extend(dead_and_slow());
    cases.extend(bad_peers_and_messages());
    cases
}

fn at_once() -> Vec<Case> {
    let case = |hosts: usize, reference: f64| Case::new("all at once", hosts, |it| it).reference(reference);
    vec![
        case(8, 1.05),
        case(32, 1.01),
        case(100, 1.01).completion(1.05, 1.02),
        case(1_000, 1.00).completion(1.1, 1.02),
        case(10_000, 1.13).completion(1.25, 1.1),
        Case::new("64 MiB", 100_000, |it| Scenario { pieces: 16, ..it }),
        Case::new("connections 25 % apart", 100, |it| Scenario { uneven: 0.25, ..it }),
    ]
}

fn other_starts() -> Vec<Case> {
    vec![
        Case::new("cold seed", 100, |it| Scenario { warm: false, ..it }).reference(1.02).origin(1.01, 1.0),
        Case::new("one per 200 ms", 100, |it| Scenario { starts: Starts::Every(200), ..it }).reference(1.16),
        Case::new("Poisson, 100 ms", 100, |it| Scenario { starts: Starts::Poisson(100), ..it }).reference(1.34),
        Case::new("crowd on 1,000 tasks", 1_000, |it| Scenario {
            tasks: 1_000,
            tasks_per_host: 5,
            seeds: 8,
            pieces: 16,
            piece_bytes: 256 << 10,
            ..it
        }),
        Case::new("4 racks of 24, uplinks 4:1", 96, |it| Scenario {
            racks: Some(Racks { count: 4, narrowed: 4.0 }),
            ..it
        })
        .reference(1.23),
        Case::new("10 %/min leave", 100, |it| it.with(Fault::Churn { part_per_minute: 0.1, joins: false }))
            .reference(1.05),
        Case::new("10 %/min leave, cold", 100, |it| {
            Scenario { warm: false, ..it }.with(Fault::Churn { part_per_minute: 0.1, joins: false })
        })
        .origin(1.1, 1.02),
        Case::new("10 %/min leave, others come", 1_000, |it| {
            Scenario { warm: false, ..it }.with(Fault::Churn { part_per_minute: 0.1, joins: true })
        })
        .origin(1.1, 1.02),
    ]
}

fn dead_and_slow() -> Vec<Case> {
    vec![
        Case::new("one relay dies", 100, |it| it.with(Fault::Die { who: Who::Any(1), at_ms: DEATH_MS }))
            .reference(1.27)
            .completion(1.3, 1.12),
        Case::new("the first relay dies", 100, |it| it.with(Fault::Die { who: Who::Place(0), at_ms: DEATH_MS }))
            .reference(1.25)
            .completion(1.3, 1.12),
        Case::new("five relays die", 100, |it| it.with(Fault::Die { who: Who::Any(5), at_ms: DEATH_MS }))
            .reference(1.22),
        Case::new("one at 1 % speed", 100, |it| it.with(Fault::Slow { who: Who::Any(1), part: SLOW }))
            .reference(1.26)
            .completion(1.3, 1.12),
        Case::new("the first at 1 % speed", 100, |it| it.with(Fault::Slow { who: Who::Place(0), part: SLOW }))
            .reference(1.28)
            .completion(1.3, 1.12),
        Case::new("5 % at 1 % speed", 100, |it| it.with(Fault::Slow { who: Who::Any(5), part: SLOW })).reference(1.39),
        Case::new("5 % at 1 % speed", 1_000, |it| it.with(Fault::Slow { who: Who::Any(50), part: SLOW }))
            .reference(2.8)
            .completion(2.8, 1.3),
    ]
}

fn bad_peers_and_messages() -> Vec<Case> {
    vec![
        Case::new("one sends nothing", 100, |it| it.with(Fault::Stall { who: Who::Any(1) })),
        Case::new("one sends wrong bytes", 100, |it| it.with(Fault::Spoil { who: Who::Any(1) })),
        Case::new("one says wrong digests", 100, |it| it.with(Fault::Lie { who: Who::Any(1) })),
        Case::new("the scheduler is killed", 100, |it| it.with(Fault::Restart { at_ms: 2_000, down_ms: 500 })),
        Case::new("messages lost, late, twice", 100, |it| Scenario {
            messages: Messages { lost: 0.1, doubled: 0.1, late_ms: 500 },
            ..it
        }),
    ]
}

// === impl Case ===

impl Case {
    fn new(name: &'static str, hosts: usize, make: fn(Scenario) -> Scenario) -> Self {
        Self { name, hosts, make, reference_p99: None, goals: Vec::new() }
    }

    fn reference(self, p99: f64) -> Self {
        Self { reference_p99: Some(p99), ..self }
    }

    fn completion(self, must: f64, aim: f64) -> Self {
        self.goal(Goal { of: Measure::Completion, must, aim })
    }

    fn origin(self, must: f64, aim: f64) -> Self {
        self.goal(Goal { of: Measure::OriginBytes, must, aim })
    }

    fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    pub fn scenario(&self, seed: u64) -> Scenario {
        (self.make)(Scenario { samples: self.hosts <= 100, ..Scenario::broadcast(self.hosts, seed) })
    }
}

// === impl Goal ===

impl Goal {
    pub fn verdict(self, outcome: &Outcome) -> Verdict {
        let value = match self.of {
            Measure::Completion => outcome.p99,
            Measure::OriginBytes => outcome.origin_sent,
        };
        match outcome.unfinished {
            // As printed.
            0 if value < self.aim + 0.005 => Verdict::Aim,
            0 if value < self.must + 0.005 => Verdict::Must,
            _ => Verdict::Missed,
        }
    }
}
