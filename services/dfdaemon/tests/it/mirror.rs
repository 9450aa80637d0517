//! What a runtime gets through the mirror: the registry's bytes and headers, whole or by range, cold or cached.

use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::sha256_hex;
use futures_util::StreamExt as _;
use proptest::strategy::{Strategy as _, ValueTree as _};
use tokio_util::sync::CancellationToken;

use crate::node::{Node, REPOSITORY};

#[tokio::test]
async fn an_image_comes_as_the_registry_has_it_and_only_once() {
    let node = Node::start(RegistryAccess::Open).await;
    let tag = node.head(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
    let digest = tag.headers()["docker-content-digest"].to_str().unwrap().to_owned();
    assert_eq!(digest, node.image.top().digest);
    assert_eq!(tag.headers()["content-length"], node.image.top().size_bytes().to_string());
    assert_eq!(tag.headers()["oci-namespace"], node.registry.address().to_string());

    for _ in 0..2 {
        let manifest = node.get(&format!("{REPOSITORY}/manifests/{digest}")).send().await.unwrap();
        assert_eq!(manifest.headers()["content-type"], node.image.top().media_type);
        assert_eq!(manifest.headers()["docker-content-digest"], digest);
        assert_eq!(manifest.bytes().await.unwrap(), node.image.top().bytes);
        for blob in node.image.blobs() {
            let answer = node.get(&node.blob_path(blob)).send().await.unwrap();
            assert_eq!((answer.status(), answer.content_length()), (reqwest::StatusCode::OK, Some(blob.size_bytes())));
            assert_eq!(answer.headers()["docker-content-digest"], blob.digest);
            assert_eq!(answer.headers()["x-dragonfly-task-id"], node.task_id(blob).as_str());
            assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
        }
    }
    for blob in node.image.blobs() {
        assert_eq!(node.served(blob), (1, blob.size_bytes()), "{}", blob.digest);
    }
}

#[tokio::test]
async fn a_hundred_askers_cause_one_request() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer();
    let pulls = (0..100).map(|_| async {
        let body = node.get(&node.blob_path(layer)).send().await.unwrap().bytes().await.unwrap();
        sha256_hex(&body)
    });
    let digests: Vec<_> = futures_util::stream::iter(pulls).buffer_unordered(100).collect().await;
    assert!(digests.iter().all(|digest| format!("sha256:{digest}") == layer.digest));
    assert_eq!(node.served(layer), (1, layer.size_bytes()));
}

#[tokio::test]
async fn bytes_pass_through_while_they_arrive() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let name = blob_name(REPOSITORY, &layer.digest);
    node.registry.origin().change(&name, |content| content.hold_at(1_000_000));
    let mut body = node.get(&node.blob_path(&layer)).send().await.unwrap().bytes_stream();
    let mut received = 0;
    // The origin is still holding back two thirds; a runtime is given checked pieces, 256 KiB each.
    while received < 3 * 256 * 1024 {
        received += body.next().await.unwrap().unwrap().len();
    }
    assert_eq!(received, 3 * 256 * 1024);
    node.registry.origin().release(&name);
    while let Some(chunk) = body.next().await {
        received += chunk.unwrap().len();
    }
    assert_eq!(received as u64, layer.size_bytes());
}

#[tokio::test]
async fn a_stream_that_breaks_is_resumed_where_it_broke() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let name = blob_name(REPOSITORY, &layer.digest);
    node.registry.origin().change(&name, |content| content.cut_first(2, 700_000, df_testkit::Cut::Reset));
    let body = node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body, layer.bytes);
    let ranges = node.registry.blob_stats(REPOSITORY, &layer.digest).ranges;
    assert!(!ranges.is_empty() && ranges.iter().all(|range| range != "bytes=0-"), "{ranges:?}");
}

