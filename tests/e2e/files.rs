//! Files by dfget: through the node's daemon, so that a second node reads them from the first.

use df_testkit::{command_in, sha256_hex};
use tests::cluster::only_environment;
use tests::program;

use crate::lab::{Lab, large_image};
use crate::node::{MIRROR, Node};
use crate::requirements;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const NAME: &str = "team/files:v1";

#[tokio::test]
async fn dfget_on_a_second_node_reads_from_peers() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = large_image()?;
    lab.push(NAME, image).await?;
    let blob = &image.layers[0];
    let url = format!("{}/v2/team/files/blobs/{}", Upstream::Open.url(), blob.digest);
    let mark = Mark::now(&lab.registry).await?;
    let folder = tempfile::tempdir()?;
    for node in &lab.nodes {
        let file = folder.path().join(&node.namespace.name);
        dfget(node, &url, &file, &blob.digest).await?;
        assert_eq!(format!("sha256:{}", sha256_hex(&std::fs::read(file)?)), blob.digest);
    }
    let traffic = Traffic::since(mark, &lab.registry).await?;
    for node in &lab.nodes {
        assert_eq!(traffic.bytes_to(node.address()), 0, "{traffic:#?}");
    }
    Ok(())
}

/// Through the node's daemon; the error is what dfget says.
pub(crate) async fn dfget(node: &Node, url: &str, file: &std::path::Path, digest: &str) -> anyhow::Result<()> {
    let mut command = command_in(Some(&node.namespace.name), program(&requirements::programs()?, "dfget")?);
    only_environment(&mut command, &[]);
    // The socket in the file system, which the nodes share, is the first daemon's.
    command.args(["--daemon", MIRROR, url, "-O"]).arg(file).args(["--digest", digest]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success() && !said.contains("no daemon"),
        "dfget ended with {}: {said}",
        output.status
    );
    Ok(())
}
