//! Tunnels of the forward proxy through the proxy for upstreams: HTTP, HTTP over TLS, and SOCKS5.

use df_testkit::registry::RegistryAccess;
use df_testkit::{SocksProxy, TlsFront};
use dfdaemon::config::BasicAuthConfig;
use secrecy::SecretString;

use crate::node::Node;
use crate::proxied::{Echo, allow, raw};

/// Another dfdaemon: a proxy that wants a password.
async fn outer(echo: &Echo) -> Node {
    Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&echo.url("")]);
        let (username, password) = ("user".to_owned(), Some(SecretString::from("word")));
        config.proxy.basic_auth = Some(BasicAuthConfig { username, password, password_file: None });
    })
    .await
}

/// A node whose tunnels go through `proxy`.
async fn inner(echo: &Echo, proxy: String, no_proxy: &[&str], ca_pem: Option<&str>) -> Node {
    Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&echo.url("")]);
        config.upstream.proxy = Some(SecretString::from(proxy));
        config.upstream.no_proxy = no_proxy.iter().map(|&entry| entry.to_owned()).collect();
        if let Some(pem) = ca_pem {
            let path = config.storage.dir.join("outer.pem");
            std::fs::write(&path, pem).unwrap();
            config.upstream.ca_certs = vec![path];
        }
    })
    .await
}

/// What comes back of a tunnel, and of a request inside of it when there is one.
async fn tunnel(node: &Node, echo: &Echo) -> String {
    let connect = format!("CONNECT {} HTTP/1.1\r\nhost: x\r\n\r\n", echo.address);
    // Sent at once: whoever passes bytes on loses none.
    let inside = "GET /inside HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    raw(node, format!("{connect}{inside}").as_bytes(), "\0").await
}

#[tokio::test]
async fn a_tunnel_goes_through_an_http_proxy_with_and_without_tls() {
    let echo = Echo::start().await;
    let outer = outer(&echo).await;
    let front = TlsFront::start(outer.daemon.local_addr).await.unwrap();
    for (proxy, ca_pem) in [
        (format!("http://user:word@{}", outer.daemon.local_addr), None),
        (format!("https://user:word@{}", front.address()), Some(front.ca_pem())),
    ] {
        let node = inner(&echo, proxy, &[], ca_pem).await;
        let said = tunnel(&node, &echo).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("GET /inside"), "{said}");
    }
    let stranger = inner(&echo, format!("http://user:wrong@{}", outer.daemon.local_addr), &[], None).await;
    let refused = tunnel(&stranger, &echo).await;
    assert!(refused.starts_with("HTTP/1.1 502") && refused.contains("upstream.proxy): it answered 407"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
    let untrusted = inner(&echo, format!("https://user:word@{}", front.address()), &[], None).await;
    let refused = tunnel(&untrusted, &echo).await;
    assert!(refused.starts_with("HTTP/1.1 502") && refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_tunnel_goes_through_a_socks_proxy_unless_its_host_is_an_exception() {
    let echo = Echo::start().await;
    let proxy = SocksProxy::start(Some(("user", "word"))).await.unwrap();
    let url = |user: &str| format!("socks5://{user}@{}", proxy.address());
    let node = inner(&echo, url("user:word"), &[], None).await;
    let said = tunnel(&node, &echo).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("GET /inside"), "{said}");
    assert_eq!(proxy.connected(), 1);
    let wrong = tunnel(&inner(&echo, url("user:wrong"), &[], None).await, &echo).await;
    assert!(wrong.starts_with("HTTP/1.1 502"), "{wrong}");
    let exception = inner(&echo, url("user:word"), &["127.0.0.0/8"], None).await;
    assert!(tunnel(&exception, &echo).await.contains("GET /inside"));
    assert_eq!(proxy.connected(), 1);
}

#[tokio::test]
async fn no_proxy_is_a_way_around_the_rules_of_upstreams() {
    let echo = Echo::start().await;
    let proxy = SocksProxy::start(None).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.proxy = Some(SecretString::from(format!("socks5://{}", proxy.address())));
    })
    .await;
    for refused in [echo.address.to_string(), "localhost:443".to_owned(), "169.254.169.254:80".to_owned()] {
        let answer = raw(&node, format!("CONNECT {refused} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(), "}").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert_eq!(proxy.connected(), 0);
}
