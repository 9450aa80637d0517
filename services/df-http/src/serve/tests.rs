//! The accept loop before clients that are too many, too slow, or speak something else.

use axum::body::Body;
use axum::routing::get;
use df_testkit::tls::Authority;
use df_testkit::until;
use http::StatusCode;
use reqwest::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const BODY_BYTES: usize = 32 << 20;

/// A server that tells how it sends, and sends a lot.
async fn start(limits: Limits) -> (SocketAddr, CancellationToken) {
    let router = Router::new()
        .route("/way", get(async |Sendfile(sendfile): Sendfile| if sendfile { "sendfile" } else { "copies" }))
        .route("/much", get(async || Body::from(vec![7; BODY_BYTES])));
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve_within(limits, listener, router, stop.clone()));
    (address, stop)
}

async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_there_is_room_again_later() {
    let (address, _stop) = start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut first, "/way").await.starts_with("HTTP/1.1 200"));
    let mut second = TcpStream::connect(address).await.unwrap();
    let refused = ask(&mut second, "/way").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("application/problem+json") && refused.contains("as many connections"), "{refused}");
    assert_eq!(second.read(&mut [0; 100]).await.unwrap(), 0, "it is closed after that");

    drop(first);
    let again = until("there is room again", Duration::from_secs(20), async || {
        let mut third = TcpStream::connect(address).await?;
        Ok(ask(&mut third, "/way").await.starts_with("HTTP/1.1 200").then_some(()))
    });
    again.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_one_that_reads_is_not() {
    let patience = Duration::from_millis(500);
    let (address, _stop) = start(Limits { connections: 1, write_patience: patience, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Its place is free again although it has closed nothing. Whoever reads may have to be slow a few times here: the
    // machine may be.
    let whole = until("a client that reads gets all", Duration::from_secs(60), async || {
        let answer = Client::new().get(format!("http://{address}/much")).send().await;
        let Some(answer) = answer.ok().filter(|answer| answer.status() == StatusCode::OK) else { return Ok(None) };
        Ok(answer.bytes().await.ok())
    });
    assert_eq!(whole.await.unwrap().len(), BODY_BYTES);
    let mut received = Vec::new();
    let ended = silent.read_to_end(&mut received).await;
    assert!(ended.is_err() || received.len() < BODY_BYTES, "{} bytes", received.len());
}

// --- TLS ---

fn files_in(folder: &std::path::Path, mutual: bool) -> TlsFiles {
    let path = |name: &str| folder.join(name);
    TlsFiles { cert: path("cert.pem"), key: path("key.pem"), client_ca: mutual.then(|| path("ca.pem")) }
}

async fn start_tls(authority: &Authority, mutual: bool) -> (SocketAddr, CancellationToken) {
    let folder = authority.files().unwrap();
    let tls = Some(Arc::new(ServerTls::open(files_in(folder.path(), mutual)).unwrap()));
    start(Limits { tls, ..Limits::default() }).await
}

#[tokio::test]
async fn over_tls_bytes_are_copied_and_equal() {
    let authority = Authority::new().unwrap();
    let (address, _stop) = start_tls(&authority, false).await;
    let client = authority.client(false).unwrap();
    let way = client.get(format!("https://{address}/way")).send().await.unwrap().text().await.unwrap();
    assert_eq!(way, "copies");
    let body = client.get(format!("https://{address}/much")).send().await.unwrap().bytes().await.unwrap();
    assert!(body.len() == BODY_BYTES && body.iter().all(|byte| *byte == 7));
    assert!(Client::new().get(format!("https://{address}/way")).send().await.is_err(), "an unknown authority");
}

#[tokio::test]
async fn a_plain_request_at_a_tls_listener_is_told_so() {
    let authority = Authority::new().unwrap();
    let (address, _stop) = start_tls(&authority, false).await;
    let answer = Client::new().get(format!("http://{address}/way")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().await.unwrap().contains("https://"));
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (address, _stop) = start_tls(&authority, true).await;
    let ask = async |client: Client| client.get(format!("https://{address}/way")).send().await;
    assert!(ask(authority.client(false).unwrap()).await.is_err());
    let (cert, key) = other.issue().unwrap();
    let stranger = Client::builder().no_proxy().danger_accept_invalid_certs(true);
    let stranger = stranger.identity(reqwest::Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap());
    assert!(ask(stranger.build().unwrap()).await.is_err());
    assert_eq!(ask(authority.client(true).unwrap()).await.unwrap().status(), StatusCode::OK);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new().unwrap();
    let folder = authority.files().unwrap();
    let files = files_in(folder.path(), true);
    let why = |files: TlsFiles| ServerTls::open(files).err().unwrap().to_string();
    assert!(why(TlsFiles { cert: "/nonexistent/cert".into(), ..files.clone() }).contains("/nonexistent/cert"));
    assert!(why(TlsFiles { cert: files.key.clone(), ..files.clone() }).contains("no certificate"));
    assert!(why(TlsFiles { client_ca: Some(files.key.clone()), ..files.clone() }).contains("key.pem"));
    std::fs::write(&files.key, authority.issue().unwrap().1).unwrap();
    assert!(why(files).contains("cert.pem"), "a key of another certificate");
}

#[test]
fn renewed_files_are_taken_when_they_fit_together() {
    let authority = Authority::new().unwrap();
    let folder = authority.files().unwrap();
    let files = files_in(folder.path(), false);
    let tls = ServerTls::open(files.clone()).unwrap();
    let first = tls.current();
    let look = |tls: &ServerTls| {
        let mut loaded = tls.loaded.lock();
        loaded.stamps = Vec::new();
        tls.renew(&mut loaded);
        loaded.config.clone()
    };
    std::fs::write(&files.cert, authority.issue().unwrap().0).unwrap();
    assert!(Arc::ptr_eq(&first, &look(&tls)), "half of a renewal");
    authority.renew(folder.path()).unwrap();
    assert!(!Arc::ptr_eq(&first, &look(&tls)));
}
