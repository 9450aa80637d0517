//! What the rules of the forward proxy send through the peers: one content, and only for whom its server gives it to.

use axum::Router;
use axum::http::HeaderMap;
use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Content, STANDSTILL, random_bytes, until};
use dfdaemon::config::RuleConfig;
use reqwest::StatusCode;

use crate::node::{Node, REPOSITORY, wait_until};
use crate::proxied::{Echo, all, allow, through};

const LENGTH: usize = 3_000_000;

async fn node() -> (Node, bytes::Bytes, String) {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.rules = all()).await;
    let body = random_bytes(1, LENGTH);
    node.registry.origin().put("file", Content::new(body.clone()).header("content-type", "image/png"));
    let url = node.registry.origin().url("file");
    (node, body, url)
}

/// Bytes of content that the server has sent, without probes for one.
fn served(node: &Node) -> u64 {
    let stats = node.registry.origin().stats("file");
    stats.bytes - stats.ranges.iter().filter(|range| *range == "bytes=0-0").count() as u64
}

#[tokio::test]
async fn a_content_is_fetched_once_and_given_whole_and_in_parts() {
    let (node, body, url) = node().await;
    let client = through(&node);
    let first = client.get(&url).send().await.unwrap();
    assert_eq!((first.status(), first.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "image/png"));
    let id = first.headers()["x-dragonfly-task-id"].to_str().unwrap().to_owned();
    assert_eq!(first.bytes().await.unwrap(), body);
    wait_until("it is complete", || served(&node) == LENGTH as u64).await;
    let part = client.get(&url).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 10-19/{LENGTH}"));
    assert_eq!(part.headers()["x-dragonfly-task-id"], id);
    assert!(part.headers()["etag"].to_str().unwrap().starts_with('"'));
    assert_eq!(part.bytes().await.unwrap(), body[10..20]);
    let beyond = client.get(&url).header("range", format!("bytes={LENGTH}-")).send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    // Checked and written, a moment after it has come.
    until("it is all here", STANDSTILL, async || {
        let again = client.get(&url).send().await?;
        let finished = again.headers()["x-dragonfly-task-download-finished"] == "true";
        assert_eq!(again.bytes().await?, body);
        Ok(finished.then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(served(&node), LENGTH as u64);
    let tagged = client.get(&url).header("x-dragonfly-tag", "t").send().await.unwrap();
    assert_ne!(tagged.headers()["x-dragonfly-task-id"], id);
    assert_eq!(tagged.bytes().await.unwrap(), body);
    assert!(
        node.registry.origin().stats("file").headers.iter().all(|headers| !headers.contains_key("x-dragonfly-tag"))
    );
}

#[tokio::test]
async fn what_is_cached_is_only_for_whom_its_server_gives_it_to() {
    let (node, body, url) = node().await;
    let client = through(&node);
    node.registry.origin().change("file", |content| content.require_authorization("Bearer good", "Bearer realm=\"r\""));
    let get = async |authorization: Option<&str>| {
        let request = client.get(&url);
        authorization.into_iter().fold(request, |it, value| it.header("authorization", value)).send().await.unwrap()
    };
    assert_eq!(get(Some("Bearer good")).await.bytes().await.unwrap(), body);
    for wrong in [None, Some("Bearer bad"), Some("Basic good")] {
        for _ in 0..2 {
            let refused = get(wrong).await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{wrong:?}");
            assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"r\"");
        }
    }
    let asked = node.registry.origin().stats("file").requests;
    assert_eq!(get(Some("Bearer good")).await.bytes().await.unwrap(), body);
    assert_eq!(node.registry.origin().stats("file").requests, asked, "a yes is remembered");
    // Whatever else is shown is a credential of its own.
    for (authorization, status) in [("Bearer good", StatusCode::OK), ("Bearer bad", StatusCode::UNAUTHORIZED)] {
        let shown = client.get(&url).header("authorization", authorization).header("private-token", "x");
        assert_eq!(shown.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn who_is_sent_to_sign_in_gets_no_more_than_that_page() {
    let (node, body, url) = node().await;
    let (origin, client) = (node.registry.origin(), through(&node));
    origin.put("sign-in", Content::new("please sign in"));
    let known = client.get(&url).header("authorization", "Bearer good").send().await.unwrap();
    assert_eq!(known.bytes().await.unwrap(), body);
    wait_until("it is complete", || served(&node) >= LENGTH as u64).await;
    origin.change("file", |content| content.redirect_to("/sign-in"));
    for _ in 0..2 {
        let stranger = client.get(&url).header("cookie", "session=none").send().await.unwrap();
        assert_eq!(stranger.status(), StatusCode::TEMPORARY_REDIRECT);
        let other = client.get(&url).header("authorization", "Bearer none").send().await.unwrap();
        assert_eq!(other.status(), StatusCode::TEMPORARY_REDIRECT);
    }
}

#[tokio::test]
async fn a_signature_is_no_part_of_a_content_and_opens_it_only_where_it_is_good() {
    let node = Node::with(RegistryAccess::Open, |config| {
        let filtered_query_params = vec!["token".to_owned()];
        config.proxy.rules = vec![RuleConfig { regex: ".".to_owned(), filtered_query_params, ..RuleConfig::default() }];
    })
    .await;
    let (origin, client) = (node.registry.origin(), through(&node));
    origin.put("file", Content::new(random_bytes(1, LENGTH)));
    let get = async |query: &str, names: &str| {
        let request = client.get(format!("{}?{query}", origin.url("file")));
        let answer = request.header("x-dragonfly-filtered-query-params", names).send().await.unwrap();
        let id = answer.headers().get("x-dragonfly-task-id").map(|id| id.to_str().unwrap().to_owned());
        (answer.status(), id, answer.bytes().await.unwrap().len())
    };
    let first = get("token=1&X-Amz-Signature=a", "").await;
    assert_eq!((first.0, first.2), (StatusCode::OK, LENGTH));
    assert_eq!(get("X-Amz-Signature=b&token=2", "").await, first);
    let other = get("other=1", "other").await;
    assert_eq!(get("other=2", "other").await, other);
    // Whoever filters what matters meets nobody who does not.
    assert!([first.1.clone(), get("other=1", "").await.1, get("", "").await.1].iter().all(|id| *id != other.1));
    let probes = || origin.stats("file").ranges.iter().filter(|range| *range == "bytes=0-0").count();
    let before = probes();
    get("token=3", "").await;
    get("token=3", "").await;
    assert_eq!(probes(), before + 1, "each signature is shown to the server once");
    origin.change("file", |content| content.status_first(1000, 403, None));
    assert_eq!(get("token=4", "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get("token=3", "").await, first);
}

#[tokio::test]
async fn a_piece_length_is_checked() {
    let (node, _, url) = node().await;
    let client = through(&node);
    let odd = client.get(&url).header("x-dragonfly-piece-length", "1000000").send().await.unwrap();
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);
    let usual = client.get(&url).header("x-dragonfly-piece-length", "1048576").send().await.unwrap();
    assert!(usual.headers().contains_key("x-dragonfly-task-id"));
}

#[tokio::test]
async fn who_was_let_in_is_served_while_the_server_is_down() {
    let (node, body, url) = node().await;
    let client = through(&node);
    assert_eq!(client.get(&url).send().await.unwrap().bytes().await.unwrap(), body);
    wait_until("it is complete", || served(&node) == LENGTH as u64).await;
    node.registry.origin().change("file", |content| content.status_first(1000, 503, None));
    let fresh = || client.get(&url).header("cache-control", "no-cache");
    assert_eq!(fresh().send().await.unwrap().bytes().await.unwrap(), body);
    let stranger = fresh().header("authorization", "Bearer x").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_content_that_has_changed_is_not_served_from_before() {
    let (node, body, url) = node().await;
    let client = through(&node);
    assert_eq!(client.get(&url).send().await.unwrap().bytes().await.unwrap(), body);
    wait_until("it is complete", || served(&node) == LENGTH as u64).await;
    node.registry.origin().put("file", Content::new("new"));
    let fresh = client.get(&url).header("cache-control", "max-age=0").send().await.unwrap();
    assert_eq!(fresh.text().await.unwrap(), "new");
}

#[tokio::test]
async fn what_only_its_server_can_answer_is_asked_of_it() {
    let (node, body, url) = node().await;
    let client = through(&node);
    let etag = client.get(&url).send().await.unwrap().headers()["etag"].clone();
    let unchanged = client.get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], LENGTH.to_string());
    assert!(!head.headers().contains_key("x-dragonfly-task-id"));
    let missing = client.get(node.registry.origin().url("missing")).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let direct = client.get(&url).header("x-dragonfly-use-p2p", "false").send().await.unwrap();
    assert!(!direct.headers().contains_key("x-dragonfly-task-id"));
    assert_eq!(direct.bytes().await.unwrap(), body);
}

#[tokio::test]
async fn rules_say_what_goes_where() {
    let node = Node::with_registry(RegistryAccess::Open, |config, registry| {
        let rule = |regex: &str| RuleConfig { regex: regex.to_owned(), ..RuleConfig::default() };
        let redirect = Some(registry.address().to_string());
        config.proxy.rules = vec![
            RuleConfig { direct: true, ..rule("/direct/") },
            RuleConfig { redirect, ..rule("^http://moved\\.example/") },
        ];
    })
    .await;
    let (origin, client) = (node.registry.origin(), through(&node));
    for name in ["direct/file", "other", "moved"] {
        origin.put(name, Content::new(name.to_owned()));
    }
    let get = async |url: String, wish: &str| {
        let answer = client.get(url).header("x-dragonfly-use-p2p", wish).send().await.unwrap();
        (answer.headers().contains_key("x-dragonfly-task-id"), answer.text().await.unwrap())
    };
    assert_eq!(get(origin.url("direct/file"), "true").await, (false, "direct/file".to_owned()));
    assert_eq!(get(origin.url("other"), "").await, (false, "other".to_owned()));
    assert_eq!(get(origin.url("other"), "true").await, (true, "other".to_owned()));
    assert_eq!(get("http://moved.example/moved".to_owned(), "").await, (true, "moved".to_owned()));
}

#[tokio::test]
async fn a_range_brings_the_whole_only_when_that_is_wished() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.rules = all()).await;
    let body = random_bytes(1, LENGTH);
    let ask = async |wish: &str| {
        node.registry.origin().put(wish, Content::new(body.clone()).hold_at(600_000));
        let request = through(&node).get(node.registry.origin().url(wish)).header("range", "bytes=0-9");
        let answer = request.header("x-dragonfly-prefetch", wish).send().await.unwrap();
        let id = answer.headers()["x-dragonfly-task-id"].to_str().unwrap().to_owned().try_into().unwrap();
        assert_eq!(answer.bytes().await.unwrap(), body[..10]);
        node.daemon.peer.task(&id).unwrap()
    };
    let (wished, other) = (ask("true").await, ask("false").await);
    wait_until("what nobody wants ends", || !other.is_running()).await;
    assert!(wished.is_running(), "it was asked for before the other");
    node.registry.origin().release("true");
    wait_until("all of it is here", || wished.stored().is_complete()).await;
}

#[tokio::test]
async fn a_blob_is_one_whether_mirror_or_proxy_is_asked() {
    let user = || ("root".to_owned(), "secret".to_owned());
    let (user, password) = user();
    let node = Node::start(RegistryAccess::Basic { user, password }).await;
    let (path, blob) = (node.blob_path(node.layer()), node.layer());
    let url = format!("{}/v2/{path}", node.registry.base_url());
    let mirrored = node.get(&path).basic_auth("root", Some("secret")).send().await.unwrap();
    assert_eq!(mirrored.bytes().await.unwrap(), blob.bytes);
    let before = node.served(blob).1;
    let client = through(&node);
    let proxied = client.get(&url).basic_auth("root", Some("secret")).send().await.unwrap();
    assert_eq!(proxied.headers()["docker-content-digest"], blob.digest);
    assert_eq!(proxied.bytes().await.unwrap(), blob.bytes);
    assert_eq!(node.served(blob).1, before, "the registry has sent it once");
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().contains_key("www-authenticate"));
}

const SHOWN: [&str; 3] = ["authorization", "cookie", "x-api-key"];

/// A server that says no more of its pages than their type, the one that is asked for; they are all as long.
async fn pages() -> (Echo, Node) {
    let page = async |headers: HeaderMap| {
        let said = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let user = SHOWN.iter().find_map(|name| said(name)).unwrap_or_default();
        let accepted = said("accept").unwrap_or_default();
        ([("content-type", accepted.clone())], format!("{user:>20} {accepted:>20}"))
    };
    let server = Echo::start_with(Router::new().fallback(page)).await;
    let node = Node::with(RegistryAccess::Open, |config| {
        allow(config, &[&server.url("")]);
        config.proxy.rules = all();
    })
    .await;
    (server, node)
}

#[tokio::test]
async fn a_page_without_a_validator_is_only_for_who_asks_for_it() {
    let (server, node) = pages().await;
    let (client, url) = (through(&node), server.url("/me"));
    let get = async |name: &str, user: &str| {
        let page = client.get(&url).header(name, user).send().await.unwrap();
        let is_of_the_peers = page.headers().contains_key("x-dragonfly-task-id");
        assert_eq!(page.text().await.unwrap(), format!("{user:>20} {:>20}", "*/*"), "{name}");
        is_of_the_peers
    };
    for name in SHOWN {
        for user in ["Bearer alice", "Bearer bobby", "Bearer alice"] {
            assert!(!get(name, user).await, "nothing is kept");
        }
    }
    // What everybody is given is shared; whoever shows anything is still given his own.
    for _ in 0..2 {
        assert!(get("user-agent", "").await);
        assert!(!get("cookie", "Bearer carol").await);
    }
    let signed = client.get(format!("{url}?token=1")).header("x-dragonfly-filtered-query-params", "token");
    let page = signed.send().await.unwrap();
    assert!(!page.headers().contains_key("x-dragonfly-task-id"), "so is a URL with a signature");
}

#[tokio::test]
async fn who_wants_another_type_or_language_gets_it() {
    let (server, node) = pages().await;
    let (client, url) = (through(&node), server.url("/simple/x/"));
    for wanted in ["text/json", "text/html", "text/json"] {
        let page = client.get(&url).header("accept", wanted).send().await.unwrap();
        assert_eq!(page.headers()["content-type"], wanted);
        assert_eq!(page.text().await.unwrap(), format!("{:>20} {wanted:>20}", ""));
    }
    let origin = node.registry.origin();
    for name in ["accept", "accept-language"] {
        for value in ["de", "fr"] {
            origin.put("page", Content::new(value));
            let page = client.get(origin.url("page")).header(name, value).send().await.unwrap();
            assert_eq!(page.text().await.unwrap(), value, "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_made_for_one_is_not_kept() {
    let (node, body, _) = node().await;
    let (origin, client) = (node.registry.origin(), through(&node));
    let kept = [("cache-control", "public"), ("cache-control", "no-cache"), ("vary", "Origin, Accept-Encoding")];
    let personal = [("cache-control", "private, max-age=9"), ("cache-control", "no-store"), ("vary", "Cookie, Accept")];
    let all = kept.map(|header| (header, true)).into_iter().chain(personal.map(|header| (header, false)));
    for (at, ((name, value), is_kept)) in all.enumerate() {
        let file = format!("file-{at}");
        origin.put(&file, Content::new(body.clone()).header(name, value));
        for _ in 0..2 {
            let answer = client.get(origin.url(&file)).send().await.unwrap();
            assert_eq!(answer.headers().contains_key("x-dragonfly-task-id"), is_kept, "{name}: {value}");
            assert_eq!(answer.bytes().await.unwrap(), body);
        }
    }
}

#[tokio::test]
async fn a_blob_that_the_peers_do_not_bring_in_time_is_asked_of_its_registry() {
    let node = Node::with(RegistryAccess::Open, |config| {
        config.proxy.rules = all();
        config.proxy.first_byte_timeout_ms = 300;
    })
    .await;
    let (origin, layer) = (node.registry.origin(), node.layer());
    let blob = blob_name(REPOSITORY, &layer.digest);
    origin.change(&blob, |content| content.hold_at(0));
    let mirrored = node.get(&node.blob_path(layer)).send().await.unwrap();
    assert_eq!(mirrored.status(), StatusCode::GATEWAY_TIMEOUT, "a runtime has another host to ask");
    let answer = through(&node).get(origin.url(&blob)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("x-dragonfly-task-id"));
    origin.release(&blob);
    assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
}
