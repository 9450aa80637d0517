//! Tasks over HTTP: what programs of this node and other peers see.

use df_api::dfdaemon::CreateTaskRequest;
use df_api::task::{Origin, TaskSpec};
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::read_whole;
use df_testkit::registry::RegistryAccess;
use reqwest::StatusCode;
use serde_json::Value;
use std::time::Duration;

use crate::node::{Node, wait_until};

fn client(address: std::net::SocketAddr) -> DfdaemonClient {
    DfdaemonClient::new(Transport::new(&format!("http://{address}"), http_client()).unwrap())
}

fn request(url: &str) -> CreateTaskRequest {
    CreateTaskRequest::new(url)
}

#[tokio::test]
async fn pieces_and_their_digests_are_told_to_peers() {
    let node = Node::start(RegistryAccess::Open).await;
    node.get(&node.blob_path(node.layer())).send().await.unwrap().bytes().await.unwrap();
    let (client, id) = (client(node.daemon.peer_addr), node.task_id(node.layer()));
    let list = client.list_pieces(&id, 0, Duration::ZERO).await.unwrap();
    assert!(list.complete);
    assert_eq!(list.length, Some(node.layer().size_bytes()));
    assert_eq!(list.pieces.len() as u64, node.layer().size_bytes().div_ceil(list.piece_length.unwrap()));
    assert!(client.list_pieces(&id, list.next, Duration::ZERO).await.unwrap().pieces.is_empty());

    let range = df_api::ByteRange { start: 10, end: 500 };
    let part = client.get_task_content(&id, Some(range)).await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    let first = list.pieces.iter().find(|piece| piece.index == 0).unwrap();
    assert_eq!(part.headers()["x-dragonfly-piece-digest"], first.digest.to_string());
    assert_eq!(part.bytes().await.unwrap(), node.layer().bytes.slice(10..500));
}

#[tokio::test]
async fn peers_cannot_start_tasks() {
    let node = Node::start(RegistryAccess::Open).await;
    let url = node.registry.origin().url("x");
    let refused = client(node.daemon.peer_addr).create_task(&request(&url)).await.unwrap_err();
    assert_eq!(refused.status(), Some(404));
}

#[tokio::test]
async fn a_seed_peer_stops_fetching_when_its_children_have_gone() {
    let seed = Node::with(RegistryAccess::Open, |config| config.scheduler.manager.seed_peer.enable = true).await;
    let content = df_testkit::Content::new(df_testkit::random_bytes(3, 3_000_000)).hold_at(1_000_000);
    seed.registry.origin().put("file", content);
    let spec = TaskSpec::new(Origin::new(seed.registry.origin().url("file")), None);
    let all = df_api::ByteRange { start: 0, end: 3_000_000 };
    let mut child = client(seed.daemon.peer_addr).fetch_task_content(&spec, all).await.unwrap();
    child.chunk().await.unwrap().unwrap();
    let task = seed.daemon.peer.task(&spec.id).unwrap();
    assert!(task.is_running());
    drop(child);
    wait_until("it stops", || !task.is_running()).await;
    assert!(task.failure().is_none(), "{:?}", task.failure());
}

