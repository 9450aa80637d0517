//! A disk that takes nothing more: what is on it is served, and the rest is handed on without being stored.

use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Blob, Cut, FakeRegistry, Image, Layer, SmallDisk};
use http::header::RANGE;

use crate::node::{Node, REPOSITORY, wait_until};

const MIB: u64 = 1024 * 1024;

/// A node whose disk has room for half of the layer, which is the second of its image.
async fn node_on(disk: &SmallDisk) -> (Node, Blob) {
    let node = Node::with(RegistryAccess::Open, |config| config.storage.dir = disk.path().to_owned()).await;
    let image = Image::build(2, &[Layer::tar(16 * MIB as usize)]).unwrap();
    node.registry.add(REPOSITORY, "v2", &image);
    (node, image.layers[0].clone())
}

fn change(registry: &FakeRegistry, blob: &Blob, change: impl Fn(df_testkit::Content) -> df_testkit::Content) {
    registry.origin().change(&blob_name(REPOSITORY, &blob.digest), change);
}

/// Takes all that is left of the disk.
fn fill(disk: &SmallDisk) -> std::path::PathBuf {
    let hog = disk.path().join("somebody-elses");
    // Ends with an error, when the disk is full.
    let filled = std::io::copy(&mut std::io::repeat(1), &mut std::fs::File::create(&hog).unwrap());
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    hog
}

#[tokio::test]
async fn a_disk_that_is_full_at_half_of_a_pull_costs_the_runtime_nothing() {
    let Some(disk) = SmallDisk::mount(12 * MIB).unwrap() else { return };
    let (node, layer) = node_on(&disk).await;
    let small = node.layer().clone();
    assert_eq!(node.get(&node.blob_path(&small)).send().await.unwrap().bytes().await.unwrap(), small.bytes);

    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(layer.size_bytes())));
    assert!(answer.bytes().await.unwrap() == layer.bytes, "wrong bytes");
    let served = node.served(&layer).1;
    assert!(served < layer.size_bytes() * 3 / 2, "what was stored is not fetched again: {served}");
    assert!(!node.daemon.peer.store().is_storing());
    let task = node.daemon.peer.task(&node.task_id(&layer)).unwrap();
    assert!(!task.stored().is_complete() && task.stored().snapshot().held_bytes > 0);

    // A runtime that goes on elsewhere in the content, and one that asks for nothing that is stored.
    let length = layer.bytes.len();
    for range in [5 * MIB as usize..length, length - 1000..length, 14_000_000..14_500_000, 10..2000] {
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = node.get(&node.blob_path(&layer)).header(RANGE, header).send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert!(answer.bytes().await.unwrap() == layer.bytes.slice(range.clone()), "{range:?}");
    }
}

#[tokio::test]
async fn with_a_disk_that_is_full_from_the_start_everything_is_handed_on() {
    let Some(disk) = SmallDisk::mount(4 * MIB).unwrap() else { return };
    let (node, layer) = node_on(&disk).await;
    let kept = node.layer().clone();
    assert_eq!(node.get(&node.blob_path(&kept)).send().await.unwrap().bytes().await.unwrap(), kept.bytes);
    let hog = fill(&disk);
    // What is cached is in use, so that it does not make room.
    let _reading = node.daemon.peer.task(&node.task_id(&kept)).unwrap().stored().content().unwrap();

    for without_ranges in [false, true] {
        if without_ranges {
            change(&node.registry, &layer, df_testkit::Content::without_ranges);
        }
        let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(layer.size_bytes())));
        assert!(answer.bytes().await.unwrap() == layer.bytes, "wrong bytes");
        let part = node.get(&node.blob_path(&layer)).header(RANGE, "bytes=9000000-9000999").send().await.unwrap();
        assert_eq!((part.status().as_u16(), part.content_length()), (206, Some(1000)));
        assert_eq!(part.bytes().await.unwrap(), layer.bytes.slice(9_000_000..9_001_000));
    }
    assert!(!node.daemon.peer.store().is_storing());
    let manifest = node.get(&format!("{REPOSITORY}/manifests/v2")).send().await.unwrap();
    assert_eq!(manifest.status(), 200);
    let before = node.served(&kept).1;
    assert_eq!(node.get(&node.blob_path(&kept)).send().await.unwrap().bytes().await.unwrap(), kept.bytes);
    assert_eq!(node.served(&kept).1, before, "what is on the disk is served from it");
    let beyond = node.get(&node.blob_path(&layer)).header(RANGE, "bytes=99000000-").send().await.unwrap();
    assert_eq!(beyond.status(), 416);

    std::fs::remove_file(hog).unwrap();
    node.daemon.peer.store().keep_house();
    let config = &node.image.config;
    assert_eq!(node.get(&node.blob_path(config)).send().await.unwrap().bytes().await.unwrap(), config.bytes);
    wait_until("it is stored again", || {
        node.daemon.peer.task(&node.task_id(config)).is_some_and(|task| task.stored().is_complete())
    })
    .await;
}

