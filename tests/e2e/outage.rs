//! Any part may be away: a pull still works as long as somebody has the bytes.

use crate::lab::{Lab, other_small_image, small_image};
use crate::traffic::{Mark, Traffic};

const CACHED: &str = "team/cached:v1";
const OTHER: &str = "team/other:v1";

#[tokio::test]
async fn without_manager_and_scheduler_pulls_go_on() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let (cached, other) = (small_image()?, other_small_image()?);
    lab.push(CACHED, &cached).await?;
    lab.push(OTHER, &other).await?;
    lab.nodes[0].pull(CACHED, &cached).await?;
    lab.cluster()?.manager.kill();
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
