//! A tag is asked for once, and known in the whole cluster.

use std::time::Duration;

use df_testkit::RegistryAccess;
use dfdaemon::config::RegistryConfig;
use reqwest::{Method, Response};

use crate::cluster::{Cluster, REPOSITORY};

async fn ask(cluster: &Cluster, peer: usize, reference: &str) -> Response {
    let (mirror, ns) = (cluster.peer(peer).local_addr, cluster.registry.address());
    let url = format!("http://{mirror}/v2/{REPOSITORY}/manifests/{reference}?ns={ns}");
    cluster.http.get(url).header("accept", "*/*").send().await.unwrap()
}

async fn pull_by_tag(cluster: &Cluster, peer: usize) {
    let manifest = ask(cluster, peer, "v1").await;
    assert_eq!(manifest.status(), 200, "peer {peer}");
    assert_eq!(manifest.headers()["docker-content-digest"], cluster.image.top().digest);
    assert_eq!(manifest.headers()["content-type"], cluster.image.top().media_type);
    assert_eq!(manifest.bytes().await.unwrap(), cluster.image.top().bytes);
    for blob in cluster.image.blobs() {
        assert_eq!(cluster.pull(peer, blob).await, blob.bytes, "peer {peer}");
    }
}

#[tokio::test]
async fn all_nodes_together_ask_for_a_tag_and_for_a_token_once() {
    let cluster = Cluster::with(RegistryAccess::AnonymousToken, 3_000_000).await;
    tokio::join!(pull_by_tag(&cluster, 1), pull_by_tag(&cluster, 2));
    let by_tag = cluster.registry.manifest_stats(REPOSITORY, "v1");
    assert_eq!((by_tag.requests, by_tag.authorizations.len()), (2, 1), "once for the challenge, once with the token");
    let by_digest = cluster.registry.manifest_stats(REPOSITORY, &cluster.image.top().digest);
    assert_eq!(by_digest.requests - by_digest.heads, 1);
    assert_eq!(cluster.registry.token_stats().requests, 1, "the seed's");
}

#[tokio::test]
async fn with_the_registry_gone_a_node_pulls_what_another_has_pulled() {
    let mut cluster = Cluster::with(RegistryAccess::AnonymousToken, 3_000_000).await;
    pull_by_tag(&cluster, 1).await;
    cluster.registry.stop().await;
    pull_by_tag(&cluster, 2).await;
}

/// Refused connections, and packets that are swallowed.
#[tokio::test]
async fn in_an_outage_a_node_that_has_never_asked_is_told_the_last_known_digest() {
    for silent in [false, true] {
        let change = |config: &mut dfdaemon::Config| config.proxy.tag_window_ms = 0;
        let access = RegistryAccess::AnonymousToken;
        let mut cluster = Cluster::changed(access, 500_000, |options| options.change = change).await;
        pull_by_tag(&cluster, 1).await;
        match silent {
            false => cluster.registry.stop().await,
            true => cluster.registry.origin().names().iter().for_each(|name| {
                cluster.registry.origin().change(name, |content| content.first_byte_delay(Duration::from_secs(600)));
            }),
        }
        let manifest = ask(&cluster, 2, "v1").await;
        assert_eq!(manifest.status(), 200, "silent: {silent}");
        assert!(manifest.headers()["warning"].to_str().unwrap().starts_with("111 "), "silent: {silent}");
        assert_eq!(manifest.bytes().await.unwrap(), cluster.image.top().bytes);
    }
}

/// By whichever node.
#[tokio::test]
async fn a_token_that_the_registry_refuses_is_shown_to_it_once() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::with(access, 1000).await;
    for peer in [1, 2] {
        let stranger = ask(&cluster, peer, "v1").await;
        assert_eq!(stranger.status(), 401);
        let ask = |method| {
            let (mirror, ns) = (cluster.peer(peer).local_addr, cluster.registry.address());
            let url = format!("http://{mirror}/v2/{REPOSITORY}/manifests/v1?ns={ns}");
            cluster.http.request(method, url).header("authorization", "Bearer stolen").send()
        };
        for method in [Method::HEAD, Method::GET] {
            let refused = ask(method).await.unwrap();
            assert_eq!(refused.status(), 401);
            let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
            let own = stranger.headers()["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge, format!("{own},error=\"insufficient_scope\""), "the one of the registry itself");
        }
    }
    let shown = cluster.registry.manifest_stats(REPOSITORY, "v1").authorizations;
    assert_eq!(shown.iter().filter(|shown| *shown == "Bearer stolen").count(), 1, "{shown:?}");
}