#[tokio::test]
async fn only_a_seed_peer_fetches_for_others_and_only_what_it_may() {
    let seed = Node::with(RegistryAccess::Open, |config| config.scheduler.manager.seed_peer.enable = true).await;
    let layer = seed.layer().clone();
    let url = seed.registry.origin().url(&df_testkit::registry::blob_name(crate::node::REPOSITORY, &layer.digest));
    let digest = layer.digest.parse().unwrap();
    let spec = TaskSpec { id: seed.task_id(&layer), origin: Origin::new(url), digest: Some(digest) };
    let first = df_api::ByteRange { start: 0, end: 1000 };
    let answer = client(seed.daemon.peer_addr).fetch_task_content(&spec, first).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.headers()["x-dragonfly-piece-length"], "262144");
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes.slice(..1000));

    let refused = async |spec: TaskSpec, address| {
        client(address).fetch_task_content(&spec, first).await.unwrap_err().status().unwrap()
    };
    let (seed, node) = (seed.daemon.peer_addr, Node::start(RegistryAccess::Open).await);
    assert_eq!(refused(spec.clone(), node.daemon.peer_addr).await, 403, "no seed peer");
    assert_eq!(refused(spec.clone(), node.daemon.local_addr).await, 405, "for peers only");
    let other = TaskSpec { id: "0".repeat(64).parse().unwrap(), ..spec.clone() };
    assert_eq!(refused(other, seed).await, 422, "another task");
    let unchecked = TaskSpec { digest: None, ..spec.clone() };
    assert_eq!(refused(unchecked, seed).await, 422, "a blob that nobody would check");
    let elsewhere = TaskSpec { origin: Origin::new("http://127.0.0.1:1/x"), ..spec.clone() };
    assert_eq!(refused(elsewhere, seed).await, 403, "an upstream that is not allowed");
    let basic = Origin { node_only: true, ..spec.origin.clone() };
    assert_eq!(refused(TaskSpec { origin: basic, ..spec }, seed).await, 422, "what must not leave its node");
}

#[tokio::test]
async fn a_peer_listener_wants_a_credential() {
    let node = Node::with(RegistryAccess::Open, |config| config.join = Some(dfdaemon::config::Join::Token)).await;
    let id = node.task_id(node.layer());
    let refused = client(node.daemon.peer_addr).list_pieces(&id, 0, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.status(), Some(503), "no manager has answered yet: {refused}");
}

#[tokio::test]
async fn wrong_input_is_problem_json_that_names_the_value() {
    let node = Node::start(RegistryAccess::Open).await;
    let base = format!("http://{}", node.daemon.local_addr);
    for (path, status, named) in [
        ("/v1/tasks/nonsense/content", 400, "nonsense"),
        ("/v1/tasks/nonsense", 400, "nonsense"),
        (&*format!("/v1/tasks/{}", "0".repeat(64)), 404, "0000"),
        (&*format!("/v1/tasks/{}/pieces?sincee=1", "0".repeat(64)), 400, "sincee"),
        ("/v1/nothing", 404, "path"),
    ] {
        let answer = node.http.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
        assert!(problem["request_id"].is_string());
    }
    let local = client(node.daemon.local_addr);
    for url in ["ftp://x.y/z", "nonsense", "http://user@host.example/"] {
        assert_eq!(local.create_task(&request(url)).await.unwrap_err().status(), Some(422), "{url}");
    }
    assert_eq!(local.create_task(&request("http://127.0.0.1:1/x")).await.unwrap_err().status(), Some(403));
}

#[tokio::test]
async fn the_base_routes_answer_on_both_listeners() {
    let node = Node::start(RegistryAccess::Open).await;
    for address in [node.daemon.local_addr, node.daemon.peer_addr] {
        for path in ["healthz", "readyz", "metrics", "openapi.json", "docs/"] {
            let answer = node.http.get(format!("http://{address}/{path}")).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
        }
    }
}

#[tokio::test]
async fn the_unix_socket_is_the_same_api() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("dfdaemon.sock");
    let node = Node::with(RegistryAccess::Open, |config| config.local.socket = Some(socket.clone())).await;
    node.registry.origin().put("file", df_testkit::Content::new("by socket"));
    let local = DfdaemonClient::new(Transport::open(&format!("unix:{}", socket.display())).unwrap());
    let id = local.create_task(&request(&node.registry.origin().url("file"))).await.unwrap().id;
    assert_eq!(local.get_task_content(&id, None).await.unwrap().bytes().await.unwrap(), "by socket");
    node.stop.cancel();
    node.daemon.stopped().await;
    assert!(!socket.exists(), "it goes with its daemon");
}

