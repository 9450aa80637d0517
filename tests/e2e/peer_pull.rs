//! What Dragonfly is for: however many nodes pull, the registry sends each blob once.

use crate::lab::{Lab, large_image};
use crate::traffic::{Mark, Traffic};

const NAME: &str = "team/app:v1";

#[tokio::test]
async fn the_second_node_takes_no_blob_byte_from_the_registry() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = large_image()?;
    lab.push(NAME, image).await?;
    let mark = Mark::now(&lab.registry).await?;
    lab.nodes[0].pull(NAME, image).await?;
    let mark_second = Mark::now(&lab.registry).await?;
    lab.nodes[1].pull(NAME, image).await?;
    let second = Traffic::since(mark_second, &lab.registry).await?;
    assert_eq!(second.bytes_to(lab.nodes[1].address()), 0, "{second:#?}");
    Traffic::since(mark, &lab.registry).await?.assert_each_blob_once(image);
    Ok(())
}

#[tokio::test]
async fn nodes_that_start_at_the_same_moment_share_one_download() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = large_image()?;
    lab.push(NAME, image).await?;
    let mark = Mark::now(&lab.registry).await?;
    let (first, second) = tokio::join!(lab.nodes[0].pull(NAME, image), lab.nodes[1].pull(NAME, image));
    first.and(second)?;
    Traffic::since(mark, &lab.registry).await?.assert_each_blob_once(image);
    Ok(())
}