/// What one node alone may do is not for the seed peer to refuse.
#[tokio::test]
async fn a_node_with_a_password_of_its_own_asks_for_itself_when_the_seed_is_refused() {
    let access = RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::changed(access, 1000, |options| {
        options.change = |config| {
            if config.host.hostname == "peer-1" {
                let password = Some("secret".to_owned().into());
                let (username, host) = (Some("ann".to_owned()), config.upstream.allow[0].replace("http://", ""));
                let registry = RegistryConfig { host, username, password, password_file: None, ca_certs: Vec::new() };
                config.upstream.registries.push(registry);
            }
        };
    })
    .await;
    assert_eq!(ask(&cluster, 2, "v1").await.status(), 401);
    assert_eq!(ask(&cluster, 1, "v1").await.status(), 200);
}

/// As runtimes do it for `app@sha256:…`.
async fn pull_by_digest(cluster: &Cluster, peer: usize) {
    let top = cluster.image.top();
    let (mirror, ns) = (cluster.peer(peer).local_addr, cluster.registry.address());
    let url = format!("http://{mirror}/v2/{REPOSITORY}/manifests/{}?ns={ns}", top.digest);
    let head = cluster.http.head(url).header("accept", "*/*").send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-type"]), (200, &top.media_type.parse().unwrap()));
    let manifest = ask(cluster, peer, &top.digest).await;
    assert_eq!(manifest.status(), 200, "peer {peer}");
    assert_eq!(manifest.bytes().await.unwrap(), top.bytes);
    for blob in cluster.image.blobs() {
        assert_eq!(cluster.pull(peer, blob).await, blob.bytes, "peer {peer}");
    }
}

#[tokio::test]
async fn with_the_registry_gone_a_node_pulls_by_digest_what_another_has_pulled() {
    for by_tag in [false, true] {
        let mut cluster = Cluster::with(RegistryAccess::AnonymousToken, 3_000_000).await;
        match by_tag {
            true => pull_by_tag(&cluster, 1).await,
            false => pull_by_digest(&cluster, 1).await,
        }
        cluster.registry.stop().await;
        pull_by_digest(&cluster, 2).await;
    }
}

#[tokio::test]
async fn with_the_registry_gone_a_private_digest_is_for_the_credential_that_was_accepted() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let mut cluster = Cluster::with(access, 3_000_000).await;
    let url = |peer: usize| {
        let (mirror, ns) = (cluster.peer(peer).local_addr, cluster.registry.address());
        format!("http://{mirror}/v2/{REPOSITORY}/manifests/{}?ns={ns}", cluster.image.top().digest)
    };
    let (url_1, url_2) = (url(1), url(2));
    let get = |url: &str, authorization: &str| cluster.http.get(url).header("authorization", authorization).send();
    assert_eq!(get(&url_1, "Bearer fake-token-0").await.unwrap().status(), 200);
    let http = cluster.http.clone();
    cluster.registry.stop().await;
    for (authorization, expected) in [
        (None, 502),
        (Some("Bearer other"), 502),
        (Some("Basic YW5uOnNlY3JldA=="), 502),
        (Some("Bearer fake-token-0"), 200),
    ] {
        let request = http.get(&url_2);
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        assert_eq!(request.send().await.unwrap().status(), expected, "{authorization:?}");
    }
}

#[tokio::test]
async fn without_the_seed_a_node_asks_for_itself() {
    let cluster = Cluster::with(RegistryAccess::AnonymousToken, 3_000_000).await;
    cluster.platform.seed_stop.cancel();
    pull_by_tag(&cluster, 1).await;
}

/// What the seed knows is for those whom the registry accepts.
#[tokio::test]
async fn a_stranger_learns_nothing_from_the_seed() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::with(access, 3_000_000).await;
    let url = |peer: usize, reference: &str| {
        let (mirror, ns) = (cluster.peer(peer).local_addr, cluster.registry.address());
        format!("http://{mirror}/v2/{REPOSITORY}/manifests/{reference}?ns={ns}")
    };
    for reference in ["v1", &cluster.image.top().digest] {
        let as_ann = cluster.http.get(url(1, reference)).header("authorization", "Bearer fake-token-0");
        assert_eq!(as_ann.send().await.unwrap().status(), 200);
        for authorization in [None, Some("Bearer other"), Some("Basic YW5uOnNlY3JldA==")] {
            let request = cluster.http.get(url(2, reference));
            let request =
                authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
            assert_eq!(request.send().await.unwrap().status(), 401, "{reference}, {authorization:?}");
        }
    }
}
