//! What a daemon's memory is spent on: not on readers that have left, and not on what a registry sends too much of.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use df_testkit::registry::{blob_name, manifest_name};
use df_testkit::{Content, Image, Layer, until};
use tests::process::status_mib;

use crate::lab::Lab;
use crate::node::Node;
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
const READERS: u64 = 24;
/// Of each reader, before it hangs up.
const READ_BYTES: usize = MIB;
/// So that none has its blob when it leaves.
const BLOB_BYTES_PER_SECOND: u64 = 2 * MIB as u64;
/// More than a daemon may have, and then some.
const NONSENSE_BYTES: usize = 256 * MIB;
/// Above what it had before.
const GROWTH_MIB: f64 = 48.0;
const BOUND: Duration = Duration::from_secs(60);

/// A connection that has asked node's mirror for `path` at the faulty registry.
fn ask(path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", 65001))?;
    stream.set_read_timeout(Some(BOUND))?;
    let host = Upstream::Faulty.host();
    write!(stream, "GET /{path}?ns={host} HTTP/1.1\r\nHost: 127.0.0.1:65001\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// How many bytes the answer has, head and all.
async fn bytes_of(node: &Node, path: String) -> anyhow::Result<u64> {
    node.namespace.inside(move || Ok(std::io::copy(&mut ask(&path)?, &mut std::io::sink())?)).await
}

#[tokio::test]
async fn neither_those_who_hang_up_nor_nonsense_of_a_registry_stay_in_memory() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let (faults, node) = (lab.faults()?, &lab.nodes[0]);
    let cluster = lab.cluster_ref()?;
    let seed = cluster.seed_peer.as_ref().context("no seed peer")?;
    let ids = [cluster.dfdaemons[0].id(), seed.id()];
    let resident = || ids.iter().map(|id| status_mib(*id, "VmRSS")).collect::<anyhow::Result<Vec<_>>>();
    let peaks = || ids.iter().map(|id| status_mib(*id, "VmHWM")).collect::<anyhow::Result<Vec<_>>>();
    let warm = Image::build(840, &[Layer::gzip(8 * MIB)])?;
    lab.push_faulty("team/warm:v1", &warm).await?;
    node.pull_from(Upstream::Faulty, "team/warm:v1", &warm, None).await?;
    let before = resident()?;

    let images = (0..READERS).map(|number| Image::build(841 + number, &[Layer::gzip(16 * MIB)]));
    let images = images.collect::<anyhow::Result<Vec<_>>>()?;
    let mut paths = Vec::new();
    for image in &images {
        faults.registry.add("team/left", "v1", image);
        faults.change("team/left", &image.layers[0].digest, |blob| blob.rate(BLOB_BYTES_PER_SECOND));
        paths.push(blob_name("team/left", &image.layers[0].digest));
    }
    let hang_up = node.namespace.inside(move || {
        let mut streams = paths.iter().map(|path| ask(path)).collect::<anyhow::Result<Vec<_>>>()?;
        streams.iter_mut().try_for_each(|stream| Ok(stream.read_exact(&mut vec![0; READ_BYTES])?))
    });
    hang_up.await?;
    let active = |image: &Image| faults.registry.blob_stats("team/left", &image.layers[0].digest).active;
    until("nobody reads at the registry", BOUND, async || Ok(images.iter().all(|it| active(it) == 0).then_some(())))
        .await?;
    let after = resident()?;
    println!("resident MiB of node and seed peer: {before:.1?}, after {READERS} readers have left: {after:.1?}");
    assert!(before.iter().zip(&after).all(|(before, after)| after - before < GROWTH_MIB), "{before:?} {after:?}");

    // Nobody keeps a manifest of this size, and it is passed on: whether to take it is the client's to say.
    let nonsense = || Content::new(vec![b' '; NONSENSE_BYTES]);
    let kind = ("content-type", "application/vnd.oci.image.manifest.v1+json");
    let origin = faults.registry.origin();
    origin.put(&manifest_name("team/huge", "v1"), nonsense().header(kind.0, kind.1));
    origin.put(&manifest_name("team/endless", "v1"), nonsense().header(kind.0, kind.1).without_length());
    for repository in ["team/huge", "team/endless"] {
        let bytes = bytes_of(node, manifest_name(repository, "v1")).await?;
        assert!(bytes > NONSENSE_BYTES as u64, "{repository}: {bytes}");
    }
    let nonsense = peaks()?;
    println!("peaks, after manifests of {} MiB: {nonsense:.1?}", NONSENSE_BYTES / MIB);
    assert!(before.iter().zip(&nonsense).all(|(before, peak)| peak - before < GROWTH_MIB), "{nonsense:?}");
    Ok(())
}
