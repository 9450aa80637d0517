//! The mirror never turns a working pull into a failing one, whatever becomes of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use df_testkit::{Image, Layer};

use crate::broken_mirror::{BrokenMirror, Refuses};
use crate::containerd::Release;
use crate::lab::{Lab, small_image};
use crate::node::MIRROR;
use crate::recorder::{Exchange, Recorder};
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

/// 1.6 and 1.7 know no `dial_timeout`; 2.3 is the first that waits for an answer so long and no longer. For a mirror
/// that takes connections and says nothing older ones wait for ever, or until their progress timer cancels the whole
/// pull after minutes: of them there is nothing to test.
#[tokio::test]
async fn a_mirror_that_each_object_waits_for_half_a_minute_is_left_behind() -> anyhow::Result<()> {
    let Some(lab) = Lab::start().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(NAME, &image).await?;
    let hole = nowhere(&lab.network);
    lab.network.swallow(hole)?;
    let (debian, older) = (&lab.nodes[0], lab.start_node(0, Release::V1_7).await?);
    for node in [debian, &older] {
        node.use_mirror_at(&format!("http://{hole}:65001"), Upstream::Open, None)?;
    }
    let newest = lab.start_node(1, Release::V2_3).await?;
    let silent = BrokenMirror::start(&newest.namespace, Refuses::ByWaiting).await?;
    lab.use_mirror(&newest)?;
    let mark = Mark::now(&lab.registry).await?;
    // All at once: each of them waits for two minutes.
    let (of_debian, of_older, of_newest) =
        tokio::join!(debian.pull(NAME, &image), older.pull(NAME, &image), newest.pull(NAME, &image));
    of_debian.context("1.6, a black hole")?;
    of_older.context("1.7, a black hole")?;
    of_newest.context("2.3, a silent mirror")?;
    let traffic = Traffic::since(mark, &lab.registry).await?;
    assert_eq!(traffic.bytes_to(debian.address()), 2 * image.blob_bytes());
    assert_eq!(traffic.bytes_to(newest.address()), image.blob_bytes());
    // Every object was asked of it first.
    let objects = 2 + image.blobs().count() as u64;
    assert!(silent.requests() >= objects, "{} of {objects}", silent.requests());
    Ok(())
}

/// What the registry was asked for by containerd in the middle of blobs: each once, from there to the end.
fn assert_resumed_once(seen: &[Exchange], at: &str) -> usize {
    let of_blobs: Vec<&Exchange> = seen.iter().filter(|exchange| exchange.is_blob()).collect();
    let resumed = of_blobs.iter().filter_map(|blob| Some((*blob, blob.range.as_deref()?)));
    let from = |range: &str| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok();
    let mut paths = BTreeSet::new();
    for (blob, range) in resumed {
        assert!(from(range).is_some_and(|from| from > 0) && blob.status == 206, "{at}: {seen:#?}");
        assert!(paths.insert(&blob.path), "{at}: twice for one blob: {seen:#?}");
    }
    paths.len()
}

/// `E2E_SEED` repeats a run.
#[tokio::test]
async fn a_daemon_that_is_killed_at_any_moment_costs_no_pull() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos().into();
    let seed: u64 = std::env::var("E2E_SEED").ok().map_or(Ok(now), |seed| seed.parse())?;
    println!("E2E_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut nodes = Vec::new();
    for (number, release) in [(1, Release::V2_1), (0, Release::V1_7), (1, Release::V2_3)] {
        nodes.push((number, release, lab.start_node(number, release).await?));
    }
    nodes.push((0, Release::Debian, lab.nodes.remove(0)));
    let mut registries = Vec::new();
    for namespace in lab.network.nodes() {
        lab.network.shape(namespace, LINK_MEGABIT)?;
        registries.push(Recorder::start_before(namespace, lab.registry.address()).await?);
    }
    for (_, _, node) in &nodes {
        node.use_hosts(MIRROR, Recorder::REGISTRY_URL, Upstream::Open)?;
    }
    // Nobody dies in the first pull of each, which says how long one takes.
    let mut undisturbed = [Duration::ZERO; 4];
    let mut helped = 0;
    for (kill, (turn, (number, release, node))) in (0..KILLS + 4).zip(nodes.iter().enumerate().cycle()) {
        let image = Image::build(1000 + kill, &[Layer::gzip(3 * MIB), Layer::tar(2 * MIB), Layer::gzip(40_000)])?;
        let name = format!("team/killed:v{kill}");
        lab.push(&name, &image).await?;
        let begun = Instant::now();
        if kill < 4 {
            node.pull(&name, &image).await?;
            undisturbed[turn] = begun.elapsed();
            continue;
        }
        registries[*number].clear();
        let moment = undisturbed[turn].mul_f64(random.f64());
        let cluster = lab.cluster()?;
        let dfdaemon = &mut cluster.dfdaemons[*number];
        let fault = async {
            tokio::time::sleep(moment).await;
            dfdaemon.kill();
        };
        let (pulled, ()) = tokio::join!(node.pull(&name, &image), fault);
        let at = format!("E2E_SEED={seed}: {release:?}, pull {kill}, killed after {moment:?}");
        pulled.with_context(|| at.clone())?;
        helped += assert_resumed_once(&registries[*number].exchanges(), &at);
        cluster.restart(*number).await?;
    }
    println!("{KILLS} kills: containerd went on at the registry in the middle of {helped} blobs");
    assert!(helped > 0, "E2E_SEED={seed}: nobody was hit in the middle of a blob");
    Ok(())
}
