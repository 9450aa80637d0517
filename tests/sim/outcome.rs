//! What came out of a run.

use crate::part::{Part, Phase};
use crate::scenario::Scenario;
use crate::world::{SAMPLE_MS, World};

#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub seed: u64,
    /// Of those whose time counts.
    pub finished: usize,
    pub unfinished: usize,
    /// Completion over the bound.
    pub p50: f64,
    pub p99: f64,
    pub first_byte_p99_ms: u64,
    /// In contents, of all seeds and per task.
    pub seed_sent: f64,
    pub origin_sent: f64,
    /// Bytes that came twice, over those that were wanted.
    pub twice: f64,
    pub requests: f64,
    pub reports: f64,
    pub lists: f64,
    /// How many went to the origin who are no seeds.
    pub went_to_origin: usize,
    /// Pieces that were marked and are wrong.
    pub wrong_marks: u32,
    /// The longest that somebody waited for itself.
    pub circle_ms: u64,
    pub demoted: usize,
    pub took_ms: u64,
}

impl Outcome {
    pub fn of(scenario: Scenario) -> Self {
        let mut world = World::build(scenario);
        world.run();
        Self::look(&world)
    }

    /// Everybody has everything, and nothing else.
    pub fn is_right(&self) -> bool {
        self.unfinished == 0 && self.wrong_marks == 0
    }

    fn look(world: &World) -> Self {
        let scenario = &world.scenario;
        let counted = |part: &&Part| {
            let host = &world.hosts[part.host];
            !host.seed && !host.manner.uncounted
        };
        let all: Vec<&Part> = world.parts.iter().filter(counted).collect();
        let took = |part: &&Part| Some((part.times.whole_ms? - part.times.start_ms) as f64 / scenario.bound_ms());
        let mut times: Vec<f64> = all.iter().filter_map(took).collect();
        times.sort_by(f64::total_cmp);
        let first_byte = |part: &&Part| Some((part.times.first_byte_ms? - part.times.start_ms) as f64);
        let mut first_bytes: Vec<f64> = all.iter().filter_map(first_byte).collect();
        first_bytes.sort_by(f64::total_cmp);
        let contents = (scenario.content_bytes() * scenario.tasks as u64) as f64;
        let sum = |count: fn(&Part) -> f64| all.iter().map(|part| count(part)).sum::<f64>();
        let mean = |count: fn(&Part) -> f64| sum(count) / all.len().max(1) as f64;
        let seeds = world.parts.iter().filter(|part| world.hosts[part.host].seed);
        let (received, wanted) =
            (sum(|part| part.counts.received_bytes as f64), sum(|part| part.landed_bytes() as f64));
        Self {
            seed: scenario.seed,
            finished: times.len(),
            unfinished: all.iter().filter(|part| part.phase != Phase::Whole).count(),
            p50: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            first_byte_p99_ms: quantile(&first_bytes, 0.99) as u64,
            seed_sent: seeds.map(|part| part.counts.sent_bytes as f64).sum::<f64>() / contents,
            origin_sent: world.parts.iter().map(|part| part.counts.origin_bytes as f64).sum::<f64>() / contents,
            twice: received / wanted.max(1.0) - 1.0,
            requests: mean(|part| f64::from(part.counts.requests)),
            reports: mean(|part| f64::from(part.counts.reports)),
            lists: mean(|part| f64::from(part.counts.lists)),
            went_to_origin: all.iter().filter(|part| part.counts.went_to_origin > 0).count(),
            wrong_marks: world.parts.iter().map(|part| part.counts.wrong_marks).sum(),
            circle_ms: u64::from(world.circles.longest) * SAMPLE_MS,
            demoted: world.control.demoted(),
            took_ms: world.now_ms,
        }
    }
}

/// Of what is sorted; endless when there is nothing.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::INFINITY)
}
