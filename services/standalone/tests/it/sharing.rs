//! The origin is asked once per cluster, and every other byte comes from a peer.

use df_api::dfdaemon::TaskStatus;
use df_api::scheduler::PeerState;
use df_client::{ManagerClient, Transport, http_client};
use df_testkit::{Content, RegistryAccess, random_bytes, until};
use dfdaemon::Dfdaemon;
use std::time::Duration;

use crate::cluster::{Cluster, received, task_id};

const BOUND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_small_content_comes_from_its_seed_whole_and_from_the_origin_once() {
    let cluster = Cluster::start(1_000_000).await;
    let small = cluster.image.layers[1].clone();
    for peer in [1, 2] {
        assert_eq!(cluster.pull(peer, &small).await, small.bytes);
        assert_eq!(received(cluster.peer(peer), &small).origin_bytes, 0);
    }
    assert_eq!(cluster.served_bytes(&small), small.size_bytes());
    assert_eq!(received(cluster.peer(1), &small).seed_bytes, small.size_bytes());
}

#[tokio::test]
async fn a_second_node_takes_nothing_from_the_origin() {
    let cluster = Cluster::start(9_000_000).await;
    for blob in cluster.image.blobs() {
        for peer in [1, 2] {
            assert_eq!(cluster.pull(peer, blob).await, blob.bytes);
            assert_eq!(received(cluster.peer(peer), blob).origin_bytes, 0);
        }
        assert_eq!(received(&cluster.platform.seed, blob).origin_bytes, blob.size_bytes());
        assert_eq!(cluster.served_bytes(blob), blob.size_bytes());
    }
    let view = cluster.platform.scheduler_client().unwrap().get_task(&task_id(cluster.layer())).await.unwrap();
    assert!(view.peers.iter().all(|peer| peer.state == PeerState::Complete), "{view:?}");
    assert_eq!(view.peers.len(), 3);
}

#[tokio::test]
async fn nodes_that_ask_at_the_same_instant_cause_one_fetch() {
    let cluster = Cluster::start(9_000_000).await;
    let layer = cluster.layer().clone();
    let asks = (0..20).map(|i| cluster.pull(1 + i % 2, &layer));
    for body in futures_util::future::join_all(asks).await {
        assert_eq!(body, layer.bytes);
    }
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
    let seeds = received(&cluster.platform.seed, &layer);
    assert_eq!(seeds.origin_bytes, layer.size_bytes());
}

#[tokio::test]
async fn the_manager_shows_the_cluster_alive() {
    let cluster = Cluster::start(1000).await;
    let base = format!("http://{}", cluster.platform.manager_addr);
    let anonymous = ManagerClient::new(Transport::new(&base, http_client()).unwrap());
    let sign_in = df_api::manager::SignInRequest { name: "root".to_owned(), password: "dragonfly".to_owned() };
    let token = anonymous.sign_in(&sign_in).await.unwrap().token;
    let root = ManagerClient::new(Transport::new(&base, http_client()).unwrap().with_bearer(Some(token)));
    assert_eq!(root.list_clusters().await.unwrap()[0].name, "cluster-1");
    assert_eq!(root.list_schedulers().await.unwrap().len(), 1);
    until("the seed peer is listed", BOUND, async || Ok((root.list_seed_peers().await?.len() == 1).then_some(())))
        .await
        .unwrap();
}

async fn fetch_file(daemon: &Dfdaemon, url: String) -> (bytes::Bytes, TaskStatus) {
    let (body, status) = crate::cluster::fetch_file(daemon, url).await;
    (body.unwrap(), status)
}

/// Two programs of two nodes.
#[tokio::test]
async fn files_are_shared_as_blobs_are() {
    let cluster = Cluster::start(1000).await;
    let origin = cluster.registry.origin();
    for (name, content) in [
        ("known", Content::new(random_bytes(5, 6_000_000))),
        ("unknown", Content::new(random_bytes(6, 9_000_000)).without_length()),
    ] {
        origin.put(name, content);
        let mut bodies = Vec::new();
        for peer in [1, 2] {
            let (body, status) = fetch_file(cluster.peer(peer), origin.url(name)).await;
            let got = (status.received.origin_bytes, status.held_bytes);
            assert_eq!(got, (0, body.len() as u64), "{name} at peer {peer}");
            bodies.push(body);
        }
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(origin.stats(name).bytes, bodies[0].len() as u64);
    }
}

/// Slower than children wait for parents when no scheduler tells them to.
#[tokio::test]
async fn an_origin_that_is_slow_to_answer_is_asked_once_all_the_same() {
    let cluster = Cluster::changed(RegistryAccess::Open, 1000, |options| options.peers = 8).await;
    let (origin, right) = (cluster.registry.origin(), random_bytes(7, 9_000_000));
    origin.put("slow", Content::new(right.clone()).first_byte_delay(Duration::from_secs(7)));
    let asks = (1..=8).map(|peer| fetch_file(cluster.peer(peer), origin.url("slow")));
    for (body, status) in futures_util::future::join_all(asks).await {
        assert!(body == right, "wrong bytes");
        assert_eq!(status.received.origin_bytes, 0);
    }
    assert_eq!(origin.stats("slow").bytes, right.len() as u64);
}

#[tokio::test]
async fn a_node_that_has_removed_a_blob_is_no_longer_named_as_its_parent() {
    let cluster = Cluster::start(1_000_000).await;
    let layer = cluster.layer().clone();
    cluster.pull(1, &layer).await;
    let id = task_id(&layer);
    let store = cluster.peer(1).peer.store();
    let removed = store.remove(&store.get(&id).unwrap()).unwrap().unwrap();
    std::fs::remove_dir_all(removed).unwrap();
    let scheduler = cluster.platform.scheduler_client().unwrap();
    until("the scheduler has forgotten its copy", BOUND, async || {
        let peers = scheduler.get_task(&id).await?.peers;
        Ok(peers.iter().all(|peer| !peer.host_id.as_str().starts_with("peer-1-")).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(cluster.pull(2, &layer).await, layer.bytes);
    assert_eq!(cluster.pull(1, &layer).await, layer.bytes);
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
}
