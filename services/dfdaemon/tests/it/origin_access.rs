//! Ways to origins: proxies, certificate authorities, and credentials that this node has for registries.

use df_api::dfdaemon::{ResolveTagRequest, TagAnswer};
use df_api::task::Origin;
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::registry::{RegistryAccess, blob_name, manifest_name};
use df_testkit::{Content, FakeOrigin, SocksProxy, TlsFront, random_bytes};
use dfdaemon::config::{RegistryConfig, UpstreamConfig};
use reqwest::StatusCode;
use secrecy::SecretString;

use crate::node::{Node, REPOSITORY};

fn registry(host: impl ToString) -> RegistryConfig {
    RegistryConfig { host: host.to_string(), username: None, password: None, password_file: None, ca_certs: Vec::new() }
}

fn credential(host: impl ToString, password: &str) -> RegistryConfig {
    let password = Some(SecretString::from(password));
    RegistryConfig { username: Some("root".to_owned()), password, ..registry(host) }
}

fn user(kind: fn(String, String) -> RegistryAccess) -> RegistryAccess {
    kind("root".to_owned(), "secret".to_owned())
}

fn basic() -> RegistryAccess {
    user(|user, password| RegistryAccess::Basic { user, password })
}

fn token() -> RegistryAccess {
    user(|user, password| RegistryAccess::Token { user, password })
}

/// As another node of its cluster asks it.
fn seed_client(node: &Node) -> DfdaemonClient {
    let base = format!("http://{}", node.daemon.peer_addr);
    DfdaemonClient::new(Transport::new(&base, http_client()).unwrap())
}

#[tokio::test]
async fn an_http_proxy_is_asked_instead_of_the_origin() {
    // As a proxy, it is asked for the whole URL and looks at its path.
    let proxy = FakeOrigin::start().await.unwrap();
    proxy.put("file", Content::new("from the proxy"));
    let through = |config: &mut UpstreamConfig| config.proxy = Some(SecretString::from(proxy.base_url()));
    let node = Node::with(RegistryAccess::Open, |config| through(&mut config.upstream)).await;
    node.registry.origin().put("file", Content::new("from the origin"));
    assert_eq!(node.fetch("file").await.unwrap(), "from the proxy");
    assert_eq!(node.registry.origin().stats("file").requests, 0);

    let node = Node::with(RegistryAccess::Open, |config| {
        through(&mut config.upstream);
        config.upstream.no_proxy = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    node.registry.origin().put("file", Content::new("from the origin"));
    assert_eq!(node.fetch("file").await.unwrap(), "from the origin");
}

#[tokio::test]
async fn a_socks_proxy_carries_requests_to_origins() {
    let proxy = SocksProxy::start(Some(("user", "word"))).await.unwrap();
    let url = |user: &str| Some(SecretString::from(format!("socks5://{user}@{}", proxy.address())));
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.proxy = url("user:word")).await;
    let body = random_bytes(1, 3_000_000);
    node.registry.origin().put("file", Content::new(body.clone()));
    assert_eq!(node.fetch("file").await.unwrap(), body);
    assert_eq!(proxy.connected(), 1);

    let node = Node::with(RegistryAccess::Open, |config| config.upstream.proxy = url("user:wrong")).await;
    node.registry.origin().put("file", Content::new(body));
    assert!(node.fetch("file").await.unwrap_err().contains("cannot be reached"));
    assert_eq!(node.registry.origin().stats("file").requests, 0);
}

#[tokio::test]
async fn an_origin_with_a_certificate_of_its_own_authority_is_believed_only_with_that() {
    let (origin, folder) = (FakeOrigin::start().await.unwrap(), tempfile::tempdir().unwrap());
    origin.put("file", Content::new("over TLS"));
    let front = TlsFront::start(origin.address()).await.unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, front.ca_pem()).unwrap();
    let url = format!("{}/file", front.base_url());

    let allow = |config: &mut UpstreamConfig| config.allow.push(front.base_url());
    let node = Node::with(RegistryAccess::Open, |config| allow(&mut config.upstream)).await;
    let refused = node.fetch_url(&url, None).await.unwrap_err();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    assert_eq!(origin.stats("file").requests, 0);

    for only_there in [false, true] {
        let node = Node::with(RegistryAccess::Open, |config| {
            allow(&mut config.upstream);
            let authority = vec![path.clone()];
            if only_there {
                let registry = RegistryConfig { ca_certs: authority, ..registry(front.address()) };
                config.upstream.registries.push(registry);
            } else {
                config.upstream.ca_certs = authority;
            }
        })
        .await;
        assert_eq!(node.fetch_url(&url, None).await.unwrap(), "over TLS");
    }
}

