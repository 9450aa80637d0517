//! What leaves a node, and what does not.

use base64::Engine as _;
use df_api::TaskId;
use df_client::{DfdaemonClient, SchedulerClient, Transport, http_client};
use df_testkit::Blob;
use df_testkit::registry::RegistryAccess;
use std::time::Duration;

use crate::cluster::{Cluster, received, received_of, task_id};

/// What is private is another task than what is public.
fn private_id(answer: &reqwest::Response, blob: &Blob) -> TaskId {
    let id = answer.headers()["x-dragonfly-task-id"].to_str().unwrap().parse().unwrap();
    assert_ne!(id, task_id(blob));
    id
}

#[tokio::test]
async fn basic_credentials_stay_on_the_node_and_it_fetches_itself() {
    let access = RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::with(access, 3_000_000).await;
    let layer = cluster.layer().clone();
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ann:secret"));
    let mut ids = Vec::new();
    for peer in [1, 2] {
        let answer = cluster.get(peer, &layer).header("authorization", &basic).send().await.unwrap();
        ids.push(private_id(&answer, &layer));
        assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    }
    assert_eq!(ids[0], ids[1]);
    let from_origin = |daemon| received_of(daemon, &ids[0]).origin_bytes;
    assert_eq!(from_origin(&cluster.platform.seed), 0);
    assert_eq!(from_origin(cluster.peer(1)), layer.size_bytes());
    assert_eq!(from_origin(cluster.peer(2)), 0);
    assert_eq!(cluster.get(2, &layer).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_bearer_token_travels_to_the_seed() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::with(access, 3_000_000).await;
    let layer = cluster.layer().clone();
    let challenge = cluster.get(1, &layer).send().await.unwrap();
    assert_eq!(challenge.status(), 401);
    let header = challenge.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let realm = header.split('"').nth(1).unwrap();
    let token: serde_json::Value =
        cluster.http.get(realm).basic_auth("ann", Some("secret")).send().await.unwrap().json().await.unwrap();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let answer = cluster.get(1, &layer).header("authorization", bearer).send().await.unwrap();
    let id = private_id(&answer, &layer);
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    assert_eq!(received_of(&cluster.platform.seed, &id).origin_bytes, layer.size_bytes());
}

#[tokio::test]
async fn strangers_get_nothing_from_scheduler_and_peers() {
    let cluster = Cluster::start(1_000_000).await;
    cluster.pull(1, cluster.layer()).await;
    let id = task_id(cluster.layer());
    let url = |address| format!("http://{address}");
    for token in [None, Some("nonsense".to_owned())] {
        let transport = |address| Transport::new(&url(address), http_client()).unwrap().with_bearer(token.clone());
        let scheduler = SchedulerClient::new(transport(cluster.platform.scheduler_addr));
        assert_eq!(scheduler.get_task(&id).await.unwrap_err().status(), Some(401));
        let peer = DfdaemonClient::new(transport(cluster.peer(1).peer_addr));
        assert_eq!(peer.list_pieces(&id, 0, Duration::ZERO).await.unwrap_err().status(), Some(401));
        assert_eq!(peer.get_task_content(&id, None).await.unwrap_err().status(), Some(401));
    }
}

/// The incumbent's priority 3.
#[tokio::test]
async fn a_node_that_wishes_to_asks_the_origin_itself() {
    let cluster = Cluster::start(3_000_000).await;
    let layer = cluster.layer().clone();
    let answer = cluster.get(1, &layer).header("x-dragonfly-priority", "3").send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    assert_eq!(received(&cluster.platform.seed, &layer).origin_bytes, 0);
    assert_eq!(received(cluster.peer(1), &layer).origin_bytes, layer.size_bytes());
}
