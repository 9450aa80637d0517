//! What the tests of the forward proxy share: a client that goes through it, raw connections to it, and a server that says
//! what it was asked.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use df_http::serve;
use dfdaemon::Config;
use dfdaemon::config::RuleConfig;
use reqwest::{Client, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::node::Node;

/// Answers every request with what it was: request line, headers in lower case, and how long the body was.
pub struct Echo {
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl Echo {
    pub async fn start() -> Self {
        Self::start_with(Router::new().fallback(echo)).await
    }

    /// One that answers as it likes.
    pub async fn start_with(answers: Router) -> Self {
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve::serve(listener, answers, stop.clone()));
        Self { address, _stop: stop.drop_guard() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let length = to_bytes(body, usize::MAX).await.unwrap().len();
    let mut said = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        said.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    said.push_str(&format!("body {length}\n"));
    ([("x-answer", "yes"), ("connection", "x-between"), ("x-between", "1")], Body::from(said)).into_response()
}

/// Allows the servers of a test.
pub fn allow(config: &mut Config, servers: &[&str]) {
    config.upstream.allow.extend(servers.iter().map(|&server| server.to_owned()));
}

/// Everything through the peers.
pub fn all() -> Vec<RuleConfig> {
    vec![RuleConfig { regex: ".".to_owned(), ..RuleConfig::default() }]
}

/// Goes through the node's proxy, and follows nothing.
pub fn through(node: &Node) -> Client {
    through_as(node, "")
}

/// `user` as `name:password@`.
pub fn through_as(node: &Node, user: &str) -> Client {
    let proxy = Proxy::all(format!("http://{user}{}", node.daemon.local_addr)).unwrap();
    Client::builder().proxy(proxy).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// One request as written, and the answer as it comes until the connection ends, or `enough` has come.
pub async fn raw(node: &Node, request: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(node.daemon.local_addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_until(&mut stream, enough).await
}

pub async fn read_until(stream: &mut TcpStream, enough: &str) -> String {
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while !String::from_utf8_lossy(&answer).contains(enough) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
