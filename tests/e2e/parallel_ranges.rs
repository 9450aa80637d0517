//! containerd that asks for a layer in four open-ended ranges at once, and hangs up after each.

use std::time::Duration;

use df_testkit::{Cut, Image, Layer, until};

use crate::containerd::Release;
use crate::lab::Lab;
use crate::recorder::{Exchange, Recorder};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
const BOUND: Duration = Duration::from_secs(60);
const REPOSITORY: &str = "team/parallel";

#[tokio::test]
async fn ranges_in_parallel_survive_a_source_that_fails_and_cost_each_byte_once() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let faults = lab.faults()?;
    let node = lab.start_node(0, Release::V2_1Parallel).await?;
    let recorder = Recorder::start(&node.namespace).await?;
    lab.use_mirror_at(Recorder::URL, &node)?;
    let image = Image::build(830, &[Layer::gzip(24 * MIB)])?.in_index();
    let layer = &image.layers[0];
    lab.push_faulty(&format!("{REPOSITORY}:v1"), &image).await?;
    // The registry's stream breaks twice, and the seed peer's once.
    faults.change(REPOSITORY, &layer.digest, |blob| blob.rate(12 << 20).cut_first(2, 3_500_000, Cut::Fin));
    let mark = Mark::now(&lab.registry).await?;
    let disturb = async {
        recorder.until_blob_bytes(6 * MIB as u64).await?;
        faults.seed_line.sever(Cut::Reset);
        anyhow::Ok(())
    };
    let name = format!("{REPOSITORY}:v1");
    let (pulled, disturbed) = tokio::join!(node.pull_from(Upstream::Faulty, &name, &image, None), disturb);
    disturbed.and(pulled)?;
    let seen = recorder.blobs();
    let ranges = seen.iter().filter(|blob| blob.path.ends_with(&layer.digest) && blob.range.is_some()).count();
    assert!(ranges >= 24, "it was not asked for in parts: {seen:#?}");
    let traffic = Traffic::since(mark, &lab.registry).await?;
    assert_eq!(traffic.bytes_to(node.address()), 0, "{traffic:#?}");
    let sent = faults.registry.blob_stats(REPOSITORY, &layer.digest).bytes;
    println!("{ranges} ranges; the registry sent {:.4} of the layer", sent as f64 / layer.size_bytes() as f64);
    assert!(sent * 100 <= layer.size_bytes() * 102, "{sent} of {} bytes", layer.size_bytes());

    // Whose reader has gone ends: nothing is fetched for nobody.
    let image = Image::build(831, &[Layer::gzip(64 * MIB)])?;
    let layer = &image.layers[0];
    lab.push_faulty(&format!("{REPOSITORY}:v2"), &image).await?;
    // In one stream: between two there would be a moment without any.
    faults.change(REPOSITORY, &layer.digest, |blob| blob.without_ranges().rate(1 << 20));
    recorder.clear();
    let name = format!("{REPOSITORY}:v2");
    tokio::select! {
        pulled = node.pull_from(Upstream::Faulty, &name, &image, None) => anyhow::bail!("it has ended: {pulled:?}"),
        begun = recorder.until_blob_bytes(MIB as u64) => begun?,
    }
    // crictl is gone, and containerd ends its pull.
    let over = |seen: &[Exchange]| seen.iter().all(Exchange::is_over);
    recorder.until("containerd has hung up", over).await?;
    until("nobody fetches the layer any more", BOUND, async || {
        Ok((faults.registry.blob_stats(REPOSITORY, &layer.digest).active == 0).then_some(()))
    })
    .await?;
    assert!(faults.registry.blob_stats(REPOSITORY, &layer.digest).bytes < layer.size_bytes());
    Ok(())
}
