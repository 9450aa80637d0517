//! Requests that leave HTTP, as WebSocket does, through the forward proxy: in absolute form, and where TLS is ended.

use std::net::SocketAddr;

use df_testkit::registry::RegistryAccess;
use df_testkit::{STANDSTILL, TlsFront, until};
use reqwest::{Certificate, Client, Proxy, RequestBuilder, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::node::Node;
use crate::proxied::{Echo, all, allow, raw, read_until, through};

/// Agrees to go on with whatever is wanted, says which headers it got, and then echoes in upper case.
async fn shouting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(shout(stream));
        }
    });
    address
}

async fn shout(mut stream: TcpStream) {
    let asked = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
    let wanted = asked.contains("upgrade: chat") && asked.contains("connection: upgrade");
    let line = if wanted { "101 Switching Protocols" } else { "426 Upgrade Required" };
    let seen = asked.contains("sec-websocket-key: abc") && asked.contains("via: ") && !asked.contains("proxy-");
    let more = "connection: upgrade\r\nupgrade: chat\r\ncontent-length: 0\r\nsec-websocket-accept";
    let more = if wanted { more.replace("content-length: 0\r\n", "") } else { more.to_owned() };
    let answer = format!("HTTP/1.1 {line}\r\n{more}: {seen}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut buffer = [0; 1000];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let loud = buffer[..read].to_ascii_uppercase();
        stream.write_all(&loud).await.unwrap();
    }
}

async fn talk(request: RequestBuilder) {
    let request = request.header("connection", "keep-alive, Upgrade").header("upgrade", "chat");
    let answer = request.header("sec-websocket-key", "abc").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(
        (&answer.headers()["upgrade"], &answer.headers()["sec-websocket-accept"]),
        (&"chat".parse().unwrap(), &"true".parse().unwrap())
    );
    let mut open = answer.upgrade().await.unwrap();
    for word in ["hello", "again"] {
        open.write_all(word.as_bytes()).await.unwrap();
        let mut heard = [0; 5];
        open.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, *word.to_uppercase().as_bytes());
    }
}

/// A node that ends TLS for a front before the server, and a client that trusts it.
async fn intercepting(server: SocketAddr, connections: usize) -> (Node, TlsFront, Client) {
    let front = TlsFront::start(server).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&format!("http://{server}"), &format!("localhost:{}", front.address().port())]);
        let trusted = config.storage.dir.join("upstream.pem");
        std::fs::write(&trusted, front.ca_pem()).unwrap();
        config.upstream.ca_certs = vec![trusted];
        config.proxy.rules = all();
        config.proxy.intercept = vec!["localhost".to_owned()];
        config.proxy.connection_limit = connections;
    })
    .await;
    let ca = std::fs::read(node.dir.path().join("proxy-ca/ca.pem")).unwrap();
    let proxy = Proxy::all(format!("http://{}", node.daemon.local_addr)).unwrap();
    let client = Client::builder().proxy(proxy).tls_certs_only([Certificate::from_pem(&ca).unwrap()]).build().unwrap();
    (node, front, client)
}

#[tokio::test]
async fn an_upgrade_is_passed_on_in_absolute_form_and_where_tls_is_ended() {
    let server = shouting().await;
    let (node, front, client) = intercepting(server, 100).await;
    talk(through(&node).get(format!("http://{server}/chat"))).await;
    talk(client.get(format!("https://localhost:{}/chat", front.address().port()))).await;
}

#[tokio::test]
async fn what_was_upgraded_inside_of_a_tunnel_keeps_its_place_among_the_connections() {
    let server = shouting().await;
    let (node, front, client) = intercepting(server, 1).await;
    let chat = client.get(format!("https://localhost:{}/chat", front.address().port()));
    let answer = chat.header("connection", "upgrade").header("upgrade", "chat").send().await.unwrap();
    let mut open = answer.upgrade().await.unwrap();
    open.write_all(b"hello").await.unwrap();
    open.read_exact(&mut [0; 5]).await.unwrap();
    let ask = format!("GET http://{server}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let refused = raw(&node, ask.as_bytes(), "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    drop((open, client));
    until("there is room again", STANDSTILL, async || {
        Ok(raw(&node, ask.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 426").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn who_does_not_agree_answers_and_nobody_goes_on_with_another_http() {
    let (server, echo) = (shouting().await, Echo::start().await);
    let node =
        Node::with(RegistryAccess::Open, |config| allow(config, &[&format!("http://{server}"), &echo.url("")])).await;
    let plain = through(&node).get(echo.url("/")).header("connection", "upgrade").header("upgrade", "chat");
    let answer = plain.send().await.unwrap();
    assert_eq!((answer.status(), answer.headers()["x-answer"].to_str().unwrap()), (StatusCode::OK, "yes"));
    assert!(answer.text().await.unwrap().contains("upgrade: chat"));
    let http = through(&node).get(format!("http://{server}/")).header("connection", "upgrade").header("upgrade", "h2c");
    assert_eq!(http.send().await.unwrap().status(), StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn what_was_upgraded_ends_with_the_daemon() {
    let server = shouting().await;
    let node = Node::with(RegistryAccess::Open, |config| allow(config, &[&format!("http://{server}")])).await;
    let request = through(&node).get(format!("http://{server}/chat")).header("connection", "upgrade");
    let answer = request.header("upgrade", "chat").send().await.unwrap();
    let mut open = answer.upgrade().await.unwrap();
    node.stop.cancel();
    assert!(matches!(open.read(&mut [0; 10]).await, Ok(0) | Err(_)));
    node.daemon.stopped().await;
}
