//! Whoever bytes come from may die or fall silent while they come: containerd does not notice as long as somebody else has
//! them, and goes on at its next host when nobody has.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use df_testkit::{Cut, Faults, Image, Layer};
use futures_util::future::try_join_all;

use crate::containerd::Release;
use crate::lab::Lab;
use crate::node::Node;
use crate::recorder::{End, Exchange, Recorder};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
const NAME: &str = "team/app";
/// So that a pull lasts long enough to be hit in its middle.
const LINK_MEGABIT: u32 = 200;
/// dfdaemon's own, for a first byte, and as much again for a machine that is busy.
const FIRST_BYTE_BOUND: Duration = Duration::from_secs(20);
/// A parent is given half a second of silence, and an origin four.
const PAUSE_BOUND: Duration = Duration::from_secs(12);

/// Of the other node, which has everything, as the seed peer has.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its connections break, and it takes new ones.
    Reset,
    /// It says nothing from then on, and ends nothing.
    Silent,
    /// Its process is killed.
    Killed,
}

/// Every blob was asked for once, as a whole, and came so, without a long pause.
fn assert_unnoticed(seen: &[Exchange], image: &Image, at: &str) {
    let smooth = |blob: &Exchange| (blob.status, blob.end, &blob.range) == (200, End::Whole, &None);
    assert!(seen.len() == image.blobs().count() && seen.iter().all(smooth), "{at}: {seen:#?}");
    let pause = seen.iter().map(|blob| blob.longest_pause).max().unwrap_or_default();
    println!("{at}: nothing came for {pause:?}");
    assert!(pause < PAUSE_BOUND, "{at}: {seen:#?}");
}

#[tokio::test]
async fn containerd_does_not_notice_what_becomes_of_one_parent() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let node = lab.start_node(0, Release::V1_7Impatient).await?;
    let recorder = Recorder::start(&node.namespace).await?;
    lab.use_mirror_at(Recorder::URL, &node)?;
    lab.network.shape(&node.namespace, LINK_MEGABIT)?;
    for (seed, fault) in [(800, Fault::Reset), (801, Fault::Silent), (802, Fault::Killed)] {
        let image = Image::build(seed, &[Layer::gzip(32 * MIB), Layer::tar(6 * MIB)])?.in_index();
        let name = format!("{NAME}:v{seed}");
        lab.push_faulty(&name, &image).await?;
        // Seed peer and second node have it then.
        lab.nodes[1].pull_from(Upstream::Faulty, &name, &image, None).await?;
        let mark = Mark::now(&lab.registry).await?;
        recorder.clear();
        let Lab { cluster: Some(cluster), faults: Some(faults), .. } = &mut lab else { bail!("no Dragonfly") };
        let line = &faults.other_line;
        let before = line.stats().bytes_from_target;
        let disturb = async {
            recorder.until_blob_bytes(image.blob_bytes() / 3).await?;
            let brought = line.stats().bytes_from_target - before;
            ensure!(brought > MIB as u64, "it would disturb nobody: {brought} bytes came of the other node");
            match fault {
                Fault::Killed => cluster.dfdaemons[1].kill(),
                Fault::Reset => line.sever(Cut::Reset),
                Fault::Silent => line.set(Faults { black_hole: true, ..Faults::default() }).await?,
            }
            anyhow::Ok(())
        };
        let (pulled, disturbed) = tokio::join!(node.pull_from(Upstream::Faulty, &name, &image, None), disturb);
        disturbed.and(pulled).with_context(|| format!("{fault:?}"))?;
        line.set(Faults::default()).await?;
        assert_unnoticed(&recorder.blobs(), &image, &format!("{fault:?}"));
        let traffic = Traffic::since(mark, &lab.registry).await?;
        assert_eq!(traffic.bytes_to(node.address()), 0, "{fault:?}: {traffic:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn containerd_does_not_notice_a_registry_that_falls_silent() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let node = lab.start_node(0, Release::V2_1Impatient).await?;
    let recorder = Recorder::start(&node.namespace).await?;
    lab.use_mirror_at(Recorder::URL, &node)?;
    let image = Image::build(803, &[Layer::gzip(20 * MIB)])?.in_index();
    lab.push_faulty("team/still:v1", &image).await?;
    let faults = lab.faults()?;
    faults.change("team/still", &image.layers[0].digest, |blob| blob.stall_first(2, 9 * MIB as u64));
    let mark = Mark::now(&lab.registry).await?;
    node.pull_from(Upstream::Faulty, "team/still:v1", &image, None).await?;
    let asked = faults.registry.blob_stats("team/still", &image.layers[0].digest);
    assert!(asked.requests > 2, "nothing has stalled: {asked:#?}");
    assert_unnoticed(&recorder.blobs(), &image, "the registry is silent");
    let traffic = Traffic::since(mark, &lab.registry).await?;
    assert_eq!(traffic.bytes_to(node.address()), 0, "{traffic:#?}");
    Ok(())
}

#[tokio::test]
async fn when_the_seed_at_the_origin_is_killed_only_what_it_alone_had_is_fetched_again() -> anyhow::Result<()> {
    lose_the_seed_at_the_origin(Fault::Killed).await
}

#[tokio::test]
async fn when_the_seed_at_the_origin_hangs_only_what_it_alone_had_is_fetched_again() -> anyhow::Result<()> {
    lose_the_seed_at_the_origin(Fault::Silent).await
}

/// Half-way, while two nodes read through it.
async fn lose_the_seed_at_the_origin(fault: Fault) -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    lab.use_mirror_at(Recorder::URL, &lab.nodes[0])?;
    let image = Image::build(820, &[Layer::gzip(32 * MIB)])?.in_index();
    let (name, layer) = (format!("{NAME}:v820"), &image.layers[0].digest);
    lab.push_faulty(&name, &image).await?;
    let Lab { cluster: Some(cluster), faults: Some(faults), nodes, .. } = &mut lab else { bail!("no Dragonfly") };
    faults.change(NAME, layer, |blob| blob.rate(8 * MIB as u64));
    let sent = || faults.registry.blob_stats(NAME, layer).bytes;
    let lose = async {
        recorder.until_blob_bytes(image.layers[0].size_bytes() / 2).await?;
        let seed = cluster.seed_peer.as_mut().context("no seed peer")?;
        match fault {
            Fault::Killed => seed.kill(),
            // It ends nothing, and takes connections: so does a host that is unplugged for those who have some.
            _ => ensure!(Command::new("kill").args(["-STOP", &seed.id().to_string()]).status()?.success()),
        }
        let brought = recorder.blobs().iter().map(|blob| blob.body_bytes).max().unwrap_or_default();
        anyhow::Ok(sent().saturating_sub(brought))
    };
    let others: Vec<&Node> = nodes.iter().collect();
    let (pulled, lost) = tokio::join!(pull_on_all(&others, &name, &image), lose);
    let lost = lost.and_then(|lost| pulled.map(|()| lost))?;
    assert_unnoticed(&recorder.blobs(), &image, &format!("the seed at the origin: {fault:?}"));
    let (size, sent) = (image.layers[0].size_bytes(), sent());
    println!("{fault:?}: {size} bytes, {sent} left the registry, {lost} were lost with the seed");
    // For one that does not run, the kernel goes on taking what the registry sends, as much as a socket holds.
    let taken = if matches!(fault, Fault::Killed) { 2 } else { 8 } * MIB as u64;
    assert!(sent <= size + lost + taken, "{sent} of {size} bytes, {lost} lost");
    Ok(())
}

