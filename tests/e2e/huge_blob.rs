//! A blob of 5 GiB: no number on its way has 32 bits. It is sparse at the registry and read into nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::ensure;
use tests::netns::Namespace;

use crate::command::run;
use crate::lab::Lab;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const BYTES: u64 = 5 << 30;
/// Zeros besides.
const MARKS: [(u64, &[u8]); 4] =
    [(0, b"first"), ((1 << 31) - 4, b"around 2 GiB"), ((1 << 32) - 4, b"around 4 GiB"), (BYTES - 4, b"last")];
const HEX: &str = "bb7fa2e157c89328a6c876de619da42a39904138b5e7b9f5f44e9a65177c4818";

/// As docker-registry keeps them: pushing it would write it out.
fn put_into_store(folder: &Path) -> anyhow::Result<()> {
    let store = folder.join("docker-registry/docker/registry/v2");
    let blob = store.join("blobs/sha256").join(&HEX[..2]).join(HEX);
    std::fs::create_dir_all(&blob)?;
    let data = File::create(blob.join("data"))?;
    data.set_len(BYTES)?;
    for (offset, mark) in MARKS {
        data.write_all_at(mark, offset)?;
    }
    let link = store.join("repositories/team/huge/_layers/sha256").join(HEX);
    std::fs::create_dir_all(&link)?;
    Ok(std::fs::write(link.join("link"), format!("sha256:{HEX}"))?)
}

/// What curl says of an answer whose body nobody keeps: status, bytes.
async fn read(node: &Namespace, range: Option<&str>, into: &str) -> anyhow::Result<String> {
    let url = format!("http://127.0.0.1:65001/v2/team/huge/blobs/sha256:{HEX}?ns={}", Upstream::Open.name());
    let mut arguments = vec!["-sS", &url, "-o", into, "-w", "%{http_code} %{size_download}"];
    arguments.extend(range.into_iter().flat_map(|range| ["-r", range]));
    Ok(run(node, "curl", &arguments, &[]).await?.out)
}

#[tokio::test]
async fn a_blob_of_5_gib_arrives_whole_and_in_parts_and_at_a_second_node_from_the_first() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_without_seed().await? else { return Ok(()) };
    put_into_store(lab.folder())?;
    let node = &lab.nodes[0].namespace;
    let part = lab.folder().join("part").display().to_string();
    let parts = async |marks: &[(u64, &[u8])]| {
        for (offset, mark) in marks {
            let range = format!("{offset}-{}", offset + mark.len() as u64 - 1);
            let answer = read(node, Some(&range), &part).await?;
            ensure!(answer == format!("206 {}", mark.len()), "{range}: {answer}");
            ensure!(std::fs::read(&part)? == *mark, "{range} has other bytes");
        }
        anyhow::Ok(())
    };
    // Cold, then from the disk. The end is held back until the digest matches, for longer than a client is let wait.
    parts(&MARKS[..3]).await?;
    let whole = read(node, None, "/dev/null").await?;
    ensure!(whole == format!("200 {BYTES}"), "the whole: {whole}");
    parts(&MARKS).await?;
    let behind = read(node, Some(&format!("{BYTES}-")), &part).await?;
    ensure!(behind.starts_with("416 "), "behind the end: {behind}");

    let mark = Mark::now(&lab.registry).await?;
    let from_the_first = read(&lab.nodes[1].namespace, None, "/dev/null").await?;
    ensure!(from_the_first == format!("200 {BYTES}"), "at the second node: {from_the_first}");
    let traffic = Traffic::since(mark, &lab.registry).await?;
    ensure!(traffic.bytes_to(lab.nodes[1].address()) == 0, "the second node asked the registry: {traffic:#?}");
    Ok(())
}
