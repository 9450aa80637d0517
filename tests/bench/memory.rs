//! A dfdaemon's resident memory while many clients pull at once, each another blob, cold, through its mirror from an
//! origin beside it: the largest RssAnon + RssFile seen, and the kernel's own high-water mark.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::goal::Goal;
use crate::ground::Ground;
use crate::made::{Blob, MIB};
use crate::nginx::Nginx;
use crate::node::{local, mirror_target};
use crate::options::Options;
use crate::row::{Part, Row, Unit};
use tests::process::status_mib;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut parts = ["RssAnon + RssFile, peak", "VmHWM", "at rest, before"].map(|name| Part::new(name, Unit::Mib));
    let mut seconds = Part::new("all pulls together", Unit::Seconds);
    for _ in 0..options.runs {
        let (looked, took) = measure(options).await?;
        parts.iter_mut().zip(looked).for_each(|(part, value)| part.values.push(value));
        seconds.values.push(took);
    }
    let [peak, high_water, rest] = parts;
    let name = format!("memory of a dfdaemon, {} pulls of {} MiB at once", options.pulls, options.each_mib);
    let row = Row::new(name, Unit::Mib, Goal::at_most(96.0, 64.0), peak.values);
    Ok(vec![row.with([high_water, rest, seconds])])
}

/// A new daemon each time: what it once took, it would keep.
async fn measure(options: &Options) -> anyhow::Result<([f64; 3], f64)> {
    let ground = Ground::prepare(options, 1, options.pulls as u64 * options.each_mib).await?;
    let root = ground.folder().join("files");
    let origin = Nginx::start(ground.folder(), &root, ground.ctl()).await?;
    let dfdaemon = ground.setting(origin.address, ground.network.nodes())?.start_alone().await?;
    let blobs = Blob::sparse(&root, options.pulls, options.each_mib * MIB)?;
    let id = dfdaemon.id();
    let resident = move || Ok::<_, anyhow::Error>(status_mib(id, "RssAnon")? + status_mib(id, "RssFile")?);
    let rest = resident()?;
    let done = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let done = done.clone();
        async move {
            let (mut peak, mut ticks) = (0.0_f64, tokio::time::interval(BETWEEN_LOOKS));
            while !done.load(Ordering::Relaxed) {
                ticks.tick().await;
                peak = peak.max(resident()?);
            }
            anyhow::Ok(peak)
        }
    });
    let began = Instant::now();
    let mut pulls = JoinSet::new();
    for blob in blobs {
        let (node, target) = (ground.node(0).clone(), mirror_target(&blob, origin.address));
        pulls.spawn(async move {
            node.inside(move || Ok((Connection::open(local())?.get(&target, "")?.bytes, blob.bytes))).await
        });
    }
    while let Some(pulled) = pulls.join_next().await {
        let (got, bytes) = pulled??;
        ensure!(got == bytes, "a pull of {bytes} bytes got {got}");
    }
    let seconds = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let peak = watching.await??;
    Ok(([peak, status_mib(id, "VmHWM")?, rest], seconds))
}
