//! What goes over the wire besides bodies: beside another server, in rubbish, on connections that idle or end.

use std::net::SocketAddr;
use std::process::Command;

use df_testkit::process::{Program, find_program};
use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{free_port, skip};
use futures_util::StreamExt as _;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::node::{Node, REPOSITORY, wait_until};

/// nginx serving one file.
struct Reference {
    url: String,
    _program: Program,
    _dir: TempDir,
}

// === impl Reference ===

impl Reference {
    async fn start(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        std::fs::write(dir.path().join("file"), bytes).unwrap();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path t;"));
        let config = format!(
            "daemon off; master_process off; user root; pid pid; events {{}} http {{ access_log off; {} default_type application/octet-stream;
             server {{ listen {address}; root {}; }} }}",
            temporary.join(" "),
            dir.path().display(),
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let log = dir.path().join("error.log");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf")).arg("-e").arg(&log);
        let mut program = Program::start("nginx", &mut command, &log).unwrap();
        program.wait_for_port(address, std::time::Duration::from_secs(20)).await.unwrap();
        Self { url: format!("http://{address}/file"), _program: program, _dir: dir }
    }
}

/// A `Range` that is well formed, satisfiable or not.
fn range(total: u64) -> impl Strategy<Value = String> {
    let offset = 0..total + total / 10;
    prop_oneof![
        (offset.clone(), offset.clone()).prop_map(|(a, b)| format!("bytes={}-{}", a.min(b), a.max(b))),
        offset.clone().prop_map(|start| format!("bytes={start}-")),
        // nginx says 206 with a wrong Content-Range to an end of no bytes.
        (1..total * 2).prop_map(|end| format!("bytes=-{end}")),
        Just(format!("bytes={}-", total - 1)),
        Just(format!("bytes={total}-")),
    ]
}

/// Several parts, ascending and apart: what else is asked for, nginx sends twice and we as a whole.
fn several_ranges(total: u64) -> impl Strategy<Value = String> {
    let bounds = proptest::collection::btree_set(0..total - 100, 4..12);
    let last =
        prop_oneof![Just(String::new()), (1..100u64).prop_map(|end| format!(",-{end}")), Just(format!(", {total}-"))];
    (bounds, last).prop_map(|(bounds, last)| {
        let bounds: Vec<_> = bounds.into_iter().collect();
        let ranges: Vec<_> = bounds.chunks_exact(2).map(|pair| format!("{}-{}", pair[0], pair[1])).collect();
        format!("bytes={}{last}", ranges.join(","))
    })
}

/// Status, the headers that say which bytes these are, and the bytes.
async fn answer(request: reqwest::RequestBuilder) -> (u16, [Option<String>; 2], bytes::Bytes) {
    let answer = request.send().await.unwrap();
    let header = |name| answer.headers().get(name).map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned());
    let (status, mut headers) = (answer.status().as_u16(), [header("content-range"), header("content-length")]);
    let answer_type = header("content-type");
    let mut body = answer.bytes().await.unwrap();
    // Each has a boundary of its own.
    let content_type = answer_type.unwrap_or_default();
    if let Some(boundary) = content_type.strip_prefix("multipart/byteranges; boundary=") {
        assert_eq!(headers[1], Some(body.len().to_string()));
        body = without(&body, boundary.as_bytes()).into();
        headers[1] = Some(body.len().to_string());
    }
    if status == 416 {
        // Each has its own words for it.
        headers[1] = None;
        body.clear();
    }
    (status, headers, body)
}

fn without(body: &[u8], word: &[u8]) -> Vec<u8> {
    let (mut rest, mut kept) = (body, Vec::with_capacity(body.len()));
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        kept.extend_from_slice(&rest[..at]);
        rest = &rest[at + word.len()..];
    }
    kept.extend_from_slice(rest);
    kept
}

