//! The forward proxy in absolute form: what passes, what does not, and what is refused.

use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, random_bytes};
use dfdaemon::config::BasicAuthConfig;
use futures_util::StreamExt as _;
use reqwest::{Body, StatusCode};

use crate::node::{Node, wait_until};
use crate::proxied::{Echo, all, allow, raw, through, through_as};

const NOTHING_MORE: &str = "\0";

#[tokio::test]
async fn a_request_is_passed_on_as_it_is_without_what_is_between_two() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&echo.url("")])).await;
    let pieces = futures_util::stream::iter((0..100).map(|_| std::io::Result::Ok(vec![7_u8; 10_000])));
    let answer = through(&node)
        .post(echo.url("/objects/batch?a=%2F&b"))
        .header("authorization", "Bearer x")
        .header("cookie", "a=b")
        .header("proxy-connection", "keep-alive")
        .header("x-dragonfly-tag", "t")
        .header("x-dragonfly-anything", "t")
        .body(Body::wrap_stream(pieces))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status(), answer.headers()["x-answer"].to_str().unwrap()), (StatusCode::OK, "yes"));
    assert!(!answer.headers().contains_key("x-between") && answer.headers().contains_key("via"));
    let said = answer.text().await.unwrap();
    assert!(said.starts_with("POST /objects/batch?a=%2F&b\n") && said.ends_with("body 1000000\n"), "{said}");
    let host = format!("host: {}\n", echo.address);
    for passed in [&host, "authorization: Bearer x\n", "cookie: a=b\n", "via: 1.1 dragonfly-"] {
        assert!(said.contains(passed), "{passed} {said}");
    }
    for kept in ["proxy-", "x-dragonfly", "keep-alive"] {
        assert!(!said.contains(kept), "{kept} {said}");
    }
}

#[tokio::test]
async fn the_mirror_and_the_local_api_are_where_they_were() {
    let node = Node::start(RegistryAccess::Open).await;
    let answer = node.http.get(format!("http://{}/healthz", node.daemon.local_addr)).send().await.unwrap();
    assert!(answer.status().is_success());
    let blob = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), node.layer().bytes);
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_client_waits_to_be() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&echo.url("")])).await;
    let head =
        format!("POST {} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n", echo.url("/"));
    let mut stream = tokio::net::TcpStream::connect(node.daemon.local_addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let go_on = crate::proxied::read_until(&mut stream, "\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await.unwrap();
    let answer = crate::proxied::read_until(&mut stream, "body 5").await;
    assert!(answer.contains("HTTP/1.1 200") && !answer.contains("expect"), "{answer}");
}

#[tokio::test]
async fn a_redirect_is_its_clients_to_follow() {
    let node = Node::start(RegistryAccess::Open).await;
    node.registry.origin().put("file", Content::new("x").redirect_to("http://169.254.169.254/latest"));
    let answer = through(&node).get(node.registry.origin().url("file")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "http://169.254.169.254/latest");
}

#[tokio::test]
async fn what_is_not_public_and_not_listed_is_not_asked() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.rules = all()).await;
    let (client, other) = (through(&node), Echo::start().await);
    for url in [
        other.url("/"),
        format!("http://localhost:{}/", other.address.port()),
        format!("http://2130706433:{}/", other.address.port()),
        "http://[::1]/".to_owned(),
        "http://[::ffff:10.0.0.1]/".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://metadata/".to_owned(),
        "http://192.168.1.1/".to_owned(),
    ] {
        for request in [client.get(&url), client.post(&url)] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{url}");
            assert_eq!(answer.headers()["x-dragonfly-error-type"], "dfdaemon");
            let problem = answer.text().await.unwrap();
            assert!(problem.contains("upstream.allow") && problem.contains("\"code\":\"forbidden\""), "{problem}");
        }
    }
    // Also where an allowed server leads: it is asked for the content, and not followed.
    node.registry.origin().put("file", Content::new("x").redirect_to(&other.url("/secret")));
    let answer = client.get(node.registry.origin().url("file")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert!(!answer.text().await.unwrap().contains("GET /secret"));
}

