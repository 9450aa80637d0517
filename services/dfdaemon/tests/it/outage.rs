//! Manifests while the registry does not answer: what is known of them, and how long anybody waits for it.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, SystemTime};

use df_testkit::process::Program;
use df_testkit::registry::{RegistryAccess, manifest_name};
use df_testkit::{FakeRegistry, Image, Layer, STANDSTILL, free_port};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, REPOSITORY, config};

const TAG: &str = "team/app/manifests/v1";
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn restarted(node: Node) -> Node {
    node.stop.cancel();
    let Node { daemon, registry, image, http, dir, .. } = node;
    daemon.stopped().await;
    let stop = CancellationToken::new();
    let daemon = dfdaemon::Dfdaemon::start(config(&dir, &registry), stop.clone()).await.unwrap();
    Node { daemon, registry, image, http, dir, stop }
}

#[tokio::test]
async fn of_many_who_pull_a_known_tag_in_an_outage_one_asks_the_registry() {
    let node = Node::with(RegistryAccess::Open, |config| {
        // Every yes is an old one, so that everybody would ask.
        config.proxy.access_ttl_ms = 0;
        config.proxy.tag_window_ms = 60_000;
    })
    .await;
    assert!(node.get(TAG).send().await.unwrap().bytes().await.is_ok());
    let name = manifest_name(REPOSITORY, "v1");
    node.registry.origin().change(&name, |content| content.status_first(u32::MAX, 503, None));
    let asked = node.registry.origin().stats(&name).requests;
    for answer in join_all((0..20).map(|_| node.get(TAG).send())).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("warning"));
    }
    assert_eq!(node.registry.origin().stats(&name).requests - asked, 1);
}

#[tokio::test]
async fn who_waits_behind_others_waits_no_longer_than_alone() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.first_byte_timeout_ms = 500).await;
    for path in [TAG.to_owned(), node.blob_path(node.layer())] {
        node.registry.origin().change(&format!("v2/{path}"), |content| content.first_byte_delay(DAY));
        // One after another they would take far longer than this.
        let all = join_all((0..200).map(|_| node.get(&path).send()));
        for answer in tokio::time::timeout(STANDSTILL, all).await.expect("all are answered") {
            assert_eq!(answer.unwrap().status(), 504, "{path}");
        }
    }
}

#[tokio::test]
async fn a_public_image_is_pulled_by_its_digest_after_a_restart() {
    let private = RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() };
    let ann = "Basic YW5uOnNlY3JldA==";
    for (access, authorization, expected) in [(RegistryAccess::AnonymousToken, None, 200), (private, Some(ann), 502)] {
        let node = Node::start(access).await;
        let digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
        let paths = [digest, node.blob_path(node.layer())];
        let ask = |request: reqwest::RequestBuilder| {
            authorization.into_iter().fold(request, |request, value| request.header("authorization", value)).send()
        };
        for path in &paths {
            assert!(ask(node.get(path)).await.unwrap().error_for_status().unwrap().bytes().await.is_ok());
        }
        let mut node = restarted(node).await;
        node.registry.stop().await;
        for path in &paths {
            for request in [node.head(path), node.get(path)] {
                assert_eq!(ask(request).await.unwrap().status(), expected, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_tag_in_use_means_does_not_grow_old_on_disk() {
    let node = Node::start(RegistryAccess::Open).await;
    let files = |node: &Node| -> Vec<File> {
        let files = std::fs::read_dir(node.dir.path().join("tags")).unwrap();
        files.map(|file| File::options().append(true).open(file.unwrap().path()).unwrap()).collect()
    };
    node.get(TAG).send().await.unwrap().error_for_status().unwrap();
    for file in files(&node) {
        file.set_modified(SystemTime::now() - 29 * DAY).unwrap();
    }
    let node = restarted(node).await;
    node.get(TAG).send().await.unwrap().error_for_status().unwrap();
    let ages = files(&node).into_iter().map(|file| file.metadata().unwrap().modified().unwrap().elapsed().unwrap());
    let ages: Vec<_> = ages.collect();
    assert!(!ages.is_empty() && ages.iter().all(|age| *age < DAY), "{ages:?}");
}

/// As a program of its own: the numbers and the log are those of a process.
#[tokio::test]
async fn a_known_tag_is_served_to_who_asks_too_much_and_that_is_said_in_the_answer_the_log_and_a_metric() {
    let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let image = Image::build(1, &[Layer::tar(1000)]).unwrap();
    registry.add(REPOSITORY, "v1", &image);
    let dir = tempfile::tempdir().unwrap();
    let (port, log) = (free_port().unwrap(), dir.path().join("log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfdaemon"));
    command
        .env("DF_DFDAEMON__PROXY__LISTEN", format!("127.0.0.1:{port}"))
        .env("DF_DFDAEMON__PROXY__TAG_WINDOW_MS", "0")
        .env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0")
        .env("DF_DFDAEMON__STORAGE__DIR", dir.path().join("store"))
        .env("DF_DFDAEMON__UPSTREAM__ALLOW", format!("[\"{}\"]", registry.base_url()));
    let mut daemon = Program::start("dfdaemon", &mut command, &log).unwrap();
    let base = format!("http://127.0.0.1:{port}");
    daemon.wait_for_url(&format!("{base}/healthz"), Duration::from_secs(60)).await.unwrap();

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = || http.get(format!("{base}/v2/{TAG}?ns={}", registry.address())).send();
    let stale = async || {
        let metrics = http.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix("dragonfly_client_stale_tags_total "));
        count.map_or(0, |count| count.parse().unwrap())
    };
    assert!(!ask().await.unwrap().headers().contains_key("warning"));
    assert_eq!(stale().await, 0);
    for (number, status) in [(1, 429), (2, 500), (3, 503)] {
        let name = manifest_name(REPOSITORY, "v1");
        registry.origin().change(&name, |content| content.status_first(u32::MAX, status, Some("0")));
        let answer = ask().await.unwrap();
        assert_eq!(answer.status(), 200, "{status}");
        assert!(answer.headers()["warning"].to_str().unwrap().starts_with("111 "), "{status}");
        assert_eq!(answer.bytes().await.unwrap(), image.top().bytes);
        assert_eq!(stale().await, number, "{status}");
    }
    let said = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("serving the last known digest")).collect();
    assert_eq!(lines.len(), 3, "{said}");
    for named in [&registry.base_url(), REPOSITORY, "v1", &image.top().digest] {
        assert!(lines.iter().all(|line| line.contains(named)), "{named}: {lines:?}");
    }
}