#[tokio::test]
async fn what_is_cached_is_served_when_the_registry_is_gone() {
    let mut node = Node::start(RegistryAccess::Open).await;
    let manifest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
    for path in [format!("{REPOSITORY}/manifests/v1"), manifest.clone(), node.blob_path(node.layer())] {
        assert!(node.get(&path).send().await.unwrap().bytes().await.is_ok());
    }
    node.registry.stop().await;
    for path in [format!("{REPOSITORY}/manifests/v1"), manifest] {
        let answer = node.get(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.bytes().await.unwrap(), node.image.top().bytes);
    }
    let stale = node.head(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
    assert!(stale.headers()["warning"].to_str().unwrap().contains("last known"));
    assert_eq!(stale.headers()["docker-content-digest"], node.image.top().digest);
    let blob = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), node.layer().bytes);
    let unknown = node.get(&format!("{REPOSITORY}/manifests/v2")).send().await.unwrap();
    assert_eq!(unknown.status(), 502);
}

#[tokio::test]
async fn a_restart_keeps_what_was_cached() {
    let node = Node::start(RegistryAccess::Open).await;
    node.get(&node.blob_path(node.layer())).send().await.unwrap().bytes().await.unwrap();
    let Node { daemon, registry, image, http, dir, stop } = node;
    stop.cancel();
    daemon.stopped().await;
    let stop = CancellationToken::new();
    let daemon = dfdaemon::Dfdaemon::start(crate::node::config(&dir, &registry), stop.clone()).await.unwrap();
    let node = Node { daemon, registry, image, http, dir, stop };
    let body = node.get(&node.blob_path(node.layer())).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body, node.layer().bytes);
    assert_eq!(node.served(node.layer()).0, 1);
}

/// Any range, cold or cached: status, headers and bytes as RFC 9110 has them, the same as slicing the blob.
#[tokio::test]
async fn any_range_is_the_same_cold_and_cached() {
    let strategy = (0..3_100_000u64, 0..3_100_000u64, 0..3u8);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let node = Node::start(RegistryAccess::Open).await;
    for round in 0..40 {
        let (a, b, kind) = strategy.new_tree(&mut runner).unwrap().current();
        let blob = &node.layer().bytes;
        let total = blob.len() as u64;
        let (header, expected) = match kind {
            0 => (format!("bytes={}-{}", a.min(b), a.max(b)), (a.min(b), (a.max(b) + 1).min(total))),
            1 => (format!("bytes={a}-"), (a, total)),
            _ => (format!("bytes=-{a}"), (total.saturating_sub(a), total)),
        };
        let answer = node.get(&node.blob_path(node.layer())).header("range", &header).send().await.unwrap();
        if expected.0 >= expected.1 {
            assert_eq!(answer.status(), 416, "{header}");
            assert_eq!(answer.headers()["content-range"], format!("bytes */{total}"));
            continue;
        }
        assert_eq!(answer.status(), 206, "{header}, round {round}");
        let content_range = format!("bytes {}-{}/{total}", expected.0, expected.1 - 1);
        assert_eq!(answer.headers()["content-range"], content_range.as_str());
        assert_eq!(answer.content_length(), Some(expected.1 - expected.0));
        assert_eq!(answer.bytes().await.unwrap(), blob.slice(expected.0 as usize..expected.1 as usize));
    }
    assert_eq!(node.served(node.layer()).0, 1);
}

#[tokio::test]
async fn a_tag_that_moves_is_followed_but_not_within_the_window() {
    for (window_ms, expected_requests) in [(0, 2), (600_000, 1)] {
        let node = Node::with(RegistryAccess::Open, |config| config.proxy.tag_window_ms = window_ms).await;
        let path = format!("{REPOSITORY}/manifests/v1");
        let before = node.get(&path).send().await.unwrap().bytes().await.unwrap();
        let moved = df_testkit::Image::build(9, &[df_testkit::Layer::tar(1000)]).unwrap();
        node.registry.add(REPOSITORY, "v1", &moved);
        let asked = node.registry.manifest_stats(REPOSITORY, "v1").requests;
        let after = node.get(&path).send().await.unwrap();
        let expected = if window_ms == 0 { &moved } else { &node.image };
        assert_eq!(after.headers()["docker-content-digest"], expected.top().digest);
        assert_eq!(after.bytes().await.unwrap(), expected.top().bytes);
        assert_eq!(before, node.image.top().bytes);
        assert_eq!(node.registry.manifest_stats(REPOSITORY, "v1").requests - asked, expected_requests - 1);
    }
}