#[tokio::test]
async fn a_socket_that_somebody_wants_must_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("dfdaemon.sock");
    let node = Node::with(RegistryAccess::Open, |config| config.local.socket = Some(socket.clone())).await;
    let mut config = crate::node::config(&tempfile::tempdir().unwrap(), &node.registry);
    config.local.socket = Some(socket);
    let refused = dfdaemon::Dfdaemon::start(config.clone(), node.stop.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("dfdaemon.sock") && refused.contains("another process"), "{refused}");
    config.local.socket = Some("".into());
    assert!(dfdaemon::Dfdaemon::start(config, node.stop.clone()).await.is_ok());
}

#[tokio::test]
async fn a_file_that_is_evicted_before_it_is_read_is_fetched_again() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = df_testkit::random_bytes(3, 3_000_000);
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()));
    assert!(node.fetch("file").await.unwrap() == body);
    let id = node.create("file").await.unwrap();
    let store = node.daemon.peer.store();
    let removed = store.remove(&store.get(&id).unwrap()).unwrap().unwrap();
    std::fs::remove_dir_all(removed).unwrap();
    let again = node.client().get_task_content(&id, None).await.unwrap().bytes().await.unwrap();
    assert!(again == body, "wrong bytes");
}

#[tokio::test]
async fn one_url_with_two_signatures_is_one_task() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = df_testkit::random_bytes(4, 3_000_000);
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()));
    let url = node.registry.origin().url("file");
    let signed = |signature: &str| format!("{url}?X-Amz-Date={signature}&X-Amz-Signature={signature}");
    assert!(node.fetch_url(&signed("one"), None).await.unwrap() == body);
    assert!(node.fetch_url(&signed("two"), None).await.unwrap() == body);
    assert!(node.fetch_url(&signed("two"), None).await.unwrap() == body);
    // And each signature is shown to the origin once, for the first byte.
    let stats = node.registry.origin().stats("file");
    assert_eq!((stats.requests, stats.bytes), (3, body.len() as u64 + 2));

    let client = node.client();
    let filtered = async |query: &str| {
        let filtered_query_params = vec!["session".to_owned()];
        let request = CreateTaskRequest { filtered_query_params, ..request(&format!("{url}?{query}")) };
        client.create_task(&request).await.unwrap().id
    };
    assert_eq!(filtered("session=1&part=2").await, filtered("part=2&session=3").await);
    assert_ne!(filtered("part=2").await, filtered("part=3").await);
}

/// Known is all of the URL but what makes it good.
#[tokio::test]
async fn a_signed_content_is_read_by_those_whose_signature_is_good() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = df_testkit::random_bytes(4, 3_000_000);
    let url = node.registry.origin().url("file");
    let good = format!("{url}?X-Amz-Date=1&X-Amz-Signature=good");
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()));
    assert!(node.fetch_url(&good, None).await.unwrap() == body);
    node.registry.origin().change("file", |content| content.status_first(u32::MAX, 403, None));
    for bad in [url.clone(), format!("{url}?X-Amz-Date=1&X-Amz-Signature=bad"), format!("{url}?X-Amz-Date=1")] {
        let refused = node.fetch_url(&bad, None).await.unwrap_err();
        assert!(refused.contains("403"), "{bad}: {refused}");
    }
    assert!(node.fetch_url(&good, None).await.unwrap() == body);
    // So it is with what a caller calls a part of it, and whatever else is said to the origin.
    let ask = async |query: &str, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let filtered_query_params = vec!["token".to_owned()];
        let asked = CreateTaskRequest { headers, filtered_query_params, ..request(&format!("{url}?{query}")) };
        let id = node.client().create_task(&asked).await.unwrap().id;
        read_whole(node.client().get_task_content(&id, None).await?).await
    };
    for headers in [&[][..], &[("accept-language", "de")]] {
        node.registry.origin().put("file", df_testkit::Content::new(body.clone()));
        assert!(ask("token=good", headers).await.unwrap() == body);
        assert!(ask("X-Amz-Signature=good", headers).await.unwrap() == body);
        node.registry.origin().change("file", |content| content.status_first(u32::MAX, 403, None));
        for bad in ["token=bad", "X-Amz-Signature=bad", ""] {
            assert!(ask(bad, headers).await.unwrap_err().to_string().contains("403"), "{bad}");
        }
    }
}

