//! One content to many nodes at once over shaped links, through a seed peer, against one download by curl from the same
//! origin over the same kind of link; and what leaves the origin meanwhile, also when the scheduler or a node that
//! others read from dies half-way. Origin, seed peer and nodes each have a link of their own.
//!
//! **Invariant.** Each run has a new cluster, with empty stores.

use std::time::Instant;

use anyhow::Context;
use tests::cluster::Cluster;
use tests::netns::Namespace;
use tests::process::cpu_seconds;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::curl::curl;
use crate::goal::{Goal, sorted};
use crate::ground::Ground;
use crate::made::{Blob, MIB};
use crate::nginx::Nginx;
use crate::node::{Content, local, until_pieces};
use crate::options::Options;
use crate::row::{Part, Row, Unit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Nobody,
    Scheduler,
    /// The node that has sent the most by then.
    Parent,
    Seed,
}

/// Of one run.
struct Outcome {
    /// Seconds of each node that lived, the fastest first.
    seconds: Vec<f64>,
    /// Origin bytes by size of the content.
    origin: f64,
    /// How busy all cores were, whoever kept them so.
    busy: f64,
    /// CPU seconds of all daemons that lived, by GiB that nodes and seed received.
    cost: f64,
}

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (victim, name, goal) in [
        (Victim::Nobody, "", Goal::at_most(1.01, 1.0)),
        (Victim::Scheduler, ", scheduler killed half-way", Goal::at_most(1.10, 1.02)),
        (Victim::Parent, ", a parent killed half-way", Goal::at_most(1.10, 1.02)),
        // What only the seed had is lost with it.
        (Victim::Seed, ", the seed peer killed half-way", Goal::at_most(1.25, 1.10)),
    ] {
        let mut parts = ["slowest node", "median node", "fastest node", "one curl from the origin"]
            .map(|name| Part::new(name, Unit::Seconds));
        let mut busy = Part::new("all cores busy (1: this machine is the limit, not the links)", Unit::Ratio);
        let mut cost = Part::new("CPU of all daemons, by GiB received", Unit::CpuPerGib);
        let mut origin = Vec::new();
        let runs = if victim == Victim::Nobody { options.runs_with_warm_up() } else { options.runs };
        for run in 0..runs {
            let (outcome, direct) = measure(options, victim, run).await?;
            // A run takes long enough for somebody to wonder.
            let last = outcome.seconds.last().copied().unwrap_or_default();
            let Outcome { origin: sent, busy: cores, cost: each, .. } = &outcome;
            eprintln!(
                "bench:   {victim:?} killed: slowest {last:.1} s, curl {direct:.1} s, origin × {sent:.3}, \
                 {each:.2} CPU-s/GiB, cores {cores:.2} busy"
            );
            if victim == Victim::Nobody && options.is_warm_up(run) {
                continue;
            }
            let seconds = &outcome.seconds;
            let (first, last) = (seconds.first().context("no node")?, seconds.last().context("no node")?);
            let values = [*last, seconds[seconds.len() / 2], *first, direct];
            parts.iter_mut().zip(values).for_each(|(part, value)| part.values.push(value));
            busy.values.push(outcome.busy);
            cost.values.push(outcome.cost);
            origin.push(outcome.origin);
        }
        let [slowest, median, fastest, direct] = parts;
        let what = format!("{} MiB to {} nodes at {} Mbit/s", options.swarm_mib, options.swarm_nodes, options.megabit);
        if victim == Victim::Nobody {
            let row = Row::ratio(format!("{what}: slowest ÷ curl"), Goal::at_most(1.25, 1.10), &slowest, &direct);
            rows.push(row.with([median, fastest, cost, busy]));
            rows.push(Row::new(format!("{what}: origin bytes ÷ size"), Unit::Ratio, goal, origin));
        } else {
            let row = Row::new(format!("{what}{name}: origin bytes ÷ size"), Unit::Ratio, goal, origin);
            rows.push(row.with([slowest, median, fastest, direct, cost, busy]));
        }
    }
    Ok(rows)
}

