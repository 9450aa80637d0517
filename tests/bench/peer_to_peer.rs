//! Node A holds a content, node B pulls it over an unshaped link, against nginx on A and `curl -o` on B with the same
//! file. B's daemon begins with nothing each time; the time runs until its task is complete, as curl's until the file
//! is. Two variants: per-piece BLAKE3 only, and the SHA-256 of digest-addressed content as well.

use tests::cluster::Cluster;

use crate::curl::{curl, hash};
use crate::goal::Goal;
use crate::ground::Ground;
use crate::made::{Blob, MIB};
use crate::nginx::Nginx;
use crate::node::Content;
use crate::options::Options;
use crate::row::{Part, Row, Unit};
use tests::process::{cpu_seconds, spent};

const VARIANTS: [&str; 2] = ["BLAKE3 per piece", "BLAKE3 + SHA-256"];

/// What is measured of one variant.
struct Figures {
    ours: Part,
    read: Part,
    theirs: Part,
    theirs_checked: Part,
    our_cpu: Part,
    parent_cpu: Part,
    their_cpu: Part,
    their_cpu_checked: Part,
}

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let size = options.peer_mib;
    // The file, A's two tasks, B's, curl's; and one to spare.
    let ground = Ground::prepare(options, 2, 6 * size).await?;
    let root = ground.folder().join("files");
    let nginx = Nginx::start(ground.folder(), &root, ground.node(0)).await?;
    let blob = Blob::random(&root, 2, size * MIB)?;
    let mut cluster = Cluster::start(ground.setting(nginx.address, ground.network.nodes())?).await?;
    let mut rows = Vec::new();
    for variant in VARIANTS {
        let digest = (variant != VARIANTS[0]).then(|| blob.digest.clone());
        let content = Content { blob: blob.clone(), url: nginx.url(&blob.target()), digest };
        let held = content.clone();
        ground.node(0).inside(move || held.pull().map(drop)).await?;
        let figures = measure(options, &ground, &nginx, &mut cluster, &content).await?;
        rows.extend(figures.rows(variant, size));
    }
    Ok(rows)
}

async fn measure(
    options: &Options,
    ground: &Ground,
    nginx: &Nginx,
    cluster: &mut Cluster,
    content: &Content,
) -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    for run in 0..options.runs_with_warm_up() {
        let (ours, theirs) = if run % 2 == 0 {
            let ours = by_peers(ground, cluster, content).await?;
            (ours, by_curl(ground, nginx, content).await?)
        } else {
            let theirs = by_curl(ground, nginx, content).await?;
            (by_peers(ground, cluster, content).await?, theirs)
        };
        if !options.is_warm_up(run) {
            figures.add(ours, theirs);
        }
    }
    Ok(figures)
}

/// Speed, speed with a client that reads, CPU of both ends, CPU of the parent.
async fn by_peers(ground: &Ground, cluster: &mut Cluster, content: &Content) -> anyhow::Result<[f64; 4]> {
    let gib = content.blob.gib();
    cluster.restart_empty(1).await?;
    ground.refill().await?;
    let [parent, child] = [0, 1].map(|node| cluster.dfdaemons[node].id());
    let before = [cpu_seconds(&[parent])?, cpu_seconds(&[child])?];
    let pulled = content.clone();
    let seconds = ground.node(1).inside(move || pulled.pull()).await?;
    let [parent, child] = [spent(before[0], cpu_seconds(&[parent])?), spent(before[1], cpu_seconds(&[child])?)];
    cluster.restart_empty(1).await?;
    ground.refill().await?;
    let pulled = content.clone();
    let reading = ground.node(1).inside(move || pulled.pull_and_read()).await?;
    Ok([gib / seconds, gib / reading, (parent + child) / gib, parent / gib])
}

/// Speed, and CPU of both ends; both once more with a SHA-256 of the file afterwards.
async fn by_curl(ground: &Ground, nginx: &Nginx, content: &Content) -> anyhow::Result<[f64; 4]> {
    let gib = content.blob.gib();
    let file = ground.folder().join("curled");
    ground.refill().await?;
    let before = cpu_seconds(&[nginx.id()])?;
    let curled = curl(ground.node(1), &content.url, &file, content.blob.bytes).await?;
    let cpu = spent(before, cpu_seconds(&[nginx.id()])? + curled.cpu_seconds);
    let read = file.clone();
    let hashed = ground.node(1).inside(move || hash(&read)).await?;
    std::fs::remove_file(&file)?;
    let checked = [gib / (curled.seconds + hashed.seconds), (cpu + hashed.cpu_seconds) / gib];
    Ok([gib / curled.seconds, cpu / gib, checked[0], checked[1]])
}

// === impl Figures ===

impl Figures {
    fn new() -> Self {
        let part = Part::new;
        Self {
            ours: part("peer → peer, task complete", Unit::GibPerSecond),
            read: part("peer → peer, a client of the child has all", Unit::GibPerSecond),
            theirs: part("nginx → curl -o", Unit::GibPerSecond),
            theirs_checked: part("nginx → curl -o, then its SHA-256", Unit::GibPerSecond),
            our_cpu: part("parent + child", Unit::CpuPerGib),
            parent_cpu: part("of it the parent", Unit::CpuPerGib),
            their_cpu: part("nginx + curl -o, which hash nothing", Unit::CpuPerGib),
            their_cpu_checked: part("nginx + curl -o + SHA-256", Unit::CpuPerGib),
        }
    }

    fn add(&mut self, ours: [f64; 4], theirs: [f64; 4]) {
        let parts = [&mut self.ours, &mut self.read, &mut self.our_cpu, &mut self.parent_cpu];
        parts.into_iter().zip(ours).for_each(|(part, value)| part.values.push(value));
        let parts = [&mut self.theirs, &mut self.their_cpu, &mut self.theirs_checked, &mut self.their_cpu_checked];
        parts.into_iter().zip(theirs).for_each(|(part, value)| part.values.push(value));
    }

    fn rows(self, variant: &str, size: u64) -> [Row; 2] {
        let speed = format!("peer → peer, {size} MiB, {variant}: throughput ÷ nginx → curl");
        let cost = format!("peer → peer, {size} MiB, {variant}: CPU of both ends");
        let goals = [Goal::at_least(0.8, 1.0), Goal::at_most(1.2, 0.8)];
        let values = self.our_cpu.values.clone();
        let cpus = [self.our_cpu, self.parent_cpu, self.their_cpu, self.their_cpu_checked];
        [
            Row::ratio(speed, goals[0], &self.ours, &self.theirs).with([self.read, self.theirs_checked]),
            Row::new(cost, Unit::CpuPerGib, goals[1], values).with(cpus),
        ]
    }
}
