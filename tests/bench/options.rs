//! What to measure, how often, and how large; every size can be made smaller for a slower machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Speed and memory of Dragonfly, as ratios measured side by side with nginx, curl and docker-registry.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Only these; default: all.
    #[arg(value_enum)]
    pub(crate) rows: Vec<RowName>,
    /// Per row; the median counts.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Tiny sizes, one run, no judgement: does the bench itself work?
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the programs are; default: beside this one.
    #[arg(long)]
    pub(crate) programs: Option<PathBuf>,
    /// Where the report goes, as JSON; default: report.json in the folder `bench` of Cargo's target folder.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// Where the data lies; default: /dev/shm when memory allows, else /tmp; warm hits always /tmp.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Keep logs and data of each row, and name the folder.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Of the warm hits.
    #[arg(long, default_value_t = 256)]
    pub(crate) hit_mib: u64,
    /// Requests per run and side, for percentiles.
    #[arg(long, default_value_t = 1000)]
    pub(crate) requests: usize,
    /// Of the transfer between two peers.
    #[arg(long, default_value_t = 1024)]
    pub(crate) peer_mib: u64,
    /// Of the cold pulls.
    #[arg(long, default_value_t = 256)]
    pub(crate) pull_mib: u64,
    /// Rate of a shaped link.
    #[arg(long, default_value_t = 1000)]
    pub(crate) megabit: u32,
    /// Of what all nodes get at once.
    #[arg(long, default_value_t = 1024)]
    pub(crate) swarm_mib: u64,
    /// How many get it.
    #[arg(long, default_value_t = 8)]
    pub(crate) swarm_nodes: u8,
    /// What they get has a digest: every node computes a SHA-256 too.
    #[arg(long)]
    pub(crate) swarm_digest: bool,
    /// Small objects per run.
    #[arg(long, default_value_t = 200)]
    pub(crate) objects: usize,
    /// Concurrent pulls whose memory is measured.
    #[arg(long, default_value_t = 100)]
    pub(crate) pulls: usize,
    /// Of each of them.
    #[arg(long, default_value_t = 100)]
    pub(crate) each_mib: u64,
    /// Tasks on disk at a start.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) tasks: usize,
    /// Peers that a scheduler answers, a hundred to a task.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) askers: usize,
    /// For how long they ask, per run and side.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// How often somebody who waits is told, per run.
    #[arg(long, default_value_t = 500)]
    pub(crate) wakes: usize,
    /// Daemons that wait at a manager.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) waiting: usize,
    /// Serve nothing there, for those rows.
    #[arg(long, hide = true)]
    pub(crate) nothing: Option<SocketAddr>,
    /// Serve one row of SQLite there.
    #[arg(long, hide = true)]
    pub(crate) one_row: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowName {
    /// A blob the node holds, through the mirror, against nginx: throughput and CPU.
    WarmHit,
    /// The first byte of such a blob, against nginx.
    FirstByte,
    /// Node to node, against nginx and `curl -o`: throughput, and CPU of both ends.
    PeerToPeer,
    /// A blob nobody holds, through the mirror, against the registry itself.
    ColdPull,
    /// One content to many nodes at once, against one download; what leaves the origin, also when something dies.
    Swarm,
    /// 1 KiB that nobody holds.
    SmallObject,
    /// A dfdaemon's memory under many pulls.
    Memory,
    /// A start with many tasks on disk.
    Restart,
    /// A scheduler on one core, against a server that does nothing: answers, how soon, and memory.
    Decisions,
    /// A manager on one core, against a server that reads one row: reads, how soon, memory, and daemons that wait.
    Manager,
}

// === impl Options ===

impl Options {
    /// As `--quick` wants it.
    pub(crate) fn scaled(self) -> Self {
        if !self.quick {
            return self;
        }
        Self {
            runs: 1,
            hit_mib: 4,
            requests: 20,
            peer_mib: 8,
            pull_mib: 4,
            swarm_mib: 8,
            swarm_nodes: 2,
            objects: 5,
            pulls: 4,
            each_mib: 2,
            tasks: 50,
            askers: 200,
            seconds: 0.2,
            wakes: 5,
            waiting: 50,
            ..self
        }
    }

    pub(crate) fn wanted(&self) -> Vec<RowName> {
        if self.rows.is_empty() { RowName::value_variants().to_vec() } else { self.rows.clone() }
    }

    /// Tiny sizes say nothing about goals.
    pub(crate) fn judges(&self) -> bool {
        !self.quick
    }

    /// The first run warms up, and is not counted.
    pub(crate) fn runs_with_warm_up(&self) -> usize {
        if self.quick { self.runs } else { self.runs + 1 }
    }

    pub(crate) fn is_warm_up(&self, run: usize) -> bool {
        !self.quick && run == 0
    }

    pub(crate) fn programs(&self) -> anyhow::Result<PathBuf> {
        match &self.programs {
            Some(folder) => Ok(folder.canonicalize()?),
            None => Ok(std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default()),
        }
    }

    pub(crate) fn report(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tests::root().join("target"), PathBuf::from);
        self.report.clone().unwrap_or_else(|| target.join("bench/report.json"))
    }
}

// === impl RowName ===

impl RowName {
    pub(crate) fn title(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