/// A HEAD and a GET say the same, by tag and by digest, cold and cached.
#[tokio::test]
async fn a_head_says_what_a_get_says() {
    let node = Node::start(RegistryAccess::Open).await;
    let by_digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
    for path in [format!("{REPOSITORY}/manifests/v1"), by_digest, node.blob_path(node.layer())] {
        for round in ["cold", "cached"] {
            let (head, get) = (node.head(&path).send().await.unwrap(), node.get(&path).send().await.unwrap());
            let said = |answer: &reqwest::Response| {
                let mut headers = answer.headers().clone();
                // Of the answer; and of the task, which a HEAD does not begin.
                for own in ["date", "x-request-id"] {
                    headers.remove(own);
                }
                for of_the_task in ["task-id", "task-download-finished", "server-ip"] {
                    headers.remove(format!("x-dragonfly-{of_the_task}"));
                }
                headers
            };
            assert_eq!(said(&head), said(&get), "{path}, {round}");
            get.bytes().await.unwrap();
        }
    }
}

#[tokio::test]
async fn several_ranges_come_in_parts_cold_and_cached() {
    let node = Node::start(RegistryAccess::Open).await;
    let blob = node.layer().bytes.clone();
    let ask = |range: &'static str| node.get(&node.blob_path(node.layer())).header("range", range).send();
    for round in ["cold", "cached"] {
        let answer = ask("bytes=0-1,1000000-1000004,-3").await.unwrap();
        assert_eq!(answer.status(), 206, "{round}");
        let length = answer.content_length().unwrap();
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let body = answer.bytes().await.unwrap();
        assert_eq!(body.len() as u64, length);
        let total = blob.len();
        let mut expected = Vec::new();
        for (start, end) in [(0, 2), (1_000_000, 1_000_005), (total - 3, total)] {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{}/{total}\r\n\r\n",
                end - 1
            );
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&blob[start..end]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert_eq!(body, expected, "{round}");
    }
    // Nobody pays for the same bytes twice, and nobody fails.
    for whole in ["bytes=0-9,5-9", "bytes=9000000-,9000001-"] {
        let answer = ask(whole).await.unwrap();
        assert_eq!(answer.status(), 200, "{whole}");
        assert_eq!(answer.bytes().await.unwrap(), blob);
    }
}

/// The first takes longer than a runtime waits for a first byte.
#[tokio::test]
async fn each_of_several_ranges_may_take_its_time_to_begin() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.first_byte_timeout_ms = 2000).await;
    let layer = node.layer().clone();
    node.registry.origin().change(&blob_name(REPOSITORY, &layer.digest), |content| content.rate(500_000));
    let parts = node.get(&node.blob_path(&layer)).header("range", "bytes=0-1499999,1600000-1699999");
    let answer = parts.send().await.unwrap();
    assert_eq!(answer.status(), 206);
    let body = df_testkit::read_whole(answer).await.unwrap();
    assert!(body.windows(100_000).any(|window| window == &layer.bytes[1_600_000..1_700_000]));
}

