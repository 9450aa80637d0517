//! A blob the node holds, read through its mirror, against nginx with `sendfile` and the same file: loopback within the
//! node, as containerd reads; one keep-alive connection; the same client. No scheduler has a part in a hit.

use std::net::SocketAddr;
use std::path::PathBuf;

use df_testkit::Program;

use crate::client::Connection;
use crate::goal::Goal;
use crate::ground::{Ground, on_disk};
use crate::made::{Blob, MIB};
use crate::nginx::Nginx;
use crate::node::{local, mirror_target};
use crate::options::Options;
use crate::row::{Part, Row, Unit};
use tests::process::{cpu_seconds, spent};

/// Reads per sample: CPU time is told in hundredths of a second.
const READS: usize = 64;

/// A node with its daemon, alone, that holds one blob; and nginx beside it with the same.
pub(crate) struct Held {
    pub(crate) dfdaemon: Program,
    pub(crate) nginx: Nginx,
    pub(crate) blob: Blob,
    /// Where the daemon has it from.
    pub(crate) origin: Nginx,
}

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let ground = Ground::prepare(&on_disk(options), 1, 0).await?;
    let held = Held::start(&ground, options.hit_mib * MIB).await?;
    let sides = [
        (held.dfdaemon.id(), local(), mirror_target(&held.blob, held.origin.address)),
        (held.nginx.id(), held.nginx.loopback(), held.blob.target()),
    ];
    let mut speeds = [Part::new("mirror", Unit::GibPerSecond), Part::new("nginx", Unit::GibPerSecond)];
    let mut costs = [Part::new("mirror, server", Unit::CpuPerGib), Part::new("nginx, server", Unit::CpuPerGib)];
    for run in 0..options.runs_with_warm_up() {
        for turn in [run % 2, (run + 1) % 2] {
            let (id, address, target) = sides[turn].clone();
            let gib = held.blob.gib() * READS as f64;
            let (seconds, cpu) = ground.node(0).inside(move || sample(id, address, &target)).await?;
            if !options.is_warm_up(run) {
                speeds[turn].values.push(gib / seconds);
                costs[turn].values.push(cpu / gib);
            }
        }
    }
    let size = options.hit_mib;
    let [mirror, nginx] = &speeds;
    let [mirror_cpu, nginx_cpu] = &costs;
    Ok(vec![
        Row::ratio(format!("warm hit, {size} MiB: throughput ÷ nginx"), Goal::at_least(0.9, 1.0), mirror, nginx),
        Row::ratio(
            format!("warm hit, {size} MiB: server CPU ÷ nginx"),
            Goal::at_most(1.3, 1.05),
            mirror_cpu,
            nginx_cpu,
        ),
    ])
}

/// Seconds, and CPU seconds of the server.
fn sample(id: u32, address: SocketAddr, target: &str) -> anyhow::Result<(f64, f64)> {
    let mut connection = Connection::open(address)?;
    connection.get(target, "Range: bytes=0-1023\r\n")?;
    let before = cpu_seconds(&[id])?;
    let mut seconds = 0.0;
    for _ in 0..READS {
        seconds += connection.get(target, "")?.total.as_secs_f64();
    }
    Ok((seconds, spent(before, cpu_seconds(&[id])?)))
}

// === impl Held ===

impl Held {
    pub(crate) async fn start(ground: &Ground, bytes: u64) -> anyhow::Result<Self> {
        let root: PathBuf = ground.folder().join("files");
        let origin = Nginx::start(ground.folder(), &root, ground.ctl()).await?;
        let nginx = Nginx::start(ground.folder(), &root, ground.node(0)).await?;
        let dfdaemon = ground.setting(origin.address, ground.network.nodes())?.start_alone().await?;
        let blob = Blob::random(&root, 1, bytes)?;
        let target = mirror_target(&blob, origin.address);
        let fill = move || Connection::open(local())?.get(&target, "").map(drop);
        ground.node(0).inside(fill).await?;
        Ok(Self { dfdaemon, nginx, blob, origin })
    }
}
