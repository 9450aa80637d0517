//! What bounds the scheduler: times that decide who counts as alive, and sizes that keep one caller from filling the memory.

use df_api::manager::{PeerClusterConfig, SchedulerClusterConfig, SeedPeerClusterConfig};
use df_api::rules::Weights;
use df_api::scheduler::HostReport;
use serde::{Deserialize, Serialize};

use crate::table::BRANCHING_WIDTH;

/// Tasks known at once; more are refused until some are forgotten.
pub const TASKS_MAX: usize = 200_000;
/// Peers of one task.
pub const PEERS_MAX: usize = 120_000;
/// Hosts of one cluster.
pub const HOSTS_MAX: usize = 120_000;
/// Duties queued for one host; a seed with so many is not given more.
pub const DUTIES_MAX: usize = 1_000;
/// Complaints, parents or acknowledged duties in one report, each.
pub const LIST_MAX: usize = 1_000;

/// Those who have the content that one peer reads from, and those of them that are looked at, unless somebody says
/// otherwise.
pub const CANDIDATE_PARENT_LIMIT: u32 = 4;
pub const FILTER_PARENT_LIMIT: u32 = 15;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// So many of those who have the whole content serve the first row. The others read from rows, whose width is their own.
    pub candidate_parent_limit: usize,
    /// So many of them are looked at for that, and for the reserve.
    pub filter_parent_limit: usize,
    pub weights: Weights,
    /// Children of a seed peer, and of a peer, over all tasks; a host may take fewer.
    pub seed_load_limit: u32,
    pub peer_load_limit: u32,
    /// A host silent for this long is gone, and its peers with it.
    pub host_lease_ms: u64,
    /// A peer at the origin whose `received_bytes` stands still for this long loses the right to it. More than what an
    /// origin may take to answer: two would fetch the same, and a slow origin would be asked by one after the other.
    pub origin_stall_ms: u64,
    /// A seed that does not start a duty within this time loses it.
    pub duty_timeout_ms: u64,
    /// A seed that failed or lost a task is not asked again for it for this long.
    pub rest_ms: u64,
    /// For so long after its start, a scheduler sends nobody to the origin: every host says within it what it has.
    pub learning_ms: u64,
    /// So long after the first report of a peer that another scheduler has told where to read, those whom it was told may
    /// still be about to report.
    pub takeover_ms: u64,
    /// One that was full is left out for the asker for this long.
    pub busy_ms: u64,
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            candidate_parent_limit: CANDIDATE_PARENT_LIMIT as usize,
            filter_parent_limit: FILTER_PARENT_LIMIT as usize,
            weights: Weights::default(),
            seed_load_limit: SeedPeerClusterConfig::default().load_limit,
            peer_load_limit: PeerClusterConfig::default().load_limit,
            host_lease_ms: 20_000,
            origin_stall_ms: 35_000,
            duty_timeout_ms: 2_000,
            rest_ms: 30_000,
            learning_ms: 0,
            takeover_ms: 1_000,
            busy_ms: 2_000,
        }
    }
}

impl Policy {
    /// Takes over what people have said of the cluster. Of what no manager would have let pass, the nearest that can be.
    pub fn follow(&mut self, own: &SchedulerClusterConfig, seeds: &SeedPeerClusterConfig, peers: &PeerClusterConfig) {
        self.candidate_parent_limit = own.candidate_parent_limit.clamp(1, 20) as usize;
        self.filter_parent_limit = own.filter_parent_limit.clamp(10, 1_000) as usize;
        self.weights = if own.weights.check().is_ok() { own.weights } else { Weights::default() };
        self.seed_load_limit = seeds.load_limit.max(1);
        self.peer_load_limit = peers.load_limit.max(1);
    }

    /// Children that a host serves at once, over all tasks.
    pub fn slots(&self, host: &HostReport) -> u32 {
        host.upload_slots.min(if host.seed { self.seed_load_limit } else { self.peer_load_limit })
    }

    /// Two reports fit into a lease, so that one may get lost. Also the longest that any answer is held back.
    pub fn host_refresh_ms(&self) -> u64 {
        self.host_lease_ms / 2
    }

    /// The silent are looked for at least so often.
    pub fn expiry_ms(&self) -> u64 {
        self.host_lease_ms / 4
    }

    /// The longest that a peer that reads from parents may be silent.
    pub fn peer_refresh_ms(&self) -> u64 {
        self.host_lease_ms / 4
    }

    /// Of a peer in rows: often enough to find the slow, and at most about two thousand reports per second and task.
    pub fn row_refresh_ms(&self, peers: usize) -> u64 {
        (peers as u64 / 2).max(500).min(self.peer_refresh_ms())
    }

    /// Slots of a row. Narrow rows make long chains, wide ones many connections: no more than a peer may have children.
    pub fn row_width(&self, hosts: usize) -> u32 {
        let wanted = match hosts {
            0..200 => 4,
            200..3_000 => 8,
            _ => BRANCHING_WIDTH,
        };
        wanted.min(self.peer_load_limit.div_ceil(2).max(1))
    }

    /// Children of one that stands in a row: the others of the row, and the rows below.
    pub fn children_in_rows(width: u32) -> u32 {
        let rows_below = if width < BRANCHING_WIDTH { 1 } else { 2 };
        (width + rows_below * width).saturating_sub(1)
    }

    /// Of the peer at the origin: its progress is what keeps the lease.
    pub fn origin_refresh_ms(&self) -> u64 {
        (self.origin_stall_ms / 4).min(300)
    }

    /// One that is found gone by others, and has not said anything itself for this long, loses the right to the origin.
    pub fn origin_silence_ms(&self) -> u64 {
        self.origin_refresh_ms() * 2
    }

    /// Peers that neither finish nor report are forgotten after this long, although their host lives.
    pub fn peer_silence_ms(&self) -> u64 {
        self.host_lease_ms.saturating_mul(3)
    }
}
