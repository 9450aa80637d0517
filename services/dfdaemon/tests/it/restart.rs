//! What a daemon's disk is worth after it was killed, and what goes from it by itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Blob, Content, FakeRegistry, Image, Layer, Program, free_port, random_bytes, until};
use futures_util::StreamExt as _;

use crate::node::{Node, REPOSITORY};

const BOUND: Duration = Duration::from_secs(60);

/// The real program: only a process can be killed.
async fn start(dir: &Path, registry: &FakeRegistry) -> (Program, SocketAddr) {
    let mirror = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfdaemon"));
    command.env("DF_DFDAEMON__PROXY__LISTEN", mirror.to_string());
    command.env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0");
    command.env("DF_DFDAEMON__STORAGE__DIR", dir.join("storage"));
    command.env("DF_DFDAEMON__UPSTREAM__ALLOW", format!("[\"{}\"]", registry.base_url()));
    let mut program = Program::start("dfdaemon", &mut command, &dir.join("log")).unwrap();
    program.wait_for_port(mirror, BOUND).await.unwrap();
    (program, mirror)
}

fn request(mirror: SocketAddr, registry: &FakeRegistry, blob: &Blob) -> reqwest::RequestBuilder {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={}", blob.digest, registry.address()))
}

#[tokio::test]
async fn a_killed_daemon_fetches_again_only_what_was_not_marked() {
    let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let image = Image::build(1, &[Layer::tar(12_000_000)]).unwrap();
    registry.add(REPOSITORY, "v1", &image);
    let layer = &image.layers[0];
    let name = blob_name(REPOSITORY, &layer.digest);
    registry.origin().change(&name, |content| content.hold_at(7_000_000));
    let dir = tempfile::tempdir().unwrap();

    let (mut daemon, mirror) = start(dir.path(), &registry).await;
    let mut body = request(mirror, &registry, layer).send().await.unwrap().bytes_stream();
    let mut received = 0;
    // A runtime is given marked pieces only.
    while received < 5_000_000 {
        received += body.next().await.unwrap().unwrap().len() as u64;
    }
    daemon.kill();
    registry.origin().release(&name);

    let (_daemon, mirror) = start(dir.path(), &registry).await;
    let answer = request(mirror, &registry, layer).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    // As it counts for itself: the origin has also sent what nobody took any more.
    let url = format!("http://{mirror}/v1/tasks/{}", layer.digest.trim_start_matches("sha256:"));
    let status = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    let status: df_api::dfdaemon::TaskStatus = serde_json::from_slice(&status.bytes().await.unwrap()).unwrap();
    let again = status.received.origin_bytes;
    assert!((1..=layer.size_bytes() - received).contains(&again), "{again} bytes again, though {received} were marked");
}

#[tokio::test]
async fn what_is_over_the_quota_goes_and_comes_back_when_asked_for() {
    let node = Node::with(RegistryAccess::Open, |config| {
        config.storage.quota = "2MB".parse().unwrap();
        config.gc.interval_ms = 20;
    })
    .await;
    let layer = node.layer().clone();
    for fetched in 1..=2 {
        let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
        assert_eq!(node.served(&layer), (fetched, fetched * layer.size_bytes()));
        until("the layer is evicted", BOUND, async || {
            Ok((node.daemon.peer.store().usage().evicted_tasks == fetched).then_some(()))
        })
        .await
        .unwrap();
        assert!(node.daemon.peer.task(&node.task_id(&layer)).is_none());
    }
}

/// Long before the next round of housekeeping.
#[tokio::test]
async fn what_is_over_the_quota_goes_as_soon_as_it_is() {
    let node = Node::with(RegistryAccess::Open, |config| {
        config.storage.quota = "5MB".parse().unwrap();
        config.gc.interval_ms = 3_600_000;
    })
    .await;
    let pull = async |name: &str, seed| {
        let body = random_bytes(seed, 3_000_000);
        node.registry.origin().put(name, Content::new(body.clone()));
        assert_eq!(node.fetch(name).await.unwrap(), body);
    };
    pull("first", 1).await;
    pull("second", 2).await;
    let evicted = async || Ok((node.daemon.peer.store().usage().evicted_tasks == 1).then_some(()));
    until("the first is evicted", BOUND, evicted).await.unwrap();
}

#[tokio::test]
async fn a_stop_leaves_a_clean_store() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let id = node.task_id(&layer);
    node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap();
    node.stop.cancel();
    node.daemon.stopped().await;
    let state = std::fs::read_to_string(node.dir.path().join("state")).unwrap();
    assert!(state.contains(r#""clean":true"#), "{state}");

    // What the disk lost in the meantime would not be noticed; what another boot finds is.
    std::fs::write(node.dir.path().join("state"), r#"{"boot_id":"another","clean":false}"#).unwrap();
    let content = node.dir.path().join("tasks").join(&id.as_str()[..2]).join(id.as_str()).join("content");
    use std::os::unix::fs::FileExt as _;
    std::fs::File::options().write(true).open(content).unwrap().write_all_at(b"flipped", 1_000_000).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let config = crate::node::config(&node.dir, &node.registry);
    let daemon = dfdaemon::Dfdaemon::start(config, stop.clone()).await.unwrap();
    let node = Node { daemon, ..node };
    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    let again = node.daemon.peer.task(&id).unwrap().received().origin_bytes;
    assert!((1..1_000_000).contains(&again), "one piece and what was on its way, not {again} bytes");
    stop.cancel();
}

#[tokio::test]
async fn a_second_daemon_on_one_directory_names_the_lock_and_goes() {
    let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_first, _) = start(dir.path(), &registry).await;
    let mut second = Command::new(env!("CARGO_BIN_EXE_dfdaemon"));
    second.env("DF_DFDAEMON__PROXY__LISTEN", "127.0.0.1:0").env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0");
    let second = second.env("DF_DFDAEMON__STORAGE__DIR", dir.path().join("storage")).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains(&*dir.path().join("storage/lock").to_string_lossy()), "{said}");
}