#[tokio::test]
async fn what_is_handed_on_is_resumed_where_it_broke_and_its_failures_keep_their_status() {
    let Some(disk) = SmallDisk::mount(MIB).unwrap() else { return };
    let (node, layer) = node_on(&disk).await;
    fill(&disk);
    change(&node.registry, &layer, |content| content.cut_first(3, 3_000_000, Cut::Reset));
    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    assert!(answer.bytes().await.unwrap() == layer.bytes, "wrong bytes");

    change(&node.registry, &layer, |content| content.status_first(2, 500, None));
    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    assert!(answer.bytes().await.unwrap() == layer.bytes, "wrong bytes");

    change(&node.registry, &layer, |content| content.status_first(u32::MAX, 404, None));
    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_wrong_content_is_not_handed_on_whole() {
    let Some(disk) = SmallDisk::mount(MIB).unwrap() else { return };
    let (node, layer) = node_on(&disk).await;
    fill(&disk);
    change(&node.registry, &layer, |content| content.wrong_bytes_first(u32::MAX));
    let mut answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    let mut given = 0;
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => given += chunk.len() as u64,
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && given < layer.size_bytes(), "{given} bytes of a wrong content were given");

    // A small one is refused while that can be said.
    let config = node.image.config.clone();
    change(&node.registry, &config, |content| content.wrong_bytes_first(u32::MAX));
    assert_eq!(node.get(&node.blob_path(&config)).send().await.unwrap().status(), 502);
}

#[tokio::test]
async fn a_file_without_a_length_is_handed_on_too() {
    let Some(disk) = SmallDisk::mount(4 * MIB).unwrap() else { return };
    let (node, _) = node_on(&disk).await;
    let body = df_testkit::random_bytes(7, 9 * MIB as usize);
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()).without_length());
    assert!(node.fetch("file").await.unwrap() == body, "wrong bytes");
    node.registry.origin().put("other", df_testkit::Content::new(body.clone()));
    assert!(node.fetch("other").await.unwrap() == body, "wrong bytes");
}

#[tokio::test]
async fn a_disk_that_can_only_be_read_is_served_from() {
    let Some(disk) = SmallDisk::mount(12 * MIB).unwrap() else { return };
    let (node, layer) = node_on(&disk).await;
    let kept = node.layer().clone();
    assert_eq!(node.get(&node.blob_path(&kept)).send().await.unwrap().bytes().await.unwrap(), kept.bytes);
    node.stop.cancel();
    node.daemon.stopped().await;
    disk.set_read_only(true).unwrap();

    let mut config = crate::node::config(&node.dir, &node.registry);
    config.storage.dir = disk.path().to_owned();
    let stop = tokio_util::sync::CancellationToken::new();
    let daemon = dfdaemon::Dfdaemon::start(config, stop.clone()).await.unwrap();
    let node = Node { daemon, stop, ..node };
    let served = node.served(&kept).1;
    assert_eq!(node.get(&node.blob_path(&kept)).send().await.unwrap().bytes().await.unwrap(), kept.bytes);
    assert_eq!(node.served(&kept).1, served, "what is on the disk is served from it");
    assert!(node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap() == layer.bytes);
    assert!(!node.daemon.peer.store().is_storing());
    node.stop.cancel();
}
