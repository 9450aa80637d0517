//! A tag is asked for once, and known in the whole cluster.

use df_testkit::RegistryAccess;
use reqwest::Response;

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
