//! A world as a scenario has it, and what is to go wrong in it.

use df_api::HostId;
use df_api::cluster::Place;

use crate::driver::fill;
use crate::events::{Event, HostIndex, PartId};
use crate::part::{Part, Phase};
use crate::scenario::{BEGIN_MS, Fault, Racks, Scenario, Starts, Who};
use crate::world::{Announcement, Host, Manner, SAMPLE_MS, World};

/// Something that goes wrong at its time.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Die(HostIndex),
    StopScheduler,
    StartScheduler,
}

/// Of churn; by then everybody is done, or nobody will be.
const CHURN_MS: u64 = 60_000;

impl World {
    pub fn build(scenario: Scenario) -> Self {
        let mut world = Self::new(scenario);
        let scenario = world.scenario.clone();
        for _ in 0..scenario.seeds {
            let host = world.add_host(true, None);
            for task in 0..scenario.tasks {
                let part = world.add_part(host, task);
                if scenario.warm {
                    fill(&mut world.parts[part], scenario.piece_bytes);
                }
            }
        }
        let racks = scenario.racks.map(|racks| world.add_racks(racks)).unwrap_or_default();
        let mut starts = world.starts(scenario.hosts);
        for at in 0..scenario.hosts {
            let rack = if racks.is_empty() { None } else { Some((at % racks.len(), racks[at % racks.len()])) };
            let host = world.add_host(false, rack);
            world.add_wishes(host, at, starts[at]);
        }
        let mut order: Vec<HostIndex> = (0..scenario.hosts).collect();
        order.sort_by_key(|at| starts[*at]);
        order.iter_mut().for_each(|at| *at += scenario.seeds);
        starts.sort_unstable();
        world.scenario.last_start_ms = starts.last().copied().unwrap_or(0);
        for fault in &scenario.faults {
            world.prepare(*fault, &order);
        }
        for host in 0..world.hosts.len() {
            world.announce(host);
        }
        world.events.plan(0, Event::Expire);
        if scenario.samples {
            world.events.plan(SAMPLE_MS, Event::Sample);
        }
        world
    }

    fn starts(&mut self, count: usize) -> Vec<u64> {
        let mut at_ms = BEGIN_MS as f64;
        let next = |_| match self.scenario.starts {
            Starts::Within(ms) => BEGIN_MS + self.rng.u64(0..=ms),
            Starts::Every(ms) => {
                at_ms += ms as f64;
                at_ms as u64
            }
            Starts::Poisson(mean_ms) => {
                at_ms -= (1.0 - self.rng.f64()).ln() * mean_ms as f64;
                at_ms as u64
            }
        };
        (0..count).map(next).collect()
    }

    fn add_host(&mut self, seed: bool, rack: Option<(usize, (u32, u32))>) -> HostIndex {
        let bytes = self.scenario.bytes_per_step(self.scenario.card_mbit);
        let (up, down) = (self.network.add(bytes), self.network.add(bytes));
        let at = self.hosts.len();
        let name = format!("h-{at}");
        let idc = rack.map(|(rack, _)| format!("rack-{rack}")).unwrap_or_default();
        let place = Place { hostname: name.clone(), ip: name.clone(), idc, location: String::new() };
        let id: HostId = match name.parse() {
            Ok(id) => id,
            Err(error) => unreachable!("letters and digits: {error}"),
        };
        let (announcement, numbers) = (Announcement::default(), 0);
        let (manner, parts) = (Manner::default(), Vec::new());
        self.hosts.push(Host {
            id,
            place,
            seed,
            up,
            down,
            rack: rack.map(|(_, pipes)| pipes),
            manner,
            parts,
            numbers,
            announcement,
            silent_since_ms: None,
        });
        at
    }

    fn add_part(&mut self, host: HostIndex, task: usize) -> PartId {
        let part = self.parts.len();
        self.parts.push(Part::new(host, task, self.scenario.pieces));
        self.hosts[host].parts.push(part);
        self.places.insert((host, task), part);
        part
    }

    /// It wants contents from then on.
    fn add_wishes(&mut self, host: HostIndex, at: usize, start_ms: u64) {
        for nth in 0..self.scenario.tasks_per_host {
            let task = (at * self.scenario.tasks_per_host + nth) % self.scenario.tasks;
            let part = self.add_part(host, task);
            self.events.plan(start_ms, Event::Start(part));
            self.unfinished += 1;
        }
    }

