//! Origins that know no ranges, tell no length, or answer only at the second try.

use df_api::dfdaemon::CreateTaskRequest;
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, Cut, random_bytes};

use crate::node::Node;

async fn fetch(node: &Node, content: Content) -> Result<bytes::Bytes, String> {
    node.registry.origin().put("file", content);
    let client =
        DfdaemonClient::new(Transport::new(&format!("http://{}", node.daemon.local_addr), http_client()).unwrap());
    let request = CreateTaskRequest {
        url: node.registry.origin().url("file"),
        digest: None,
        tag: None,
        application: None,
        authorization: None,
    };
    let id = client.create_task(&request).await.map_err(|error| error.to_string())?.id;
    let response = client.get_task_content(&id, None).await.map_err(|error| error.to_string())?;
    response.bytes().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_origin_without_a_length_is_read_to_its_end() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(1, 9_000_000);
    assert_eq!(fetch(&node, Content::new(body.clone()).without_length()).await.unwrap(), body);
}

#[tokio::test]
async fn an_empty_content_is_a_content() {
    let node = Node::start(RegistryAccess::Open).await;
    assert_eq!(fetch(&node, Content::new("")).await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_origin_without_ranges_is_asked_again_from_the_start() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(2, 3_000_000);
    let content = Content::new(body.clone()).without_ranges().cut_first(2, 1_500_000, Cut::Fin);
    assert_eq!(fetch(&node, content).await.unwrap(), body);
    assert_eq!(node.registry.origin().stats("file").requests, 3);
}

#[tokio::test]
async fn errors_that_may_pass_are_retried_and_others_are_not() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(3, 1000);
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(2, 503, None)).await.unwrap(), body);
    let node = Node::start(RegistryAccess::Open).await;
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(1, 429, Some("0"))).await.unwrap(), body);
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new(body).status_first(1, 410, None)).await.unwrap_err();
    assert!(refused.contains("410"), "{refused}");
    assert_eq!(node.registry.origin().stats("file").requests, 1);
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(4, 300_000);
    node.registry.origin().put("elsewhere", Content::new(body.clone()));
    assert_eq!(fetch(&node, Content::new("").redirect_to("/elsewhere")).await.unwrap(), body);
}

#[tokio::test]
async fn a_redirect_into_the_private_network_is_not() {
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new("").redirect_to("http://127.0.0.1:1/secret")).await.unwrap_err();
    assert!(refused.contains("not allowed"), "{refused}");
}
