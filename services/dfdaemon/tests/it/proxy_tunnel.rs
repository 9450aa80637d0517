//! `CONNECT`: tunnels, and hosts whose TLS is ended here.

use std::io;

use df_testkit::registry::RegistryAccess;
use df_testkit::tls::Authority;
use df_testkit::{Content, TlsFront, random_bytes};
use dfdaemon::Config;
use dfdaemon::config::CaConfig;
use reqwest::{Certificate, Client, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::node::{Node, wait_until};
use crate::proxied::{Echo, all, allow, raw, read_until};

/// Trusts that authority only.
fn client(node: &Node, ca_pem: &str) -> Client {
    let proxy = Proxy::all(format!("http://{}", node.daemon.local_addr)).unwrap();
    let trusted = Certificate::from_pem(ca_pem.as_bytes()).unwrap();
    Client::builder().proxy(proxy).tls_certs_only([trusted]).build().unwrap()
}

fn name(front: &TlsFront) -> String {
    format!("localhost:{}", front.address().port())
}

/// Through the peers, and with TLS ended here.
fn intercepting(config: &mut Config, front: &TlsFront) {
    allow(config, &[&name(front)]);
    let trusted = config.storage.dir.join("upstream.pem");
    std::fs::write(&trusted, front.ca_pem()).unwrap();
    config.upstream.ca_certs = vec![trusted];
    config.proxy.rules = all();
    config.proxy.intercept = vec!["localhost".to_owned()];
}

fn authority(node: &Node) -> String {
    std::fs::read_to_string(node.dir.path().join("proxy-ca/ca.pem")).unwrap()
}

#[tokio::test]
async fn a_tunnel_needs_no_header_and_no_http_1_1() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&echo.url("")])).await;
    for version in ["1.0", "1.1"] {
        let mut stream = TcpStream::connect(node.daemon.local_addr).await.unwrap();
        let host = if version == "1.1" { "host: x\r\n" } else { "" };
        let request = format!("CONNECT {} HTTP/{version}\r\n{host}\r\n", echo.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/{version} 200")), "{answer}");
        assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"), "{answer}");
        stream.write_all(b"GET /inside HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let said = read_until(&mut stream, "body 0").await;
        assert!(said.contains("GET /inside") && !said.contains("via:"), "{said}");
    }
}

#[tokio::test]
async fn other_hosts_keep_their_own_tls() {
    let echo = Echo::start().await;
    let front = TlsFront::start(echo.address).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&name(&front)])).await;
    let url = format!("https://{}/x", name(&front));
    let said = client(&node, front.ca_pem()).get(url).send().await.unwrap().text().await.unwrap();
    assert!(said.contains("GET /x") && !said.contains("via:"), "{said}");
    assert!(!node.dir.path().join("proxy-ca").exists(), "without interception there is no authority");
}

#[tokio::test]
async fn what_is_asked_inside_is_treated_as_if_asked_of_the_proxy() {
    let upstream = df_testkit::FakeOrigin::start().await.unwrap();
    let body = random_bytes(1, 3_000_000);
    upstream.put("file", Content::new(body.clone()));
    let front = TlsFront::start(upstream.address()).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| intercepting(config, &front)).await;
    let (client, url) = (client(&node, &authority(&node)), format!("https://{}/file", name(&front)));
    for _ in 0..2 {
        let answer = client.get(&url).send().await.unwrap();
        assert!(answer.headers().contains_key("x-dragonfly-task-id"));
        assert_eq!(answer.bytes().await.unwrap(), body);
    }
    let part = client.get(&url).header("range", "bytes=-5").send().await.unwrap();
    assert_eq!(part.bytes().await.unwrap(), body[body.len() - 5..]);
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "3000000");
    let probes = upstream.stats("file").ranges.iter().filter(|range| *range == "bytes=0-0").count() as u64;
    assert_eq!(upstream.stats("file").bytes - probes, 3_000_000);
}

#[tokio::test]
async fn a_request_inside_is_for_whom_the_tunnel_was_made_to() {
    let echo = Echo::start().await;
    let front = TlsFront::start(echo.address).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| intercepting(config, &front)).await;
    let (client, url) = (client(&node, &authority(&node)), format!("https://{}/x", name(&front)));
    let other = client.get(&url).header("host", "other.example").send().await.unwrap();
    assert_eq!(other.status().as_u16(), 400);
    assert!(other.text().await.unwrap().contains("cannot be for another host"));
    let said = client.post(&url).body("12345").send().await.unwrap().text().await.unwrap();
    assert!(said.contains("POST /x") && said.ends_with("body 5\n"), "{said}");
}

