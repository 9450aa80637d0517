//! What children may take of a host, and how it leaves: by sendfile or over TLS, within limits.

use std::path::PathBuf;
use std::time::Duration;

use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::until;
use dfdaemon::Config;
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::node::Node;

async fn warm(change: impl FnOnce(&mut Config)) -> Node {
    let node = Node::with(RegistryAccess::Open, change).await;
    node.get(&node.blob_path(node.layer())).send().await.unwrap().bytes().await.unwrap();
    node
}

fn url(node: &Node) -> String {
    format!("http://{}/v1/tasks/{}/content", node.daemon.peer_addr, node.task_id(node.layer()))
}

#[tokio::test]
async fn every_range_is_the_same_from_both_listeners() {
    let node = warm(|_| {}).await;
    let content = &node.layer().bytes;
    let end = content.len() - 1;
    for (first, last) in [(0, end), (1, 70_000), (65_537, 65_537), (1_048_575, end), (end - 100_000, end)] {
        let range = format!("bytes={first}-{last}");
        let expected = content.slice(first..last + 1);
        let peer = node.http.get(url(&node)).header("range", &range).send().await.unwrap().bytes().await.unwrap();
        assert!(peer == expected, "{range}");
        let mirror = node.get(&node.blob_path(node.layer())).header("range", &range).send().await.unwrap();
        assert!(mirror.bytes().await.unwrap() == expected, "{range}");
    }
}

