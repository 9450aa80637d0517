//! What is simulated: how many, how much, over what, and what goes wrong.

use crate::events::STEP_MS;

#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything random follows from it.
    pub seed: u64,
    pub hosts: usize,
    pub tasks: usize,
    /// Of how many tasks each host wants the content.
    pub tasks_per_host: usize,
    pub seeds: usize,
    pub pieces: u32,
    pub piece_bytes: u32,
    /// Of every card, in each direction.
    pub card_mbit: f64,
    pub origin_mbit: f64,
    /// The seeds hold the contents from the start.
    pub warm: bool,
    pub starts: Starts,
    pub racks: Option<Racks>,
    /// By which part a connection gets more or less of a card than its share, at most. Without any all would keep step, and
    /// end together.
    pub uneven: f32,
    pub faults: Vec<Fault>,
    pub messages: Messages,
    /// After which it is given up.
    pub limit_ms: u64,
    /// Whether it is looked for peers that wait for each other.
    pub samples: bool,
    pub last_start_ms: u64,
}

/// When they ask for the content.
#[derive(Clone, Copy, Debug)]
pub enum Starts {
    /// All at some moment of the first so many milliseconds.
    Within(u64),
    Every(u64),
    /// With so much between two of them on average.
    Poisson(u64),
}

/// Hosts stand in racks whose uplinks carry less than their hosts could send.
#[derive(Clone, Copy, Debug)]
pub struct Racks {
    pub count: usize,
    /// So many times less.
    pub narrowed: f64,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// So many, at so many milliseconds after the first start, without a word.
    Die { who: Who, at_ms: u64 },
    /// To a part of its speed, from the start.
    Slow { who: Who, part: f32 },
    /// It receives and sends nothing on.
    Stall { who: Who },
    /// What it sends is wrong.
    Spoil { who: Who },
    /// What it says of its pieces is wrong.
    Lie { who: Who },
    /// So large a part of the hosts goes per minute without a word, and as many others come.
    Churn { part_per_minute: f64, joins: bool },
    /// The scheduler is killed, and another runs so many milliseconds later.
    Restart { at_ms: u64, down_ms: u64 },
}

#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// In the order of their start, from 0.
    Place(usize),
    /// As many, whichever.
    Any(usize),
}

/// What happens to messages from and to the scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    pub lost: f64,
    pub doubled: f64,
    /// Up to; later ones overtake.
    pub late_ms: u64,
}

/// When the first may ask: by then the scheduler knows all hosts.
pub const BEGIN_MS: u64 = 1_000;

// === impl Scenario ===

impl Scenario {
    /// All at once, of a seed that holds it: one GiB over cards of one Gbit/s.
    pub fn broadcast(hosts: usize, seed: u64) -> Self {
        Self {
            seed,
            hosts,
            tasks: 1,
            tasks_per_host: 1,
            seeds: 1,
            pieces: 256,
            piece_bytes: 4 << 20,
            card_mbit: 1_000.0,
            origin_mbit: 1_000.0,
            warm: true,
            starts: Starts::Within(50),
            racks: None,
            uneven: 0.05,
            faults: Vec::new(),
            messages: Messages::default(),
            limit_ms: 240_000,
            samples: false,
            last_start_ms: 0,
        }
    }

    pub fn with(self, fault: Fault) -> Self {
        let mut faults = self.faults;
        faults.push(fault);
        Self { faults, ..self }
    }

    pub fn bytes_per_step(&self, mbit: f64) -> f32 {
        (mbit * 1e6 / 8.0 / 1e3 * STEP_MS as f64) as f32
    }

    pub fn content_bytes(&self) -> u64 {
        u64::from(self.pieces) * u64::from(self.piece_bytes)
    }

    /// What no distribution in whole pieces beats: F/b·(1+⌊log₂N⌋/M), of what each host wants, or of what the seeds have to
    /// send at least.
    pub fn bound_ms(&self) -> f64 {
        let alone_ms = self.content_bytes() as f64 * 8.0 / self.card_mbit / 1e3;
        let contents = (self.tasks_per_host as f64).max(self.tasks as f64 / self.seeds as f64);
        let per_task = (self.hosts * self.tasks_per_host / self.tasks).max(1);
        alone_ms * contents * (1.0 + f64::from(per_task.ilog2()) / f64::from(self.pieces))
    }
}
