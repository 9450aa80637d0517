//! Origins as they are: with ranges and without, with a length and without, here and behind redirects.

use df_api::ByteRange;
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, Cut, FakeOrigin, random_bytes};

use crate::node::{Node, wait_until};

const MIB: u64 = 1 << 20;

async fn fetch(node: &Node, content: Content) -> Result<bytes::Bytes, String> {
    node.registry.origin().put("file", content);
    node.fetch("file").await
}

#[tokio::test]
async fn a_small_content_costs_one_request() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(1, 3_000_000);
    assert_eq!(fetch(&node, Content::new(body.clone())).await.unwrap(), body);
    let stats = node.registry.origin().stats("file");
    assert_eq!((stats.requests, stats.bytes), (1, 3_000_000));
    assert_eq!(stats.ranges, ["bytes=0-16777215"]);
    assert_eq!(stats.headers[0]["accept-encoding"], "identity");
}

#[tokio::test]
async fn a_large_content_comes_in_several_ranges_at_once_and_each_byte_once() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(1, 40 * MIB as usize);
    node.registry.origin().put("file", Content::new(body.clone()).hold_at(16 * MIB));
    let released = async {
        wait_until("two ranges are asked at once", || node.registry.origin().stats("file").active >= 2).await;
        node.registry.origin().release("file");
    };
    let (fetched, ()) = tokio::join!(node.fetch("file"), released);
    assert!(fetched.unwrap() == body);
    let mut stats = node.registry.origin().stats("file");
    stats.ranges.sort();
    assert_eq!(stats.ranges, ["bytes=0-16777215", "bytes=16777216-33554431", "bytes=33554432-41943039"]);
    assert_eq!(stats.bytes, 40 * MIB);
}

#[tokio::test]
async fn a_far_range_does_not_wait_for_what_lies_before_it() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(1, 100 * MIB as usize);
    let content = Content::new(body.clone()).hold_between(2 * MIB..90 * MIB);
    node.registry.origin().put("file", content);
    let id = node.create("file").await.unwrap();
    let range = ByteRange { start: 95 * MIB, end: 96 * MIB };
    let far = node.client().get_task_content(&id, Some(range)).await.unwrap().bytes().await.unwrap();
    assert!(far == body.slice(95 * MIB as usize..96 * MIB as usize));
    node.registry.origin().release("file");
    let whole = node.client().get_task_content(&id, None).await.unwrap().bytes().await.unwrap();
    assert!(whole == body);
    assert_eq!(node.registry.origin().stats("file").bytes, 100 * MIB);
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
async fn an_origin_that_does_not_say_what_a_part_is_of_is_asked_for_the_whole() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(5, 20 * MIB as usize);
    let content = Content::new(body.clone()).header("content-range", "bytes 0-16777215/*");
    assert!(fetch(&node, content).await.unwrap() == body);
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_without_the_credential() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(store.base_url())).await;
    let body = random_bytes(4, 40 * MIB as usize);
    store.put("elsewhere", Content::new(body.clone()));
    let front = Content::new("").redirect_to(&store.url("elsewhere"));
    node.registry.origin().put("file", front.require_authorization("Bearer mine", "Bearer realm=\"x\""));
    assert!(node.fetch_with("file", Some("Bearer mine")).await.unwrap() == body);
    assert_eq!(node.registry.origin().stats("file").requests, 1);
    let stats = store.stats("elsewhere");
    assert_eq!((stats.requests, stats.bytes, stats.authorizations.len()), (3, 40 * MIB, 0));
}

#[tokio::test]
async fn a_redirect_that_has_expired_is_asked_for_again() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.allow.push(store.base_url());
        config.download.origin_streams = 1;
    })
    .await;
    let body = random_bytes(4, 20 * MIB as usize);
    store.put("elsewhere", Content::new(body.clone()).hold_at(MIB));
    node.registry.origin().put("file", Content::new("").redirect_to(&store.url("elsewhere")));
    let expired = async {
        wait_until("the first range is on its way", || store.stats("elsewhere").bytes == MIB).await;
        store.change("elsewhere", |content| content.status_first(1, 403, None));
        store.release("elsewhere");
    };
    let (fetched, ()) = tokio::join!(node.fetch("file"), expired);
    assert!(fetched.unwrap() == body);
    assert_eq!(node.registry.origin().stats("file").requests, 2);
    assert_eq!(store.stats("elsewhere").requests, 3);
}

#[tokio::test]
async fn a_redirect_into_the_private_network_is_not_followed() {
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new("").redirect_to("http://127.0.0.1:1/secret")).await.unwrap_err();
    assert!(refused.contains("not allowed"), "{refused}");
}