/// The nodes' run, and the seconds of one direct download.
async fn measure(options: &Options, victim: Victim, run: usize) -> anyhow::Result<(Outcome, f64)> {
    let nodes = usize::from(options.swarm_nodes);
    // Each node, the seed, the origin; curl's before or after.
    let ground = Ground::prepare(options, options.swarm_nodes + 2, (nodes as u64 + 3) * options.swarm_mib).await?;
    let (origin_node, seed) = (ground.node(nodes), ground.node(nodes + 1));
    let root = ground.folder().join("files");
    let origin = Nginx::start_counting(ground.folder(), &root, origin_node).await?;
    let blob = Blob::random(&root, 3, options.swarm_mib * MIB)?;
    let digest = options.swarm_digest.then(|| blob.digest.clone());
    let content = Content { url: origin.url(&blob.target()), blob, digest };
    let mut setting = ground.setting(origin.address, &ground.network.nodes()[..nodes])?;
    setting.seed = Some(seed.clone());
    let mut cluster = Cluster::start(setting).await?;
    for node in ground.network.nodes() {
        ground.network.shape(node, options.megabit)?;
    }
    let mut direct = None;
    if run.is_multiple_of(2) {
        direct = Some(download(&ground, &content).await?);
    }
    // What curl's file took is free again, and the host has taken it.
    ground.refill().await?;
    let before = origin.sent_bytes().await?;
    let (seconds, busy) = spread(&ground, nodes, &mut cluster, &content, victim).await?;
    let daemons = cluster.dfdaemons.iter_mut().chain(&mut cluster.seed_peer);
    let living: Vec<u32> = daemons.filter_map(|one| one.exited().is_none().then(|| one.id())).collect();
    let cost = cpu_seconds(&living)? / (living.len() as f64 * content.blob.gib());
    let sent = origin.sent_bytes().await? - before;
    let direct = match direct {
        Some(seconds) => seconds,
        None => {
            // Its store makes room for curl's file.
            drop(cluster);
            download(&ground, &content).await?
        }
    };
    let origin = sent as f64 / content.blob.bytes as f64;
    Ok((Outcome { seconds: sorted(&seconds), origin, busy, cost }, direct))
}

async fn download(ground: &Ground, content: &Content) -> anyhow::Result<f64> {
    let file = ground.folder().join("curled");
    ground.refill().await?;
    let took = curl(ground.node(0), &content.url, &file, content.blob.bytes).await?;
    std::fs::remove_file(&file)?;
    Ok(took.seconds)
}

/// Seconds of every node that lives on, and the part of all cores that was busy.
async fn spread(
    ground: &Ground,
    nodes: usize,
    cluster: &mut Cluster,
    content: &Content,
    victim: Victim,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let before = cores_busy()?;
    let began = Instant::now();
    let mut pulls = JoinSet::new();
    for (number, node) in ground.network.nodes().iter().cloned().enumerate().take(nodes) {
        let content = content.clone();
        pulls.spawn(async move { (number, node.inside(move || content.pull()).await) });
    }
    let mut killed = None;
    if victim != Victim::Nobody {
        half_way(ground, nodes, content).await?;
        match victim {
            Victim::Parent => {
                let sent = ground.network.nodes()[..nodes].iter().map(Namespace::sent_bytes);
                let sent = sent.collect::<anyhow::Result<Vec<_>>>()?;
                let most = (0..nodes).max_by_key(|node| sent[*node]).context("no node")?;
                cluster.dfdaemons[most].kill();
                killed = Some(most);
            }
            Victim::Seed => cluster.seed_peer.as_mut().context("no seed peer")?.kill(),
            _ => cluster.scheduler.kill(),
        }
    }
    let mut seconds = Vec::new();
    while let Some(pulled) = pulls.join_next().await {
        let (number, pulled) = pulled?;
        // Whom we killed cannot say when it was done.
        if killed != Some(number) {
            seconds.push(pulled.with_context(|| format!("node {number}"))?);
        }
    }
    let after = cores_busy()?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    Ok((seconds, (after - before) / (began.elapsed().as_secs_f64() * cores)))
}

/// Returns when every node has half of its pieces.
async fn half_way(ground: &Ground, nodes: usize, content: &Content) -> anyhow::Result<()> {
    let pieces = content.blob.bytes.div_ceil(df_api::task::piece_length(Some(content.blob.bytes)));
    for node in ground.network.nodes().iter().take(nodes) {
        let content = content.clone();
        node.inside(move || {
            let mut connection = Connection::open(local())?;
            let id = content.start(&mut connection)?;
            until_pieces(&mut connection, &id, pieces / 2)
        })
        .await?;
    }
    Ok(())
}

/// Seconds that all cores together have not been idle since the machine was started.
fn cores_busy() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal
    let busy: f64 =
        fields.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at)).take(6).map(|(_, ticks)| ticks).sum();
    Ok(busy / rustix::param::clock_ticks_per_second() as f64)
}