#[tokio::test]
async fn who_speaks_no_tls_where_it_is_ended_gets_nothing() {
    let echo = Echo::start().await;
    let front = TlsFront::start(echo.address).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| intercepting(config, &front)).await;
    let request = format!("CONNECT {} HTTP/1.1\r\nhost: x\r\n\r\n", name(&front));
    let mut stream = TcpStream::connect(node.daemon.local_addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let rest = read_until(&mut stream, "HTTP/").await;
    assert!(!rest.contains("HTTP/"), "{rest}");
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_told() {
    let closed = df_testkit::process::free_port().unwrap();
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&format!("127.0.0.1:{closed}")])).await;
    let request = format!("CONNECT 127.0.0.1:{closed} HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = raw(&node, request.as_bytes(), "}").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("cannot be reached"), "{answer}");
}

#[tokio::test]
async fn a_tunnel_is_a_connection_until_it_ends() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&echo.url("")]);
        config.proxy.connection_limit = 1;
    })
    .await;
    let request = format!("CONNECT {} HTTP/1.1\r\nhost: x\r\n\r\n", echo.address);
    let mut tunnel = TcpStream::connect(node.daemon.local_addr).await.unwrap();
    tunnel.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut tunnel, "\r\n\r\n").await;
    let refused = raw(&node, request.as_bytes(), "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    drop(tunnel);
    df_testkit::until("there is room again", std::time::Duration::from_secs(60), async || {
        Ok(raw(&node, request.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 200").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_tunnel_ends_when_nothing_moves_and_when_the_daemon_stops() {
    let echo = Echo::start().await;
    for idle_ms in [100, 3_600_000] {
        let node = Node::with(RegistryAccess::Open, |config| {
            allow(config, &[&echo.url("")]);
            config.proxy.idle_timeout_ms = idle_ms;
        })
        .await;
        let request = format!("CONNECT {} HTTP/1.1\r\nhost: x\r\n\r\n", echo.address);
        let mut tunnel = TcpStream::connect(node.daemon.local_addr).await.unwrap();
        tunnel.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut tunnel, "\r\n\r\n").await;
        if idle_ms > 100 {
            node.stop.cancel();
        }
        let ended: io::Result<usize> = tunnel.read(&mut [0; 10]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        node.stop.cancel();
        node.daemon.stopped().await;
    }
}

#[tokio::test]
async fn a_client_that_is_gone_frees_the_target() {
    let upstream = df_testkit::FakeOrigin::start().await.unwrap();
    upstream.put("file", Content::new(random_bytes(1, 3_000_000)).hold_at(100_000));
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&upstream.base_url()])).await;
    let mut tunnel = TcpStream::connect(node.daemon.local_addr).await.unwrap();
    let request = format!("CONNECT {} HTTP/1.0\r\n\r\n", upstream.address());
    tunnel.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut tunnel, "\r\n\r\n").await;
    tunnel.write_all(b"GET /file HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    wait_until("the target sends", || upstream.stats("file").active == 1).await;
    drop(tunnel);
    wait_until("the target is free", || upstream.stats("file").active == 0).await;
}

#[tokio::test]
async fn who_trusts_the_authority_that_was_given_needs_no_other() {
    let upstream = df_testkit::FakeOrigin::start().await.unwrap();
    let body = random_bytes(1, 300_000);
    upstream.put("file", Content::new(body.clone()));
    let front = TlsFront::start(upstream.address()).await.unwrap();
    let (given, folder) = (Authority::new().unwrap(), tempfile::tempdir().unwrap());
    let (cert_file, key_file) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
    std::fs::write(&cert_file, given.pem()).unwrap();
    std::fs::write(&key_file, given.key_pem()).unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        intercepting(config, &front);
        config.proxy.ca = Some(CaConfig { cert_file, key_file });
    })
    .await;
    let url = format!("https://{}/file", name(&front));
    let answer = client(&node, &given.pem()).get(&url).send().await.unwrap();
    assert!(answer.headers().contains_key("x-dragonfly-task-id"), "its TLS ends here");
    assert_eq!(answer.bytes().await.unwrap(), body);
    assert!(client(&node, &Authority::new().unwrap().pem()).get(&url).send().await.is_err());
    assert!(!node.dir.path().join("proxy-ca").exists(), "none was made");
}