/// Before a first byte: an error, so early that nobody who watches for progress has given up.
#[tokio::test]
async fn containerd_goes_on_at_the_registry_when_no_source_is_left() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    let mut started = Vec::new();
    for release in [Release::V1_7Impatient, Release::V2_1Impatient, Release::V2_3] {
        started.push(lab.start_node(0, release).await?);
    }
    for node in started.iter().chain([&lab.nodes[0]]) {
        lab.use_mirror_at(Recorder::URL, node)?;
    }
    let (silent, dying) = (Image::build(810, &[Layer::gzip(2 * MIB)])?, Image::build(811, &[Layer::gzip(20 * MIB)])?);
    lab.push_faulty("team/silent:v1", &silent).await?;
    lab.push_faulty("team/dying:v1", &dying).await?;
    let Lab { cluster: Some(cluster), faults: Some(faults), nodes, registry, .. } = &mut lab else {
        bail!("no Dragonfly")
    };
    let nodes: Vec<&Node> = started.iter().chain([&nodes[0]]).collect();
    let (late, layer) = (&silent.layers[0].digest, &dying.layers[0].digest);
    faults.change("team/silent", late, |blob| blob.first_byte_delay(Duration::from_secs(3600)));
    faults.change("team/dying", layer, |blob| blob.hold_at(9 * MIB as u64));

    pull_on_all(&nodes, "team/silent:v1", &silent).await?;
    let seen = recorder.exchanges();
    let refused: Vec<_> = seen.iter().filter(|blob| blob.path.contains(late)).collect();
    let early = |blob: &&Exchange| blob.answered_after.is_some_and(|after| after < FIRST_BYTE_BOUND);
    assert!(refused.len() >= nodes.len() && refused.iter().all(early), "{seen:#?}");
    assert!(refused.iter().all(|blob| blob.status >= 500), "{seen:#?}");

    recorder.clear();
    let mark = Mark::now(registry).await?;
    let death = async {
        let begun = |blob: &&Exchange| blob.path.contains(layer) && blob.body_bytes > MIB as u64;
        let all = |seen: &[Exchange]| seen.iter().filter(begun).count() == nodes.len();
        recorder.until("everybody has some of the layer", all).await?;
        cluster.seed_peer.as_mut().context("no seed peer")?.kill();
        faults.registry.stop().await;
        anyhow::Ok(())
    };
    // Those who watch for progress would end a pull that stands still; this one they must not see standing.
    let (pulled, dead) = tokio::join!(pull_on_all(&nodes, "team/dying:v1", &dying), death);
    dead.and(pulled)?;
    let seen = recorder.exchanges();
    let of_layer = || seen.iter().filter(|blob| blob.path.contains(layer));
    assert!(of_layer().all(|blob| blob.end != End::Reset), "{seen:#?}");
    let (resumed, first): (Vec<_>, Vec<_>) = of_layer().partition(|blob| blob.range.is_some());
    assert!(first.len() == nodes.len() && first.iter().all(|blob| blob.end == End::Fin), "{seen:#?}");
    assert!(resumed.len() >= nodes.len() && resumed.iter().all(|blob| blob.status >= 400), "{seen:#?}");
    let traffic = Traffic::since(mark, registry).await?;
    assert_eq!(traffic.resumed_by("containerd/"), nodes.len(), "{traffic:#?}");
    Ok(())
}

/// At once.
async fn pull_on_all(nodes: &[&Node], name: &str, image: &Image) -> anyhow::Result<()> {
    let pulls = nodes.iter().map(|node| node.pull_from(Upstream::Faulty, name, image, None));
    try_join_all(pulls).await.map(drop)
}