    fn add_racks(&mut self, racks: Racks) -> Vec<(u32, u32)> {
        let members = self.scenario.hosts.div_ceil(racks.count) as f64;
        let bytes = self.scenario.bytes_per_step(self.scenario.card_mbit * members / racks.narrowed);
        (0..racks.count).map(|_| (self.network.add(bytes), self.network.add(bytes))).collect()
    }

    // --- what goes wrong ---

    fn prepare(&mut self, fault: Fault, order: &[HostIndex]) {
        match fault {
            Fault::Die { who, at_ms } => {
                for host in self.pick(who, order) {
                    self.plan_deed(BEGIN_MS + at_ms, Deed::Die(host));
                }
            }
            Fault::Slow { who, part } => {
                for host in self.pick(who, order) {
                    let (up, down) = (self.hosts[host].up, self.hosts[host].down);
                    self.network.slow_down(up, part);
                    self.network.slow_down(down, part);
                    self.count_out(host);
                }
            }
            Fault::Stall { who } => {
                for host in self.pick(who, order) {
                    self.silence(host);
                }
            }
            Fault::Spoil { who } => {
                self.dishonest = true;
                self.pick(who, order).into_iter().for_each(|at| self.hosts[at].manner.spoils = true);
            }
            Fault::Lie { who } => {
                self.dishonest = true;
                self.pick(who, order).into_iter().for_each(|at| self.hosts[at].manner.lies = true);
            }
            Fault::Churn { part_per_minute, joins } => self.prepare_churn(part_per_minute, joins),
            Fault::Restart { at_ms, down_ms } => {
                self.plan_deed(BEGIN_MS + at_ms, Deed::StopScheduler);
                self.plan_deed(BEGIN_MS + at_ms + down_ms, Deed::StartScheduler);
            }
        }
    }

    fn pick(&mut self, who: Who, order: &[HostIndex]) -> Vec<HostIndex> {
        match who {
            Who::Place(place) => order.get(place).copied().into_iter().collect(),
            Who::Any(count) => {
                let mut all = order.to_vec();
                self.rng.shuffle(&mut all);
                all.truncate(count);
                all
            }
        }
    }

    fn prepare_churn(&mut self, part_per_minute: f64, joins: bool) {
        let per_ms = part_per_minute / 60_000.0;
        let first = self.scenario.seeds;
        for host in first..first + self.scenario.hosts {
            let after_ms = (-(1.0 - self.rng.f64()).ln() / per_ms) as u64;
            if after_ms > CHURN_MS {
                continue;
            }
            self.plan_deed(BEGIN_MS + after_ms, Deed::Die(host));
            if joins {
                let newcomer = self.add_host(false, None);
                self.add_wishes(newcomer, newcomer - first, BEGIN_MS + after_ms);
                // Whoever comes when the others are done is another story.
                self.count_out(newcomer);
            }
        }
    }

    fn plan_deed(&mut self, at_ms: u64, deed: Deed) {
        self.deeds.push(deed);
        self.events.plan(at_ms, Event::Fault(self.deeds.len() - 1));
    }

    pub fn happen_fault(&mut self, fault: usize) {
        match self.deeds[fault] {
            Deed::Die(host) => self.die(host),
            Deed::StopScheduler => self.stop_scheduler(),
            Deed::StartScheduler => self.start_scheduler(),
        }
    }

    /// Without a word: requests at it are answered no more.
    fn die(&mut self, host: HostIndex) {
        self.count_out(host);
        self.hosts[host].manner.dead = true;
        self.silence(host);
        for part in self.hosts[host].parts.clone() {
            self.leave_swarm(part);
            if self.parts[part].phase != Phase::Whole {
                self.parts[part].phase = Phase::Dead;
            }
        }
    }

    fn silence(&mut self, host: HostIndex) {
        for part in &self.hosts[host].parts {
            self.parts[*part].silent = true;
        }
    }

    /// Nobody waits for it any more.
    fn count_out(&mut self, host: HostIndex) {
        if std::mem::replace(&mut self.hosts[host].manner.uncounted, true) {
            return;
        }
        let parts = self.hosts[host].parts.iter();
        self.unfinished -= parts.filter(|part| self.parts[**part].phase != Phase::Whole).count();
    }
}
