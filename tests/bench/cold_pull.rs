//! A blob that nobody of the cluster holds, through the mirror of a node, against the same client straight to Debian's
//! docker-registry. Registry and seed peer are in `ctl`; what is shaped is the node's link. Unshaped is for comparison only:
//! registry, seed peer, node and client share the processors then, and the bytes make three ways instead of one.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use df_testkit::DockerRegistry;
use tests::cluster::Cluster;

use crate::client::Connection;
use crate::goal::Goal;
use crate::ground::{Ground, at};
use crate::made::{Blob, MIB, REPOSITORY};
use crate::node::{local, mirror_target};
use crate::options::Options;
use crate::row::{Part, Row, Unit};

const REGISTRY_PORT: u16 = 5000;

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let count = 2 * options.runs_with_warm_up() as u64;
    // Each blob in the registry, at the seed, at the node.
    let ground = Ground::prepare(options, 1, 3 * count * options.pull_mib).await?;
    let registry = DockerRegistry::start(ground.folder(), at(ground.ctl(), REGISTRY_PORT), Some(&ground.ctl().name));
    let registry = registry.await?;
    let mut setting = ground.setting(registry.address(), ground.network.nodes())?;
    setting.seed = Some(ground.ctl().clone());
    let _cluster = Cluster::start(setting).await?;
    let links = [(Some(options.megabit), format!("{} Mbit/s", options.megabit)), (None, "unshaped".to_owned())];
    let mut rows = Vec::new();
    for (number, (megabit, link)) in links.into_iter().enumerate() {
        if let Some(megabit) = megabit {
            ground.network.shape(ground.node(0), megabit)?;
        }
        let [ours, theirs] = measure(options, &ground, &registry, number).await?;
        let name = format!("cold pull, {} MiB, {link}: time ÷ straight to the registry", options.pull_mib);
        let row = Row::ratio(name, Goal::at_most(1.05, 1.0), &ours, &theirs);
        rows.push(if megabit.is_some() { row } else { row.for_comparison() });
        if megabit.is_some() {
            ground.network.unshape(ground.node(0))?;
        }
    }
    Ok(rows)
}

async fn measure(
    options: &Options,
    ground: &Ground,
    registry: &DockerRegistry,
    link: usize,
) -> anyhow::Result<[Part; 2]> {
    let mut parts = [Part::new("mirror", Unit::Seconds), Part::new("registry", Unit::Seconds)];
    for run in 0..options.runs_with_warm_up() {
        let seed = 1000 + 100 * link as u64 + run as u64;
        let blob = push(&ground.folder().join("files"), seed, options.pull_mib * MIB, registry).await?;
        let sides = [(local(), mirror_target(&blob, registry.address())), (registry.address(), blob.target())];
        for turn in [run % 2, (run + 1) % 2] {
            let (address, target) = sides[turn].clone();
            let fetched = ground.node(0).inside(move || fetch(address, &target)).await?;
            ensure!(fetched.bytes == blob.bytes, "{} of {} bytes have come", fetched.bytes, blob.bytes);
            if !options.is_warm_up(run) {
                parts[turn].values.push(fetched.total.as_secs_f64());
            }
        }
    }
    Ok(parts)
}

fn fetch(address: SocketAddr, target: &str) -> anyhow::Result<crate::client::Fetched> {
    Connection::open(address)?.get(target, "")
}

/// A new blob, in the registry and nowhere else.
async fn push(folder: &Path, seed: u64, bytes: u64, registry: &DockerRegistry) -> anyhow::Result<Blob> {
    let blob = Blob::random(folder, seed, bytes)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let begun = client.post(format!("{}/v2/{REPOSITORY}/blobs/uploads/", registry.base_url())).send().await?;
    let place =
        begun.error_for_status()?.headers().get("location").context("no place to upload to")?.to_str()?.to_owned();
    let url = format!("{place}{}digest={}", if place.contains('?') { '&' } else { '?' }, blob.digest);
    let body = tokio::fs::read(&blob.path).await?;
    client.put(url).header("content-type", "application/octet-stream").body(body).send().await?.error_for_status()?;
    std::fs::remove_file(&blob.path)?;
    Ok(blob)
}
