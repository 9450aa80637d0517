//! Images whose layers are called by their SHA-512, pulled by those who know it. containerd before 2.3, skopeo 1.9 and
//! crane do not, whatever the registry: they compare what comes with a SHA-256, or ask for nothing at all.

use std::path::Path;

use anyhow::Context as _;
use df_testkit::{Image, Layer};

use crate::containerd::Release;
use crate::image_tools::{PUBLIC, Pull, Tool};
use crate::lab::Lab;
use crate::upstreams::Upstream;

/// The registry has no such image that containerd could fall back to: docker-registry refuses the digest.
fn put(lab: &Lab, seed: u64) -> anyhow::Result<(String, Image)> {
    let image = Image::build(seed, &[Layer::gzip(3 << 20), Layer::gzip(70_000)])?.with_sha512_layers();
    let tag = format!("v{seed}");
    lab.faults()?.registry.add(PUBLIC, &tag, &image);
    Ok((tag, image))
}

/// Every byte left the registry once, however many nodes have pulled.
fn assert_sent_once(lab: &Lab, image: &Image) -> anyhow::Result<()> {
    for layer in &image.layers {
        let seen = lab.faults()?.registry.blob_stats(PUBLIC, &layer.digest);
        assert_eq!(seen.bytes, layer.size_bytes(), "{}: {seen:#?}", layer.digest);
    }
    Ok(())
}

#[tokio::test]
async fn layers_with_a_sha512_digest_are_pulled_and_shared() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    for (seed, tool) in (850..).zip([Tool::Podman, Tool::Oras, Tool::Curl]) {
        let (tag, image) = put(&lab, seed)?;
        for (number, node) in lab.nodes.iter().enumerate() {
            let folder = lab.folder().join(format!("{tool:?}-{number}"));
            let (upstream, repository, ca) = (Upstream::Faulty, PUBLIC, Path::new("/dev/null"));
            let (tag, image, login) = (&tag, &image, None);
            let pull = Pull { tool, node, upstream, repository, tag, image, folder, ca, login };
            pull.run().await.with_context(|| format!("{tool:?} on node {number}"))?;
        }
        assert_sent_once(&lab, &image)?;
    }
    let (tag, image) = put(&lab, 860)?;
    for number in 0..lab.nodes.len() {
        let node = lab.start_node(number, Release::V2_3).await?;
        lab.use_mirror(&node)?;
        node.pull_from(Upstream::Faulty, &format!("{PUBLIC}:{tag}"), &image, None).await?;
    }
    assert_sent_once(&lab, &image)
}
