//! Rules and `X-Dragonfly-*` headers on the registry mirror: the same as of the forward proxy.

use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{FakeRegistry, Image, Layer, STANDSTILL, until};
use dfdaemon::Config;
use dfdaemon::config::RuleConfig;
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::node::{Node, REPOSITORY, wait_until};
use crate::proxied::through;

fn rule(regex: &str) -> RuleConfig {
    RuleConfig { regex: regex.to_owned(), ..RuleConfig::default() }
}

async fn with_rules(rules: Vec<RuleConfig>) -> Node {
    Node::with(RegistryAccess::Open, |config| config.proxy.rules = rules).await
}

fn layer(node: &Node) -> RequestBuilder {
    node.get(&node.blob_path(node.layer()))
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

fn task_id(answer: &Response) -> Option<String> {
    Some(answer.headers().get("x-dragonfly-task-id")?.to_str().unwrap().to_owned())
}

/// The error code of an OCI body, and the message.
async fn refused(request: RequestBuilder) -> (StatusCode, String, String) {
    let answer = send(request).await;
    let (status, body) = (answer.status(), answer.bytes().await.unwrap());
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let text = |name: &str| said["errors"][0][name].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn what_a_rule_or_a_wish_sends_directly_comes_from_the_registry_each_time() {
    let node = with_rules(vec![RuleConfig { direct: true, ..rule("/team/app/blobs/") }]).await;
    for asked in 1..=2 {
        let answer = send(layer(&node).header("x-dragonfly-use-p2p", "true")).await;
        assert_eq!(task_id(&answer), None);
        assert_eq!(answer.headers()["docker-content-digest"], node.layer().digest);
        assert_eq!(answer.bytes().await.unwrap(), node.layer().bytes);
        assert_eq!(node.served(node.layer()).0, asked);
    }
    let part = send(layer(&node).header("range", "bytes=5-9")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), node.layer().bytes[5..10]);

    let node = Node::start(RegistryAccess::Open).await;
    let manifest = format!("{REPOSITORY}/manifests/v1");
    for path in [&manifest, &node.blob_path(node.layer())] {
        let direct = send(node.get(path).header("x-dragonfly-use-p2p", "false")).await;
        assert_eq!((direct.status(), task_id(&direct)), (StatusCode::OK, None), "{path}");
        let head = send(node.head(path).header("x-dragonfly-use-p2p", "false")).await;
        assert_eq!(head.headers()["content-length"], direct.headers()["content-length"]);
        assert!(task_id(&send(node.get(path)).await).is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_is_private_stays_so_whichever_way_it_is_asked_for() {
    let access = || RegistryAccess::Basic { user: "root".to_owned(), password: "secret".to_owned() };
    let node = Node::start(access()).await;
    let cached = send(layer(&node).basic_auth("root", Some("secret"))).await;
    assert_eq!(cached.bytes().await.unwrap(), node.layer().bytes);
    for (name, value) in [
        ("x-dragonfly-use-p2p", "true"),
        ("x-dragonfly-use-p2p", "false"),
        ("x-dragonfly-tag", "t"),
        ("x-dragonfly-application", "a"),
        ("x-dragonfly-piece-length", "1048576"),
        ("x-dragonfly-prefetch", "true"),
        ("x-dragonfly-priority", "2"),
        ("x-dragonfly-priority", "3"),
        ("x-dragonfly-task-id", node.task_id(node.layer()).as_str()),
        ("x-dragonfly-content-for-calculating-task-id", node.task_id(node.layer()).as_str()),
        ("x-dragonfly-output-path", "/tmp/x"),
    ] {
        for request in [layer(&node), layer(&node).basic_auth("root", Some("wrong"))] {
            let answer = send(request.header(name, value)).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{name}");
            assert!(answer.headers().contains_key("www-authenticate") && task_id(&answer).is_none(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_rule_has_another_registry_asked_if_that_is_allowed() {
    let other = FakeRegistry::start(RegistryAccess::Basic { user: "u".to_owned(), password: "p".to_owned() }).await;
    let other = other.unwrap();
    let node = Node::with_registry(RegistryAccess::Open, |config: &mut Config, registry| {
        let to = |host: String, regex: &str| RuleConfig { redirect: Some(host), ..rule(regex) };
        config.upstream.allow.push(other.base_url());
        config.proxy.rules = vec![
            to(other.address().to_string(), &format!("^http://{}/", registry.address())),
            to("127.0.0.1:1".to_owned(), "^https://ghcr[.]example/"),
            to(other.address().to_string(), "^https://moved[.]lan/"),
        ];
    })
    .await;
    other.add(REPOSITORY, "v1", &node.image);
    let stranger = send(layer(&node)).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED, "the other one's challenge");
    let answer = send(layer(&node).basic_auth("u", Some("p"))).await;
    assert_ne!(task_id(&answer).unwrap(), node.task_id(node.layer()).as_str(), "that would be everybody's");
    assert_eq!(answer.bytes().await.unwrap(), node.layer().bytes);
    assert_eq!(node.registry.blob_stats(REPOSITORY, &node.layer().digest).requests, 0);
    let path = node.blob_path(node.layer());
    let of = |registry: &str| node.http.get(format!("http://{}/v2/{path}?ns={registry}", node.daemon.local_addr));
    let (status, code, message) = refused(of("ghcr.example")).await;
    assert_eq!((status, &*code), (StatusCode::FORBIDDEN, "DENIED"));
    assert!(message.contains("127.0.0.1"), "{message}");
    for private in ["169.254.169.254", "http://localhost"] {
        let named = node.http.get(format!("http://{}/v2/{path}", node.daemon.local_addr));
        let (status, _, _) = refused(named.header("x-dragonfly-registry", private)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{private}");
    }
}

#[tokio::test]
async fn an_answer_says_which_task_it_is_of_who_gives_it_and_whether_all_of_it_is_here() {
    let node = Node::with(RegistryAccess::Open, |config| config.host.advertise_ip = "10.9.8.7".to_owned()).await;
    let name = blob_name(REPOSITORY, &node.layer().digest);
    node.registry.origin().change(&name, |content| content.hold_at(1_000_000));
    let begun = send(layer(&node)).await;
    assert_eq!(begun.headers()["x-dragonfly-task-download-finished"], "false");
    assert_eq!(begun.headers()["x-dragonfly-server-ip"], "10.9.8.7");
    assert_eq!(task_id(&begun).unwrap(), node.task_id(node.layer()).as_str());
    node.registry.origin().release(&name);
    assert_eq!(begun.bytes().await.unwrap(), node.layer().bytes);
    until("it is all here", STANDSTILL, async || {
        let head = node.head(&node.blob_path(node.layer())).send().await?;
        Ok(head.headers().get("x-dragonfly-task-download-finished").is_some_and(|it| it == "true").then_some(()))
    })
    .await
    .unwrap();
    let missing = send(node.get(&format!("{REPOSITORY}/blobs/sha256:{}", "0".repeat(64)))).await;
    assert_eq!(
        (missing.status(), &missing.headers()["x-dragonfly-error-type"]),
        (StatusCode::NOT_FOUND, &"upstream".parse().unwrap())
    );
    let (status, code, message) = refused(layer(&node).header("x-dragonfly-prefetch", "perhaps")).await;
    assert_eq!((status, &*code), (StatusCode::BAD_REQUEST, "UNSUPPORTED"));
    assert!(message.contains("x-dragonfly-prefetch"), "{message}");
}

/// Asks for ten bytes of each blob, as wished. While the registry holds back the rest, downloads end that nobody wants,
/// and those go on that are prefetched.
async fn go_on_as_wished(configured: bool, asked: &[(bool, &str, bool)]) {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.prefetch = configured).await;
    let layers: Vec<_> = asked.iter().map(|_| Layer::tar(1_500_000)).collect();
    let image = Image::build(7, &layers).unwrap();
    node.registry.add(REPOSITORY, "v2", &image);
    let mut tasks = Vec::new();
    for ((proxied, wish, goes_on), blob) in asked.iter().zip(&image.layers) {
        node.registry.origin().change(&blob_name(REPOSITORY, &blob.digest), |content| content.hold_at(600_000));
        let path = node.blob_path(blob);
        let request = match proxied {
            false => node.get(&path),
            true => through(&node).get(format!("{}/v2/{path}", node.registry.base_url())),
        };
        let answer = send(request.header("range", "bytes=0-9").header("x-dragonfly-prefetch", *wish)).await;
        assert_eq!(answer.bytes().await.unwrap(), blob.bytes[..10]);
        tasks.push((node.daemon.peer.task(&node.task_id(blob)).unwrap(), blob, goes_on));
    }
    for (task, _, _) in tasks.iter().filter(|(_, _, goes_on)| !**goes_on) {
        wait_until("what nobody wants ends", || !task.is_running()).await;
    }
    // Asked for before those.
    for (task, blob, _) in tasks.iter().filter(|(_, _, goes_on)| **goes_on) {
        assert!(task.is_running(), "it is wanted");
        node.registry.origin().release(&blob_name(REPOSITORY, &blob.digest));
        wait_until("all of it is here", || task.stored().is_complete()).await;
    }
}

#[tokio::test]
async fn a_range_brings_the_whole_when_that_is_wished_or_configured() {
    let (mirror, proxy) = (false, true);
    let wished = [(mirror, "true", true), (proxy, "true", true), (mirror, "", false), (proxy, "", false)];
    let usual = [(mirror, "", true), (proxy, "", true), (mirror, "false", false), (proxy, "false", false)];
    tokio::join!(go_on_as_wished(false, &wished), go_on_as_wished(true, &usual));
}

#[tokio::test]
async fn pieces_of_another_length_are_another_task_and_a_tag_is_none() {
    let node = Node::start(RegistryAccess::Open).await;
    let usual = task_id(&send(layer(&node)).await);
    let tagged = layer(&node).header("x-dragonfly-tag", "t").header("x-dragonfly-application", "a");
    assert_eq!(task_id(&send(tagged).await), usual, "a blob is one task, whoever asks for it");
    let cut = send(layer(&node).header("x-dragonfly-piece-length", "1048576")).await;
    let id = task_id(&cut).unwrap();
    assert_ne!(Some(&id), usual.as_ref());
    assert_eq!(cut.bytes().await.unwrap(), node.layer().bytes);
    let task = node.daemon.peer.task(&id.parse().unwrap()).unwrap();
    assert_eq!(task.stored().meta().unwrap().piece_length, 1 << 20);
    let (status, _, message) = refused(layer(&node).header("x-dragonfly-piece-length", "1000000")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.contains("262144"), "{message}");
}

#[tokio::test]
async fn a_priority_may_forbid_a_download_or_want_what_is_cached() {
    let node = Node::start(RegistryAccess::Open).await;
    let with = |level: &str| layer(&node).header("x-dragonfly-priority", level);
    let (status, code, _) = refused(with("1")).await;
    assert_eq!((status, &*code), (StatusCode::FORBIDDEN, "DENIED"));
    let (status, code, _) = refused(with("2")).await;
    assert_eq!((status, &*code), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"));
    assert_eq!(node.served(node.layer()).1, 0);
    assert_eq!(send(with("6")).await.bytes().await.unwrap(), node.layer().bytes);
    wait_until("it is complete", || {
        node.daemon.peer.task(&node.task_id(node.layer())).is_some_and(|task| task.stored().is_complete())
    })
    .await;
    assert_eq!(send(with("2")).await.bytes().await.unwrap(), node.layer().bytes);
    let url = node.registry.origin().url("file");
    node.registry.origin().put("file", df_testkit::Content::new("x"));
    let proxied = async |level: &str| {
        let request = through(&node).get(&url).header("x-dragonfly-use-p2p", "true");
        send(request.header("x-dragonfly-priority", level)).await.status()
    };
    assert_eq!((proxied("1").await, proxied("2").await), (StatusCode::FORBIDDEN, StatusCode::NOT_FOUND));
    assert_eq!((proxied("6").await, proxied("nine").await), (StatusCode::OK, StatusCode::BAD_REQUEST));
}
