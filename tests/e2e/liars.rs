//! What comes of a parent may be wrong: nobody gets an answer that is whole and wrong, and pulls succeed.

use anyhow::Context as _;
use df_testkit::{Faults, Image, Layer};

use crate::lab::Lab;
use crate::recorder::{End, Exchange, Recorder};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
/// Some in every piece; headers and lists of digests are shorter.
const FLIP_EVERY: u64 = 500_000;

#[tokio::test]
async fn wrong_bytes_of_a_parent_never_make_a_whole_answer() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let (faults, node) = (lab.faults()?, &lab.nodes[0]);
    let recorder = Recorder::start(&node.namespace).await?;
    lab.use_mirror_at(Recorder::URL, node)?;
    // The seed peer, which alone has it; and the other node, beside a seed peer that is honest.
    for (seed, line, alone) in [(820, &faults.seed_line, true), (821, &faults.other_line, false)] {
        let at = || format!("the only parent lies: {alone}");
        let image = Image::build(seed, &[Layer::gzip(20 * MIB), Layer::tar(2 * MIB)])?.in_index();
        let name = format!("team/lied:v{seed}");
        lab.push_faulty(&name, &image).await?;
        if !alone {
            lab.nodes[1].pull_from(Upstream::Faulty, &name, &image, None).await?;
        }
        recorder.clear();
        let mark = Mark::now(&lab.registry).await?;
        let before = line.stats().bytes_flipped;
        line.set(Faults { flip_every: Some(FLIP_EVERY), ..Faults::default() }).await?;
        node.pull_from(Upstream::Faulty, &name, &image, None).await.with_context(at)?;
        line.set(Faults::default()).await?;
        let flipped = line.stats().bytes_flipped - before;
        assert!(flipped > 0, "{}: the liar was not asked", at());
        // Had an answer been whole and wrong, containerd would have failed the pull, and asked anew.
        let seen = recorder.blobs();
        for layer in &image.layers {
            let of_layer: Vec<&Exchange> = seen.iter().filter(|blob| blob.path.ends_with(&layer.digest)).collect();
            let whole = of_layer.iter().filter(|blob| blob.status == 200 && blob.end == End::Whole).count();
            assert!(whole <= 1 && of_layer.iter().all(|blob| blob.end != End::Reset), "{}: {of_layer:#?}", at());
        }
        let traffic = Traffic::since(mark, &lab.registry).await?;
        println!(
            "{}: {flipped} wrong bytes, {} requests for blobs, {} bytes of the next host",
            at(),
            seen.len(),
            traffic.bytes_to(node.address())
        );
        assert_eq!(traffic.bytes_to(node.address()), 0, "{}: {traffic:#?}", at());
    }
    Ok(())
}