/// Cold, in flight and cached.
#[tokio::test]
async fn ranges_are_answered_as_nginx_answers_them() {
    if find_program("nginx").is_none() {
        return skip("nginx is not installed: `just setup test`");
    }
    let mut runner = TestRunner::deterministic();
    for cold in 0..6 {
        let node = Node::start(RegistryAccess::Open).await;
        let blob = node.layer().clone();
        let name = blob_name(REPOSITORY, &blob.digest);
        // In every other round none of the first questions finds all of it here.
        let slow = cold % 2 == 1;
        if slow {
            node.registry.origin().change(&name, |content| content.hold_at(2_900_000));
        }
        let reference = Reference::start(&blob.bytes).await;
        let strategy = prop_oneof![range(blob.size_bytes()), several_ranges(blob.size_bytes())];
        let ranges: Vec<String> = (0..30).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
        let compare = async |range: &String| {
            let ours = answer(node.get(&node.blob_path(&blob)).header("range", range)).await;
            let theirs = answer(node.http.get(&reference.url).header("range", range)).await;
            assert_eq!((ours.0, &ours.1), (theirs.0, &theirs.1), "{range}");
            assert!(ours.2 == theirs.2, "{range}: other bytes");
        };
        // Some at once, while the rest of it is on its way; then one by one.
        let first = futures_util::stream::iter(&ranges[..15]).for_each_concurrent(15, &compare);
        let release = async {
            wait_until("all of it but the end has come", || node.served(&blob).1 >= 2_900_000).await;
            node.registry.origin().release(&name);
        };
        tokio::join!(first, release);
        futures_util::stream::iter(&ranges[15..]).for_each(&compare).await;
        if slow {
            // The end may have been asked for by itself.
            assert!(node.served(&blob).1 < 2 * blob.size_bytes());
            continue;
        }
        assert_eq!(node.served(&blob), (1, blob.size_bytes()));
    }
}

/// newer containerd, containers/image and crane try TLS on the plain port first, and wait for this.
#[tokio::test]
async fn a_client_hello_is_refused_at_once() {
    let node = Node::start(RegistryAccess::Open).await;
    let mut stream = TcpStream::connect(node.daemon.local_addr).await.unwrap();
    // TLS 1.0 record, handshake, client hello, the lengths of one of 200 bytes.
    let mut hello = vec![22, 3, 1, 0, 204, 1, 0, 0, 200];
    hello.resize(209, 3);
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    // Then it ends the connection: FIN, or what is left unread in it makes a reset.
    drop(stream.read_to_end(&mut answer).await);
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_reader_that_hangs_up_frees_the_upstream() {
    let node = Node::start(RegistryAccess::Open).await;
    let name = blob_name(REPOSITORY, &node.layer().digest);
    node.registry.origin().change(&name, |content| content.hold_at(1_000_000));
    let reading = || node.registry.blob_stats(REPOSITORY, &node.layer().digest).active;
    let mut body = node.get(&node.blob_path(node.layer())).send().await.unwrap().bytes_stream();
    body.next().await.unwrap().unwrap();
    assert!(reading() > 0);
    drop(body);
    wait_until("nobody reads at the registry", || reading() == 0).await;
    node.registry.origin().release(&name);
    let again = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(again.bytes().await.unwrap(), node.layer().bytes);
}

/// Whatever somebody asks below `/v2/`: what is refused says why, in the words of the specification.
#[tokio::test]
async fn every_refusal_is_an_oci_error() {
    let node = Node::start(RegistryAccess::Open).await;
    let word = "[a-zA-Z0-9._:@%-]{0,12}";
    let kind = prop_oneof![Just("manifests"), Just("blobs"), Just("tags"), Just("referrers"), Just("token")];
    let method = prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("DELETE"), Just("PURGE")];
    let headers = proptest::option::of("(bytes|items)=[0-9a-z,-]{0,10}");
    let request = (method, word, kind, word, word, headers);
    let mut runner = TestRunner::deterministic();
    let mut refused = 0;
    for _ in 0..300 {
        let (method, first, kind, last, ns, range) = request.new_tree(&mut runner).unwrap().current();
        // `%` must be followed by two digits, or the client itself would complain.
        let plain = |word: &str| word.replace('%', "%41");
        let ns = if ns.len() < 6 { node.registry.address().to_string() } else { plain(&ns) };
        let url = format!("http://{}/v2/{}/{kind}/{}?ns={ns}", node.daemon.local_addr, plain(&first), plain(&last));
        let mut asked = node.http.request(method.parse().unwrap(), &url);
        if let Some(range) = range {
            asked = asked.header("range", range);
        }
        let answer = asked.send().await.unwrap();
        if !(answer.status().is_client_error() || answer.status().is_server_error()) || method == "HEAD" {
            continue;
        }
        let status = answer.status();
        let body: serde_json::Value = answer.json().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let said = &body["errors"][0];
        assert!(said["code"].is_string() && said["message"].is_string(), "{method} {url}: {status}: {body}");
        refused += 1;
    }
    assert!(refused > 100, "{refused}");
}