#[tokio::test]
async fn a_condition_counts_for_who_sends_it() {
    let node = Node::start(RegistryAccess::Open).await;
    let digest = node.image.top().digest.clone();
    let etag = format!("\"{digest}\"");
    for path in [format!("{REPOSITORY}/manifests/v1"), format!("{REPOSITORY}/manifests/{digest}")] {
        for request in [node.get(&path), node.head(&path)] {
            let ask = |name: &str, value: &str| request.try_clone().unwrap().header(name, value).send();
            let same = ask("if-none-match", &etag).await.unwrap();
            assert_eq!((same.status().as_u16(), &same.headers()["etag"]), (304, &etag.parse().unwrap()), "{path}");
            assert_eq!(ask("if-none-match", "\"other\"").await.unwrap().status(), 200);
            assert_eq!(ask("if-match", "\"other\"").await.unwrap().status(), 412);
            assert_eq!(ask("if-modified-since", "Wed, 21 Oct 2035 07:28:00 GMT").await.unwrap().status(), 200);
        }
    }
    let range =
        |etag: &str| node.get(&node.blob_path(node.layer())).header("range", "bytes=5-9").header("if-range", etag);
    let layer_etag = format!("\"{}\"", node.layer().digest);
    assert_eq!(range(&layer_etag).send().await.unwrap().bytes().await.unwrap(), node.layer().bytes[5..10]);
    assert_eq!(range("\"other\"").send().await.unwrap().bytes().await.unwrap(), node.layer().bytes);
}

#[tokio::test]
async fn a_thousand_of_the_same_cold_question_are_one() {
    let node = Node::start(RegistryAccess::AnonymousToken).await;
    let path = node.blob_path(node.layer());
    let ask = || async { node.get(&path).header("range", "bytes=0-99").send().await.unwrap().bytes().await.unwrap() };
    let all = futures_util::stream::iter(0..1000).map(|_| ask()).buffer_unordered(200);
    let first = node.layer().bytes.slice(0..100);
    assert!(all.all(|body| std::future::ready(body == first)).await);
    let stats = node.registry.blob_stats(REPOSITORY, &node.layer().digest);
    let with_token = stats.authorizations.len() as u64;
    // Whether it may be read is asked with HEAD, once; then it is read, once.
    assert_eq!((with_token, stats.heads - (stats.requests - with_token)), (2, 1), "{stats:?}");
    assert_eq!(node.registry.token_stats().requests, 1);
}

/// A machine that comes back while the registry is down starts its pods all the same.
#[tokio::test]
async fn what_a_public_tag_meant_survives_a_restart() {
    for (access, expected) in [(RegistryAccess::AnonymousToken, 200), (private(), 502)] {
        let node = Node::start(access).await;
        let manifest = format!("{REPOSITORY}/manifests/v1");
        let ask = |node: &Node| node.get(&manifest).header("authorization", "Basic YW5uOnNlY3JldA==").send();
        let as_stranger = |node: &Node| node.get(&manifest).send();
        assert!(ask(&node).await.unwrap().bytes().await.is_ok());
        assert!(as_stranger(&node).await.unwrap().bytes().await.is_ok());
        let Node { daemon, mut registry, image, http, dir, stop } = node;
        stop.cancel();
        daemon.stopped().await;
        let stop = CancellationToken::new();
        let daemon = dfdaemon::Dfdaemon::start(crate::node::config(&dir, &registry), stop.clone()).await.unwrap();
        registry.stop().await;
        let node = Node { daemon, registry, image, http, dir, stop };
        let answer = as_stranger(&node).await.unwrap();
        assert_eq!(answer.status(), expected);
        if expected == 200 {
            assert!(answer.headers().contains_key("warning"));
            assert_eq!(answer.bytes().await.unwrap(), node.image.top().bytes);
        }
    }
}

fn private() -> RegistryAccess {
    RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() }
}

/// A reader of several ranges at once gets the end long before the whole is here, and no runtime waits for longer.
#[tokio::test]
async fn the_end_of_a_blob_does_not_wait_for_its_middle() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let name = blob_name(REPOSITORY, &layer.digest);
    node.registry.origin().change(&name, |content| content.hold_between(1_000_000..1_100_000));
    let total = layer.bytes.len();
    let tail = node.get(&node.blob_path(&layer)).header("range", format!("bytes={}-", total - 1000));
    let answer = tail.send().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes.slice(total - 1000..));
    node.registry.origin().release(&name);
}
