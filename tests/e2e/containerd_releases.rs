//! Every containerd in use pulls every kind of image: all bytes come through its dfdaemon, and a second node takes none
//! from the registry.

use df_testkit::{Image, Layer};

use crate::containerd::Release;
use crate::lab::{Lab, small_image};
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
/// Before 2.1 none asks for parts of a layer; layers with a sha512 digest, which only 2.3 takes, are in `long_digests`.
const RELEASES: [Release; 5] = [Release::Debian, Release::V1_7, Release::V2_1, Release::V2_1Parallel, Release::V2_3];

/// One of each kind, which share no blob with each other nor with those of another seed; nor a tag, which is taken to
/// mean the same for a moment.
fn images(seed: u64) -> anyhow::Result<Vec<(String, Image)>> {
    let build = |kind: u64, layers: &[Layer]| Image::build(seed * 10 + kind, layers);
    let many: Vec<Layer> = (1..=60).map(|number| Layer::gzip(1000 * number)).collect();
    let named = |kind: &str| format!("kind/{kind}:v{seed}");
    Ok(vec![
        (named("index"), build(0, &[Layer::gzip(6 * MIB), Layer::tar(70_000)])?.in_index()),
        (named("docker"), build(1, &[Layer::gzip(2 * MIB), Layer::tar(512)])?.in_docker_types().in_index()),
        (named("docker-plain"), build(2, &[Layer::gzip(100_000)])?.in_docker_types()),
        (named("zstd"), build(3, &[Layer::zstd(3 * MIB), Layer::gzip(10)])?.in_index()),
        (named("nested"), build(4, &[Layer::gzip(MIB)])?.in_index().in_index()),
        (named("many"), build(5, &many)?.in_index()),
    ])
}

/// By CRI and by `ctr`, by tag, by digest and by both.
async fn pull_every_way(node: &Node, name: &str, image: &Image) -> anyhow::Result<()> {
    node.pull(name, image).await?;
    let (repository, _) = name.split_once(':').unwrap_or((name, ""));
    let digest = &image.top().digest;
    node.pull(&format!("{repository}@{digest}"), image).await?;
    node.pull(&format!("{name}@{digest}"), image).await?;
    let reference = format!("{}/{name}", Upstream::Open.name());
    let certs = node.containerd.certs_d().display().to_string();
    node.ctr(&["images", "pull", "--hosts-dir", &certs, &reference]).await?;
    let listed = node.ctr(&["images", "ls"]).await?.out;
    assert!(listed.contains(digest.as_str()), "ctr has another image than {digest}:\n{listed}");
    Ok(())
}

#[tokio::test]
async fn every_containerd_pulls_every_kind_of_image() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    for (seed, release) in (100..).zip(RELEASES) {
        let nodes = lab.take_nodes(release).await?;
        for node in &nodes {
            lab.use_mirror(node)?;
        }
        for (name, image) in images(seed)? {
            lab.push(&name, &image).await?;
            let mark = Mark::now(&lab.registry).await?;
            for node in &nodes {
                pull_every_way(node, &name, &image)
                    .await
                    .map_err(|error| error.context(format!("{release:?}: {name}")))?;
            }
            let traffic = Traffic::since(mark, &lab.registry).await?;
            for node in &nodes {
                assert_eq!(traffic.bytes_to(node.address()), 0, "{release:?}: {name}: {traffic:#?}");
            }
            traffic.assert_each_blob_once_for_ctr(&image);
        }
    }
    Ok(())
}

/// With it, newer ones speak TLS first, and take the plain answer to that as a hint; 1.6 does not.
#[tokio::test]
async fn skip_verify_on_the_mirror_keeps_nobody_from_using_it() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push("team/app:v1", &image).await?;
    let mut nodes = lab.start_releases().await?;
    nodes.push((Release::Debian, lab.nodes.remove(0)));
    for (release, node) in nodes {
        lab.use_mirror(&node)?;
        node.skip_verify(Upstream::Open)?;
        let mark = Mark::now(&lab.registry).await?;
        node.pull("team/app:v1", &image).await?;
        let traffic = Traffic::since(mark, &lab.registry).await?;
        assert_eq!(traffic.bytes_to(node.address()), 0, "{release:?}: {traffic:#?}");
    }
    Ok(())
}
