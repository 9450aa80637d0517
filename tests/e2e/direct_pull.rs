//! The laboratory itself: without Dragonfly every node gets every byte from the registry, and we see that.

use crate::lab::{Lab, large_image};
use crate::traffic::{Mark, Traffic};

#[tokio::test]
async fn without_dragonfly_each_node_pulls_everything_from_the_registry() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start().await? else { return Ok(()) };
    let image = large_image()?;
    lab.push("team/app:v1", image).await?;
    let mark = Mark::now(&lab.registry).await?;
    let (first, second) =
        tokio::join!(lab.nodes[0].pull("team/app:v1", image), lab.nodes[1].pull("team/app:v1", image));
    first.and(second)?;
    let traffic = Traffic::since(mark, &lab.registry).await?;
    traffic.assert_each_blob_times(image, 2);
    for node in &lab.nodes {
        assert_eq!(traffic.bytes_to(node.address()), image.blob_bytes());
    }

    let mark = Mark::now(&lab.registry).await?;
    lab.nodes[0].pull("team/app:v1", image).await?;
    assert_eq!(Traffic::since(mark, &lab.registry).await?.bytes_to(lab.nodes[0].address()), 0);
    lab.nodes[0].wipe_images().await?;
    lab.nodes[0].pull("team/app:v1", image).await?;
    Traffic::since(mark, &lab.registry).await?.assert_each_blob_once(image);
    Ok(())
}
