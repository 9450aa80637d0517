//! What goes on working when a part is gone.

use std::time::Duration;

use df_api::task::{Origin, TaskSpec};
use df_testkit::{Content, random_bytes, until};

use crate::cluster::{Cluster, fetch_file, received};

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn without_scheduler_and_manager_pulls_go_on_and_known_seeds_are_asked() {
    let cluster = Cluster::start(5_000_000).await;
    let [known, unknown] = [cluster.image.layers[0].clone(), cluster.image.layers[1].clone()];
    cluster.pull(1, &known).await;
    cluster.platform.scheduler_stop.cancel();
    cluster.platform.manager_stop.cancel();
    let scheduler = cluster.platform.scheduler_addr;
    until("the scheduler is gone", BOUND, async || {
        Ok(tokio::net::TcpStream::connect(scheduler).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(cluster.pull(2, &unknown).await, unknown.bytes);
    assert_eq!(cluster.served_bytes(&unknown), unknown.size_bytes(), "the seed it belongs to is asked, or the origin");
}

#[tokio::test]
async fn when_the_seed_dies_the_origin_is_still_reached() {
    let cluster = Cluster::start(5_000_000).await;
    let layer = cluster.layer().clone();
    cluster.platform.seed_stop.cancel();
    assert_eq!(cluster.pull(1, &layer).await, layer.bytes);
    assert_eq!(cluster.pull(2, &layer).await, layer.bytes);
    assert_eq!(received(cluster.peer(2), &layer).origin_bytes, 0, "peer 1 has it");
}

#[tokio::test]
async fn with_the_registry_gone_a_node_that_was_accepted_gets_cached_blobs_from_its_peers() {
    let mut cluster = Cluster::start(5_000_000).await;
    let [first, second] = [cluster.image.layers[0].clone(), cluster.image.layers[1].clone()];
    cluster.pull(1, &first).await;
    // Node 2 has read the manifest, so it may have what it names, but does not have this blob.
    cluster.pull_manifest(2).await;
    cluster.pull(2, &second).await;
    cluster.registry.stop().await;
    assert_eq!(cluster.pull(2, &first).await, first.bytes);
    assert_eq!(received(cluster.peer(2), &first).origin_bytes, 0);
}

#[tokio::test]
async fn a_parent_that_dies_in_the_middle_is_replaced() {
    let cluster = Cluster::start(16_000_000).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.hold_at(8_000_000));
    let pull = tokio::spawn(cluster.get(1, &layer).send());
    let held = || received(&cluster.platform.seed, &layer).origin_bytes >= 8_000_000;
    until("the seed has half of it", BOUND, async || Ok(held().then_some(()))).await.unwrap();
    let answer = pull.await.unwrap().unwrap();
    cluster.platform.seed_stop.clone().cancel();
    cluster.release(&layer);
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
}

/// Of the same length, so that nothing but the origin's `ETag` tells them apart.
#[tokio::test]
async fn two_versions_of_a_file_are_not_mixed_when_the_seed_dies_between_them() {
    let cluster = Cluster::start(1000).await;
    let origin = cluster.registry.origin();
    let version = |seed: u64| Content::new(random_bytes(seed, 16_000_000));
    origin.put("file", version(1).hold_at(8_000_000));
    let named = Origin { tag: Some("t".to_owned()), ..Origin::new(origin.url("file")) };
    let spec = TaskSpec::new(named, None);
    let pull = fetch_file(cluster.peer(1), origin.url("file"));
    let change = async {
        until("the node has some of it", BOUND, async || {
            let task = cluster.peer(1).peer.task(&spec.id);
            Ok(task.is_some_and(|task| task.received().seed_bytes >= 4_000_000).then_some(()))
        })
        .await
        .unwrap();
        origin.put("file", version(2));
        cluster.platform.seed_stop.cancel();
    };
    let ((mixed, status), ()) = tokio::join!(pull, change);
    assert!(mixed.is_err(), "a body that cannot be whole breaks off: {status:?}");
    let (second, status) = fetch_file(cluster.peer(1), origin.url("file")).await;
    assert!(second == Ok(random_bytes(2, 16_000_000)), "{status:?}");
}
