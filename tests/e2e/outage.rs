//! Any part may be away: a pull still works as long as somebody has the bytes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use df_testkit::until;

use crate::lab::{Lab, large_image, other_small_image, small_image};
use crate::traffic::{Mark, Traffic};

const CACHED: &str = "team/cached:v1";
const OTHER: &str = "team/other:v1";
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn without_manager_and_scheduler_pulls_go_on() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let (cached, other) = (small_image()?, other_small_image()?);
    lab.push(CACHED, &cached).await?;
    lab.push(OTHER, &other).await?;
    lab.nodes[0].pull(CACHED, &cached).await?;
    lab.cluster()?.manager.as_mut().context("no manager")?.kill();
    lab.cluster()?.scheduler.kill();

    lab.nodes[0].pull(OTHER, &other).await?;
    lab.nodes[0].wipe_images().await?;
    let mark = Mark::now(&lab.registry).await?;
    lab.nodes[0].pull(CACHED, &cached).await?;
    let traffic = Traffic::since(mark, &lab.registry).await?;
    assert_eq!(traffic.bytes_to(lab.nodes[0].address()), 0, "{traffic:#?}");
    Ok(())
}

#[tokio::test]
async fn without_the_registry_what_is_cached_is_served_by_its_tag() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let cached = small_image()?;
    lab.push(CACHED, &cached).await?;
    lab.nodes[0].pull(CACHED, &cached).await?;
    lab.registry.program().kill();
    lab.nodes[0].wipe_images().await?;
    lab.nodes[0].pull(CACHED, &cached).await
}

/// One pull is enough for the whole cluster: by tag, by digest, on a node that never asked before. And what the tag came
/// to mean meanwhile is pulled as soon as the registry is back.
#[tokio::test]
async fn an_outage_of_the_registry_is_survived_and_ends() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let (cached, moved) = (small_image()?, other_small_image()?);
    lab.push(CACHED, &cached).await?;
    lab.nodes[0].pull(CACHED, &cached).await?;
    lab.registry.program().kill();
    lab.nodes[1].pull(CACHED, &cached).await?;
    lab.nodes[1].wipe_images().await?;
    let (repository, _) = CACHED.split_once(':').context("no tag")?;
    lab.nodes[1].pull(&format!("{repository}@{}", cached.top().digest), &cached).await?;

    lab.restart_registry().await?;
    lab.push(CACHED, &moved).await?;
    for node in &lab.nodes {
        // A tag is taken to mean the same for some seconds.
        until("the tag's new image is pulled", BOUND, async || Ok(node.pull(CACHED, &moved).await.ok())).await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_its_dfdaemon_a_node_pulls_from_the_registry() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(OTHER, &image).await?;
    lab.cluster()?.dfdaemons[0].kill();
    let mark = Mark::now(&lab.registry).await?;
    lab.nodes[0].pull(OTHER, &image).await?;
    let traffic = Traffic::since(mark, &lab.registry).await?;
    assert_eq!(traffic.bytes_to(lab.nodes[0].address()), image.blob_bytes());
    Ok(())
}

/// What it had brought is with the nodes, and one of them goes on at the registry.
#[tokio::test]
async fn a_seed_that_is_killed_in_the_middle_is_followed_by_a_node() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = large_image()?;
    lab.push(CACHED, image).await?;
    let mut seed = lab.cluster()?.seed_peer.take().context("no seed peer")?;
    let store = lab.cluster()?.seed_store();
    let mark = Mark::now(&lab.registry).await?;
    let fault = async {
        let third = image.blob_bytes() / 3;
        until("the seed has a third", BOUND, async || Ok((bytes_in(&store)? >= third).then_some(()))).await?;
        seed.kill();
        anyhow::Ok(())
    };
    let (first, second, fault) =
        tokio::join!(lab.nodes[0].pull(CACHED, image), lab.nodes[1].pull(CACHED, image), fault);
    fault.and(first).and(second)?;
    let traffic = Traffic::since(mark, &lab.registry).await?;
    let sent: u64 = lab.nodes.iter().map(|node| traffic.bytes_to(node.address())).sum();
    println!("the seed is killed: the nodes bring {:.2} of the image", sent as f64 / image.blob_bytes() as f64);
    // What the seed had is lost where no node had it yet, and no byte is brought by both.
    assert!(sent <= image.blob_bytes() * 21 / 20, "{sent}");
    Ok(())
}

/// As they take room: contents are sparse.
fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Gone in between, perhaps.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}
