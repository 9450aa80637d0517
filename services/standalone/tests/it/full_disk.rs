//! A node whose disk is full is still served by its cluster.

use std::os::unix::fs::FileExt as _;

use df_testkit::SmallDisk;
use df_testkit::registry::RegistryAccess;
use dfdaemon::Dfdaemon;

use crate::cluster::{Cluster, received, task_id};

const MIB: usize = 1024 * 1024;

/// The first peer has a disk of 8 MiB.
async fn start(disk: &SmallDisk) -> Cluster {
    Cluster::changed(RegistryAccess::Open, 24 * MIB, |options| {
        std::os::unix::fs::symlink(disk.path(), options.dir.join("peer-1")).unwrap();
    })
    .await
}

#[tokio::test]
async fn a_node_whose_disk_fills_up_reads_the_rest_from_the_seed() {
    let Some(disk) = SmallDisk::mount(8 * MIB as u64).unwrap() else { return };
    let cluster = start(&disk).await;
    let layer = cluster.layer().clone();
    let (first, second) = tokio::join!(cluster.pull(1, &layer), cluster.pull(2, &layer));
    assert!(first == layer.bytes && second == layer.bytes, "wrong bytes");
    assert!(!cluster.peer(1).peer.store().is_storing());
    assert_eq!(received(cluster.peer(1), &layer).origin_bytes, 0);
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes(), "the origin was asked once");
    let scheduler = cluster.platform.scheduler_client().unwrap();
    let said =
        async || Ok((scheduler.list_hosts().await?.iter().filter(|host| !host.storing).count() == 1).then_some(()));
    df_testkit::until("the scheduler knows of the full disk", df_testkit::STANDSTILL, said).await.unwrap();

    // Again, although nothing can be stored; then without the seed, and at last without anybody.
    assert!(cluster.pull(1, &layer).await == layer.bytes, "wrong bytes");
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
    cluster.platform.seed_stop.cancel();
    assert!(cluster.pull(1, &layer).await == layer.bytes, "wrong bytes");
}

#[tokio::test]
async fn what_a_seed_hands_on_wrong_is_not_given_whole_and_the_origin_is_asked_next() {
    let Some(disk) = SmallDisk::mount(8 * MIB as u64).unwrap() else { return };
    let cluster = start(&disk).await;
    let layer = cluster.layer().clone();
    assert!(cluster.pull(2, &layer).await == layer.bytes, "wrong bytes");
    let id = task_id(&layer);
    let seed = &cluster.platform.seed;
    wait_until_complete(seed, &id).await;
    let content =
        seed.peer.config().storage_dir.join("tasks").join(&id.as_str()[..2]).join(id.as_str()).join("content");
    let flipped = !layer.bytes[20 * MIB];
    std::fs::File::options().write(true).open(content).unwrap().write_all_at(&[flipped], 20 * MIB as u64).unwrap();

    let mut answer = cluster.get(1, &layer).send().await.unwrap();
    let (mut given, mut broken) = (0, false);
    while !broken {
        match answer.chunk().await {
            Ok(Some(chunk)) => given += chunk.len() as u64,
            Ok(None) => break,
            Err(_) => broken = true,
        }
    }
    assert!(broken && given < layer.size_bytes(), "{given} bytes of a wrong content were given");
    assert!(cluster.pull(1, &layer).await == layer.bytes, "wrong bytes");
    assert!(cluster.served_bytes(&layer) > layer.size_bytes(), "this time of the origin");
}

async fn wait_until_complete(seed: &Dfdaemon, id: &df_api::TaskId) {
    let complete = || seed.peer.task(id).is_some_and(|task| task.stored().is_complete());
    let check = async || Ok(complete().then_some(()));
    df_testkit::until("the seed has all of it", std::time::Duration::from_secs(30), check).await.unwrap();
}