#[tokio::test]
async fn the_newest_signature_is_asked_with() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = df_testkit::random_bytes(5, 40_000_000);
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()).hold_at(5_000_000));
    let url = node.registry.origin().url("file");
    let client = node.client();
    let first = client.create_task(&request(&format!("{url}?X-Amz-Signature=old"))).await.unwrap().id;
    let reading = client.get_task_content(&first, None).await.unwrap();
    let second = client.create_task(&request(&format!("{url}?X-Amz-Signature=new"))).await.unwrap().id;
    assert_eq!(first, second);
    assert!(node.daemon.peer.task(&first).unwrap().spec().origin.url.ends_with("=new"));
    node.registry.origin().release("file");
    assert!(reading.bytes().await.unwrap() == body);
}

#[tokio::test]
async fn a_piece_length_that_was_asked_for_cuts_a_task_of_its_own() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = df_testkit::random_bytes(6, 3_000_000);
    node.registry.origin().put("file", df_testkit::Content::new(body.clone()));
    let client = node.client();
    let asked = CreateTaskRequest { piece_length: Some(1 << 20), ..request(&node.registry.origin().url("file")) };
    let id = client.create_task(&asked).await.unwrap().id;
    let answer = client.get_task_content(&id, None).await.unwrap();
    assert_eq!(answer.headers()["x-dragonfly-piece-length"], "1048576");
    assert!(answer.bytes().await.unwrap() == body);
    assert_ne!(node.create("file").await.unwrap(), id);
}

#[tokio::test]
async fn further_headers_reach_the_origin_and_nobody_behind_it() {
    let store = df_testkit::FakeOrigin::start().await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(store.base_url())).await;
    let body = df_testkit::random_bytes(7, 20_000_000);
    store.put("file", df_testkit::Content::new(body.clone()));
    node.registry.origin().put("file", df_testkit::Content::new("").redirect_to(&store.url("file")));
    let headers = [("X-Token".to_owned(), "hidden".to_owned())].into();
    let asked = CreateTaskRequest { headers, ..request(&node.registry.origin().url("file")) };
    let client = node.client();
    let id = client.create_task(&asked).await.unwrap().id;
    assert!(client.get_task_content(&id, None).await.unwrap().bytes().await.unwrap() == body);
    let front = node.registry.origin().stats("file").headers;
    assert!(!front.is_empty() && front.iter().all(|headers| headers["x-token"] == "hidden"), "{front:?}");
    let behind = store.stats("file").headers;
    assert!(!behind.is_empty() && behind.iter().all(|headers| !headers.contains_key("x-token")), "{behind:?}");
}

#[tokio::test]
async fn what_of_a_request_cannot_be_is_named() {
    let node = Node::start(RegistryAccess::Open).await;
    let url = node.registry.origin().url("file");
    let refused = async |asked: CreateTaskRequest| node.client().create_task(&asked).await.unwrap_err().to_string();
    let header = |name: &str, value: &str| CreateTaskRequest {
        headers: [(name.to_owned(), value.to_owned())].into(),
        ..request(&url)
    };
    for (asked, named) in [
        (CreateTaskRequest { piece_length: Some(12345), ..request(&url) }, "piece_length 12345"),
        (CreateTaskRequest { filtered_query_params: vec!["a&b".to_owned()], ..request(&url) }, "a&b"),
        (header("host", "elsewhere.example"), "host"),
        (header("x-a", "b\nc"), "x-a"),
        (header("x-a", &"b".repeat(17_000)), "headers"),
        (request(&format!("{url}?{}", "q".repeat(9000))), "url"),
    ] {
        let said = refused(asked).await;
        assert!(said.contains("422") && said.contains(named), "{said}");
    }
}
