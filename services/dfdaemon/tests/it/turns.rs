//! Requests of the mirror and the proxy that no task makes, among all that are made at one origin.

use df_testkit::registry::{RegistryAccess, blob_name, manifest_name};
use df_testkit::{Content, random_bytes};
use reqwest::StatusCode;

use crate::node::{Node, REPOSITORY, wait_until};
use crate::proxied::{all, through};

/// Its blobs come straight from the registry, two at a time.
#[tokio::test]
async fn what_is_passed_on_keeps_to_the_limit_of_requests_at_one_origin() {
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.concurrency_per_origin = 2).await;
    let (origin, name) = (node.registry.origin(), blob_name(REPOSITORY, &node.layer().digest));
    origin.change(&name, |content| content.hold_at(1_000_000));
    let asks = (0..6).map(|_| async {
        let request = node.get(&node.blob_path(node.layer())).header("x-dragonfly-use-p2p", "false");
        request.send().await.unwrap().bytes().await.unwrap()
    });
    let released = async {
        wait_until("two are at the registry", || origin.stats(&name).active == 2).await;
        origin.release(&name);
    };
    let (bodies, ()) = tokio::join!(futures_util::future::join_all(asks), released);
    assert!(bodies.iter().all(|body| *body == node.layer().bytes));
    assert_eq!(origin.stats(&name).most_active, 2);
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_by_the_mirror_and_by_the_tasks() {
    let node = Node::start(RegistryAccess::Open).await;
    let origin = node.registry.origin();
    origin.change(&manifest_name(REPOSITORY, "v1"), |content| content.status_first(1000, 503, Some("60")));
    for _ in 0..2 {
        let answer = node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"60".parse().unwrap())
        );
        let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(body["errors"][0]["code"].is_string(), "{body}");
    }
    assert_eq!(node.registry.manifest_stats(REPOSITORY, "v1").requests, 1);
    let blob = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(blob.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(node.registry.blob_stats(REPOSITORY, &node.layer().digest).requests, 0);
    origin.put("file", Content::new("file"));
    assert!(node.fetch("file").await.unwrap_err().contains("503"));
    assert_eq!(origin.stats("file").requests, 0);
    // What is passed on is its sender's to ask.
    assert_eq!(through(&node).get(origin.url("file")).send().await.unwrap().text().await.unwrap(), "file");
}

#[tokio::test]
async fn a_question_of_the_proxy_is_not_asked_where_its_server_wants_to_be_left_alone() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.rules = all()).await;
    let (origin, client) = (node.registry.origin(), through(&node));
    origin.put("busy", Content::new("busy").status_first(1000, 429, Some("60")));
    origin.put("file", Content::new(random_bytes(1, 1000)));
    let answer = client.get(origin.url("busy")).send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"60".parse().unwrap())
    );
    let answer = client.get(origin.url("file")).send().await.unwrap();
    assert_eq!((answer.status(), answer.headers().contains_key("x-dragonfly-task-id")), (StatusCode::OK, false));
    assert_eq!(origin.stats("file").requests, 1, "the client's own, without a question before it");
}