#[tokio::test]
async fn only_who_knows_the_password_uses_the_proxy() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&echo.url("")]);
        let password = Some("pass:word".to_owned().into());
        config.proxy.basic_auth = Some(BasicAuthConfig { username: "user".to_owned(), password, password_file: None });
    })
    .await;
    for user in ["", "user:wrong@", "other:pass%3Aword@"] {
        let answer =
            through_as(&node, user).get(echo.url("/")).header("authorization", "Basic x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert!(answer.headers()["proxy-authenticate"].to_str().unwrap().starts_with("Basic realm="));
    }
    let right = through_as(&node, "user:pass%3Aword@");
    let said = right.get(echo.url("/")).header("authorization", "Basic x").send().await.unwrap().text().await.unwrap();
    assert!(said.contains("authorization: Basic x\n") && !said.contains("proxy-authorization"), "{said}");
    let connect = raw(&node, b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n", "\r\n\r\n").await;
    assert!(connect.starts_with("HTTP/1.1 407"), "{connect}");
    let mirrored = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(mirrored.status(), StatusCode::OK, "the mirror asks for no password of the proxy");
}

#[tokio::test]
async fn nonsense_is_answered_at_once() {
    let node = Node::start(RegistryAccess::Open).await;
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x00];
    let answer = raw(&node, &hello, NOTHING_MORE).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for (line, status) in [
        ("GET http:/// HTTP/1.1", 400),
        ("GET ftp://h.example/ HTTP/1.1", 400),
        ("GET http://u:p@h.example/ HTTP/1.1", 400),
        ("GET http://h.example:99999/ HTTP/1.1", 400),
        ("GET http://%zz/ HTTP/1.1", 400),
        ("GET http://h .example/ HTTP/1.1", 400),
        ("CONNECT h.example HTTP/1.1", 400),
        ("CONNECT h.example:0 HTTP/1.1", 400),
        ("CONNECT /path HTTP/1.1", 400),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", 403),
        ("CONNECT metadata:443 HTTP/1.1", 403),
    ] {
        let request = format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(&node, request.as_bytes(), NOTHING_MORE).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
    }
    let long = format!("GET http://h.example/ HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = raw(&node, long.as_bytes(), "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let wish = through(&node).get("http://h.example/").header("x-dragonfly-use-p2p", "perhaps").send().await.unwrap();
    assert_eq!(wish.status(), StatusCode::BAD_REQUEST);
    assert!(wish.text().await.unwrap().contains("x-dragonfly-use-p2p"));
}

#[tokio::test]
async fn a_reader_that_hangs_up_frees_the_upstream() {
    let node = Node::start(RegistryAccess::Open).await;
    let origin = node.registry.origin();
    origin.put("file", Content::new(random_bytes(1, 3_000_000)).hold_at(100_000));
    let answer = through(&node).get(origin.url("file")).send().await.unwrap();
    let mut body = answer.bytes_stream();
    body.next().await.unwrap().unwrap();
    assert_eq!(origin.stats("file").active, 1);
    drop(body);
    wait_until("nobody reads at the upstream", || origin.stats("file").active == 0).await;
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.idle_timeout_ms = 200).await;
    let origin = node.registry.origin();
    origin.put("mute", Content::new("x").first_byte_delay(std::time::Duration::from_secs(3600)));
    origin.put("half", Content::new(random_bytes(1, 300_000)).hold_at(100_000));
    let answer = through(&node).get(origin.url("mute")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let answer = through(&node).get(origin.url("half")).send().await.unwrap();
    assert!(answer.bytes().await.is_err());
    wait_until("nobody reads at the upstream", || origin.stats("half").active == 0).await;
}

#[tokio::test]
async fn a_proxy_does_not_go_round_in_circles() {
    let echo = Echo::start().await;
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&echo.url("")])).await;
    let said = through(&node).get(echo.url("/")).send().await.unwrap().text().await.unwrap();
    let via = said.lines().find_map(|line| line.strip_prefix("via: ")).unwrap();
    let again = through(&node).get(echo.url("/")).header("via", via).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::BAD_GATEWAY);
}
