//! The mirror never turns a working pull into a failing one, whatever becomes of it.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use df_testkit::{Image, Layer};

use crate::broken_mirror::{BrokenMirror, Refuses};
use crate::containerd::Release;
use crate::lab::{Lab, small_image};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, nowhere};

const NAME: &str = "team/app:v1";
const MIB: usize = 1 << 20;
const KILLS: u64 = 50;
/// So that a pull lasts long enough to be hit in its middle.
const LINK_MEGABIT: u32 = 200;

#[tokio::test]
async fn with_a_mirror_that_refuses_everything_pulls_succeed_from_the_registry() -> anyhow::Result<()> {
    let Some(lab) = Lab::start().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(NAME, &image).await?;
    let statuses = [403, 404, 429, 500, 502, 503, 504].map(Refuses::With);
    let refusals = statuses.into_iter().chain([Refuses::HangingUp]).map(Some).chain([None]);
    let cases: Vec<Option<Refuses>> = refusals.collect();
    let started = lab.start_releases().await?;
    let debian = (Release::Debian, &lab.nodes[0]);
    for (release, node) in started.iter().map(|(release, node)| (*release, node)).chain([debian]) {
        lab.use_mirror(node)?;
        for case in &cases {
            let mirror = match case {
                Some(refuses) => Some(BrokenMirror::start(&node.namespace, *refuses).await?),
                // Nobody listens.
                None => None,
            };
            let mark = Mark::now(&lab.registry).await?;
            node.pull(NAME, &image).await.with_context(|| format!("{release:?}, {case:?}"))?;
            let traffic = Traffic::since(mark, &lab.registry).await?;
            assert_eq!(traffic.bytes_to(node.address()), image.blob_bytes(), "{release:?}, {case:?}");
            assert!(mirror.is_none_or(|mirror| mirror.requests() > 0), "{release:?}, {case:?}: it was not asked");
            node.remove(NAME).await?;
        }
    }
    Ok(())
}

/// Only newer ones know `dial_timeout`; the others wait half a minute for each object.
#[tokio::test]
async fn a_mirror_in_a_black_hole_is_left_behind() -> anyhow::Result<()> {
    let Some(lab) = Lab::start().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(NAME, &image).await?;
    let hole = nowhere(&lab.network);
    lab.network.swallow(hole)?;
    for release in [Release::V2_1, Release::V2_3] {
        let node = lab.start_node(0, release).await?;
        node.use_mirror_at(&format!("http://{hole}:65001"), Upstream::Open, None)?;
        node.pull(NAME, &image).await.with_context(|| format!("{release:?}"))?;
        node.remove(NAME).await?;
        // With it, they speak TLS first.
        node.skip_verify(Upstream::Open)?;
        node.pull(NAME, &image).await.with_context(|| format!("{release:?} with skip_verify"))?;
    }
    Ok(())
}

/// `E2E_SEED` repeats a run.
#[tokio::test]
async fn a_daemon_that_is_killed_at_any_moment_costs_no_pull() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos().into();
    let seed: u64 = std::env::var("E2E_SEED").ok().map_or(Ok(now), |seed| seed.parse())?;
    println!("E2E_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let newer = lab.start_node(1, Release::V2_1).await?;
    lab.use_mirror(&newer)?;
    for node in &lab.nodes {
        lab.network.shape(&node.namespace, LINK_MEGABIT)?;
    }
    // Nobody dies in the first pull of each, which says how long one takes.
    let mut undisturbed = [Duration::ZERO; 2];
    let mark = Mark::now(&lab.registry).await?;
    for kill in 0..KILLS + 2 {
        let image = Image::build(1000 + kill, &[Layer::gzip(3 * MIB), Layer::tar(2 * MIB), Layer::gzip(40_000)])?;
        let name = format!("team/killed:v{kill}");
        lab.push(&name, &image).await?;
        let number = (kill % 2) as usize;
        let Lab { cluster: Some(cluster), nodes, .. } = &mut lab else { anyhow::bail!("this lab has no Dragonfly") };
        let node = if number == 0 { &nodes[0] } else { &newer };
        let begun = Instant::now();
        if kill < 2 {
            node.pull(&name, &image).await?;
            undisturbed[number] = begun.elapsed();
            continue;
        }
        let moment = undisturbed[number].mul_f64(random.f64());
        let dfdaemon = &mut cluster.dfdaemons[number];
        let fault = async {
            tokio::time::sleep(moment).await;
            dfdaemon.kill();
        };
        let (pulled, ()) = tokio::join!(node.pull(&name, &image), fault);
        pulled.with_context(|| format!("E2E_SEED={seed}: pull {kill}, killed after {moment:?}"))?;
        cluster.restart(number).await?;
    }
    let helped = Traffic::since(mark, &lab.registry).await?.resumed_by("containerd/");
    println!("{KILLS} kills: containerd went on at the registry in the middle of {helped} blobs");
    assert!(helped > 0, "E2E_SEED={seed}: nobody was hit in the middle of a blob");
    Ok(())
}
