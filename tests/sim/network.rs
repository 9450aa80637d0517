//! Who gets how many bytes through in one step: flows share what they pass through by their weights, and nobody gets more
//! than is there for it. A few rounds of filling up stand for TCP (max-min fairness, approximately). Pure.

/// Something bytes pass through: a card's one direction, a rack's uplink. [`FREE`] has no limit.
pub type Pipe = u32;

pub const FREE: Pipe = 0;

const ROUNDS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// There to be sent.
    pub bytes: f32,
    /// No two connections get quite the same.
    pub weight: f32,
    pub through: [Pipe; 4],
}

/// Bytes per step of every pipe, and what a step needs besides.
#[derive(Default)]
pub struct Network {
    capacity: Vec<f32>,
    left: Vec<f32>,
    weights: Vec<f32>,
    share: Vec<f32>,
    open: Vec<u32>,
}

// === impl Network ===

impl Network {
    pub fn new() -> Self {
        Self { capacity: vec![f32::INFINITY], ..Self::default() }
    }

    pub fn add(&mut self, bytes_per_step: f32) -> Pipe {
        self.capacity.push(bytes_per_step);
        (self.capacity.len() - 1) as Pipe
    }

    pub fn slow_down(&mut self, pipe: Pipe, part: f32) {
        self.capacity[pipe as usize] *= part;
    }

    /// What each flow gets.
    pub fn share(&mut self, flows: &[Flow], given: &mut Vec<f32>) {
        given.clear();
        given.resize(flows.len(), 0.0);
        self.left.clone_from(&self.capacity);
        self.open.clear();
        self.open.extend(0..flows.len() as u32);
        for _ in 0..ROUNDS {
            if self.open.is_empty() {
                return;
            }
            self.weigh(flows);
            let (left, share) = (&mut self.left, &self.share);
            self.open.retain(|&at| {
                let (flow, got) = (&flows[at as usize], &mut given[at as usize]);
                let fair = flow.through.iter().map(|&pipe| share[pipe as usize]).fold(f32::INFINITY, f32::min);
                let fair = fair * flow.weight;
                let wanted = flow.bytes - *got;
                let more = wanted.min(fair);
                *got += more;
                for &pipe in &flow.through {
                    left[pipe as usize] -= more;
                }
                // Less than a byte is nothing.
                wanted - more >= 1.0 && more >= 1.0
            });
        }
    }

    /// What a weight of one gets of each pipe.
    fn weigh(&mut self, flows: &[Flow]) {
        self.weights.clear();
        self.weights.resize(self.capacity.len(), 0.0);
        for &at in &self.open {
            let flow = &flows[at as usize];
            for &pipe in &flow.through {
                self.weights[pipe as usize] += flow.weight;
            }
        }
        self.share.clear();
        self.share.extend(self.left.iter().zip(&self.weights).map(|(left, weights)| left.max(0.0) / weights));
        self.share[FREE as usize] = f32::INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_share_and_fill_what_others_leave() {
        let mut network = Network::new();
        let (up, down, other) = (network.add(900.0), network.add(1000.0), network.add(100.0));
        let flow = |bytes: f32, to: Pipe| Flow { bytes, weight: 1.0, through: [up, to, FREE, FREE] };
        let mut given = Vec::new();
        network.share(&[flow(1e6, down), flow(1e6, other), flow(50.0, down)], &mut given);
        assert_eq!(given, [750.0, 100.0, 50.0]);
        network.share(&[flow(1e6, down), flow(1e6, down)], &mut given);
        assert_eq!(given, [450.0, 450.0]);
    }

    #[test]
    fn a_weight_is_a_share() {
        let mut network = Network::new();
        let up = network.add(900.0);
        let flow = |weight: f32| Flow { bytes: 1e6, weight, through: [up, FREE, FREE, FREE] };
        let mut given = Vec::new();
        network.share(&[flow(1.0), flow(0.5)], &mut given);
        assert_eq!(given, [600.0, 300.0]);
    }

    #[test]
    fn nothing_passes_a_pipe_beyond_its_capacity() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut network = Network::new();
        let pipes: Vec<Pipe> = (0..20).map(|_| network.add(rng.f32() * 1000.0)).collect();
        let flows: Vec<Flow> = (0..200)
            .map(|_| Flow {
                bytes: rng.f32() * 500.0,
                weight: 0.5 + rng.f32(),
                through: [pipes[rng.usize(..20)], pipes[rng.usize(..20)], FREE, FREE],
            })
            .collect();
        let mut given = Vec::new();
        network.share(&flows, &mut given);
        for pipe in pipes {
            let through: f32 = flows
                .iter()
                .zip(&given)
                .map(|(flow, got)| flow.through.iter().filter(|one| **one == pipe).count() as f32 * got)
                .sum();
            assert!(through <= network.capacity[pipe as usize] * 1.001);
        }
        assert!(flows.iter().zip(&given).all(|(flow, got)| *got <= flow.bytes));
    }
}