#[tokio::test]
async fn one_child_too_many_is_told_to_come_again_and_a_silent_one_is_cut_off() {
    let node = warm(|config| {
        config.upload.load_limit = 1;
        config.upload.write_timeout_ms = 300;
        // Slow, so that the answer to the silent child does not fit into the buffers on its way.
        config.upload.rate_limit = 40_000_000;
    })
    .await;
    let mut silent = TcpStream::connect(node.daemon.peer_addr).await.unwrap();
    let path = format!("/v1/tasks/{}/content", node.task_id(node.layer()));
    // Its answers queue up behind each other: more than any buffer takes.
    let asked = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(20);
    silent.write_all(asked.as_bytes()).await.unwrap();
    let refused = until("the only slot is taken", Duration::from_secs(20), async || {
        let answer = node.http.get(url(&node)).send().await?;
        Ok((answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(answer))
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert!(refused.text().await.unwrap().contains("upload.loadLimit"));
    let served = until("the silent child is cut off", Duration::from_secs(20), async || {
        let answer = node.http.get(url(&node)).send().await?;
        Ok(if answer.status() == StatusCode::OK { Some(answer.bytes().await?) } else { None })
    });
    assert!(served.await.unwrap() == node.layer().bytes);
}

#[tokio::test]
async fn children_together_are_held_to_the_rate() {
    let node = warm(|config| config.upload.rate_limit = 6_000_000).await;
    let started = std::time::Instant::now();
    let get = async || node.http.get(url(&node)).send().await.unwrap().bytes().await.unwrap();
    let (one, other) = tokio::join!(get(), get());
    assert!(one == node.layer().bytes && other == one);
    // 6 MB, of which a tenth of a second's worth is free.
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
}

#[tokio::test]
async fn peers_that_ask_too_often_are_told_and_programs_of_the_node_are_not() {
    let node = warm(|config| config.upload.request_rate_limit = 1).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = node.http.get(url(&node)).header("range", "bytes=0-9").send().await.unwrap();
        statuses.push((answer.status(), answer.headers().get("retry-after").cloned()));
    }
    assert_eq!(statuses[0].0, StatusCode::PARTIAL_CONTENT);
    assert!(statuses[1..].iter().any(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    assert!(statuses.iter().all(|(status, retry)| (*status == StatusCode::TOO_MANY_REQUESTS) == retry.is_some()));
    for _ in 0..3 {
        assert_eq!(node.head(&node.blob_path(node.layer())).send().await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn what_children_took_is_in_the_metrics() {
    let node = warm(|_| {}).await;
    let read = async || node.http.get(format!("http://{}/metrics", node.daemon.local_addr)).send().await.unwrap();
    // Asking once makes them count, where no `main` has done so.
    read().await;
    // A connection of its own, which is counted too.
    let child = reqwest::Client::builder().no_proxy().build().unwrap();
    child.get(url(&node)).send().await.unwrap().bytes().await.unwrap();
    let metrics = read().await.text().await.unwrap();
    for name in ["dragonfly_client_upload_traffic", "dragonfly_client_concurrent_uploads", "dragonfly_http_connections"]
    {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn a_listener_with_tls_says_https_of_itself_and_serves_the_same_bytes() {
    let issued = df_testkit::tls::Authority::new().unwrap();
    let files = issued.files().unwrap();
    let path = |name: &str| -> PathBuf { files.path().join(name) };
    let node = warm(|config| {
        config.host.advertise_ip = "127.0.0.1".to_owned();
        config.upload.tls = Some(dfdaemon::config::TlsConfig {
            cert_file: path("cert.pem"),
            key_file: path("key.pem"),
            client_ca_file: Some(path("ca.pem")),
        });
    })
    .await;
    let base = node.daemon.peer.config().url.clone();
    assert!(base.starts_with("https://127.0.0.1:"), "{base}");
    let id = node.task_id(node.layer());
    let refused = DfdaemonClient::new(Transport::new(&base.replace("https", "http"), http_client()).unwrap())
        .get_task_content(&id, None)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("400"), "{refused}");
    let client = issued.client(true).unwrap();
    let bytes = DfdaemonClient::new(Transport::new(&base, client).unwrap()).get_task_content(&id, None).await.unwrap();
    assert!(bytes.bytes().await.unwrap() == node.layer().bytes);
    let nameless = DfdaemonClient::new(Transport::new(&base, issued.client(false).unwrap()).unwrap());
    assert!(nameless.get_task_content(&id, None).await.is_err());
}

#[tokio::test]
async fn who_waits_for_bytes_that_are_not_there_holds_no_slot() {
    let node = Node::with(RegistryAccess::Open, |config| config.upload.load_limit = 1).await;
    let layer = node.layer().clone();
    let name = df_testkit::registry::blob_name(crate::node::REPOSITORY, &layer.digest);
    let held = 2_500_000;
    node.registry.origin().change(&name, |content| content.hold_at(held as u64));
    let mut runtime = node.get(&node.blob_path(&layer)).send().await.unwrap();
    runtime.chunk().await.unwrap().unwrap();
    // One child reads until nothing more comes, and stays.
    let mut waiting = node.http.get(url(&node)).header("range", "bytes=0-").send().await.unwrap();
    assert_eq!(waiting.status(), StatusCode::PARTIAL_CONTENT);
    let mut got = 0;
    while got < held {
        got += waiting.chunk().await.unwrap().unwrap().len();
    }
    let served = until("another child is served", Duration::from_secs(20), async || {
        let answer = node.http.get(url(&node)).header("range", "bytes=0-99").send().await?;
        Ok((answer.status() == StatusCode::PARTIAL_CONTENT).then_some(answer))
    });
    assert_eq!(served.await.unwrap().bytes().await.unwrap(), layer.bytes.slice(..100));
    node.registry.origin().release(&name);
    while let Some(chunk) = waiting.chunk().await.unwrap() {
        got += chunk.len();
    }
    assert_eq!(got, layer.bytes.len());
}

/// Bytes that have left by `sendfile`, in this process.
async fn sent(node: &Node) -> u64 {
    let metrics = node.http.get(format!("http://{}/metrics", node.daemon.local_addr)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let sent = metrics.lines().find_map(|line| line.strip_prefix("dragonfly_sendfile_bytes_total "));
    sent.map_or(0, |sent| sent.parse::<f64>().unwrap() as u64)
}

#[tokio::test]
async fn what_is_on_disk_leaves_by_sendfile_at_both_listeners() {
    let node = warm(|_| {}).await;
    let layer = node.layer();
    for request in [node.http.get(url(&node)), node.get(&node.blob_path(layer))] {
        let before = sent(&node).await;
        assert!(request.send().await.unwrap().bytes().await.unwrap() == layer.bytes);
        assert!(sent(&node).await >= before + layer.size_bytes());
    }
}