#[tokio::test]
async fn a_configured_credential_is_used_where_the_caller_has_none() {
    for access in [basic(), token()] {
        let mut node = Node::start(access.clone()).await;
        let refused = node.get(&node.blob_path(node.layer())).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

        node = Node::with_registry(access, |config, registry| {
            config.upstream.registries.push(credential(registry.address(), "secret"));
        })
        .await;
        let manifest = node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
        assert_eq!(manifest.bytes().await.unwrap(), node.image.top().bytes);
        for blob in node.image.blobs() {
            let answer = node.get(&node.blob_path(blob)).send().await.unwrap();
            assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
        }
        // One token is good for all of the repository.
        assert!(node.registry.token_stats().requests <= 1);
        // Its own, right or wrong, is what a caller is judged by.
        let own = node.get(&node.blob_path(node.layer())).header("authorization", "Basic d3Jvbmc6").send().await;
        assert_eq!(own.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_token_that_has_become_worthless_is_replaced() {
    let node = Node::with_registry(token(), |config, registry| {
        config.upstream.registries.push(credential(registry.address(), "secret"));
    })
    .await;
    for _ in 0..2 {
        let manifest = node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
        assert_eq!(manifest.status(), StatusCode::OK);
        node.registry.expire_token();
    }
    assert_eq!(node.registry.token_stats().requests, 2);
}

#[tokio::test]
async fn a_wrong_configured_credential_leaves_the_registrys_challenge() {
    let node = Node::with_registry(token(), |config, registry| {
        config.upstream.registries.push(credential(registry.address(), "wrong"));
    })
    .await;
    let refused = node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer realm="));
}

#[tokio::test]
async fn a_configured_credential_is_shown_to_nobody_else() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with_registry(basic(), |config, registry| {
        config.upstream.registries.push(credential(registry.address(), "secret"));
        config.upstream.allow.push(store.base_url());
    })
    .await;
    let blob = node.layer();
    store.put("blob", Content::new(blob.bytes.clone()));
    let name = blob_name(REPOSITORY, &blob.digest);
    node.registry.origin().change(&name, |content| content.redirect_to(&store.url("blob")));
    let answer = node.get(&node.blob_path(blob)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
    assert!(store.stats("blob").authorizations.is_empty());
    assert!(!node.registry.blob_stats(REPOSITORY, &blob.digest).authorizations.is_empty());
}

/// Another node's programs have not been given it.
#[tokio::test]
async fn a_seeds_own_password_answers_no_other_node_and_leaves_nothing_on_disk() {
    let node = Node::with_registry(basic(), |config, registry| {
        config.scheduler.manager.seed_peer.enable = true;
        config.upstream.registries.push(credential(registry.address(), "secret"));
    })
    .await;
    let seed = seed_client(&node);
    let tag = format!("{REPOSITORY}/manifests/v1");
    for _ in ["when nobody has asked", "when its own programs have"] {
        for reference in ["v1", &node.image.top().digest] {
            let url = format!("{}/v2/{REPOSITORY}/manifests/{reference}", node.registry.base_url());
            let refused = seed.resolve_tag(&ResolveTagRequest { origin: Origin::new(url) }).await.unwrap_err();
            assert_eq!(refused.status(), Some(403), "{reference}: {refused}");
        }
        assert_eq!(node.get(&tag).send().await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(std::fs::read_dir(node.dir.path().join("tags")).unwrap().count(), 0);
}

/// So that no node asks for the same no again; what is not the registry's word on the caller each node sees for itself.
#[tokio::test]
async fn a_seed_tells_other_nodes_what_the_registry_refuses_them() {
    let change = |config: &mut dfdaemon::Config| config.scheduler.manager.seed_peer.enable = true;
    let node = Node::with(token(), change).await;
    let seed = seed_client(&node);
    let ask = async |authorization: Option<&str>| {
        let url = format!("{}/v2/{REPOSITORY}/manifests/v1", node.registry.base_url());
        let origin = Origin { authorization: authorization.map(str::to_owned), ..Origin::new(url) };
        seed.resolve_tag(&ResolveTagRequest { origin }).await
    };
    for authorization in [None, Some("Bearer stolen")] {
        for _ in ["asked", "remembered"] {
            let TagAnswer::Refused(refusal) = ask(authorization).await.unwrap() else { panic!("it is private") };
            assert_eq!(refusal.status, 401);
        }
    }
    let asked = node.registry.manifest_stats(REPOSITORY, "v1").authorizations;
    assert_eq!(asked.iter().filter(|shown| *shown == "Bearer stolen").count(), 1, "{asked:?}");

    let node = Node::with(RegistryAccess::Open, change).await;
    let seed = seed_client(&node);
    for (tag, status, wait) in [("none", 404, None), ("broken", 503, None), ("busy", 429, Some("20"))] {
        let content = Content::new("").status_first(u32::MAX, status, wait);
        node.registry.origin().put(&manifest_name(REPOSITORY, tag), content);
        let url = format!("{}/v2/{REPOSITORY}/manifests/{tag}", node.registry.base_url());
        match seed.resolve_tag(&ResolveTagRequest { origin: Origin::new(url) }).await {
            Ok(TagAnswer::Refused(refusal)) => {
                assert_eq!((refusal.status, refusal.retry_after.as_deref()), (status, wait));
            }
            Err(error) => assert_eq!((status, error.status()), (503, Some(502)), "{error}"),
            Ok(resolved) => panic!("{resolved:?}"),
        }
    }
}

#[tokio::test]
async fn where_a_redirect_leads_does_not_see_the_url_that_led_there() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(store.base_url())).await;
    store.put("tags", Content::new("{}"));
    let list = format!("{REPOSITORY}/tags/list");
    node.registry.origin().put(&format!("v2/{list}"), Content::new("").redirect_to(&store.url("tags")));
    assert_eq!(node.get(&list).send().await.unwrap().status(), StatusCode::OK);
    let seen = &store.stats("tags").headers[0];
    assert!(!seen.contains_key("referer"), "{seen:?}");
}

#[tokio::test]
async fn a_password_file_is_read_when_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "wrong\n").unwrap();
    let node = Node::with_registry(basic(), |config, registry| {
        let username = Some("root".to_owned());
        let password_file = Some(path.clone());
        let host = registry.address().to_string();
        config.upstream.registries.push(RegistryConfig { username, password_file, ..self::registry(host) });
    })
    .await;
    let status = async || node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap().status();
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    std::fs::write(&path, "secret\n").unwrap();
    assert_eq!(status().await, StatusCode::OK);
}
