//! Where a registry says that tokens are to be had, and where nobody goes: the challenge is the registry's, and anybody may
//! run one.

use df_testkit::TlsFront;
use df_testkit::registry::{RegistryAccess, manifest_name};
use dfdaemon::Config;
use reqwest::{RequestBuilder, Response};
use secrecy::SecretString;

use crate::node::{Node, REPOSITORY};

const TAG: &str = "team/app/manifests/v1";

fn token() -> RegistryAccess {
    RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() }
}

/// The registry is also the proxy of all that the node asks: whatever host a token is asked of, it is seen here.
async fn node_that_sees_all(change: impl FnOnce(&mut Config)) -> Node {
    Node::with_registry(token(), |config, registry| {
        config.upstream.proxy = Some(SecretString::from(registry.base_url()));
        change(config);
    })
    .await
}

fn challenge_with(node: &Node, realm: &str) {
    for name in ["v2/", &manifest_name(REPOSITORY, "v1")] {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
        node.registry.origin().change(name, |content| content.require_authorization("Bearer fake-token-0", &challenge));
    }
}

/// As containers/image does it, of the registry at `address`.
fn ask_for_token(node: &Node, address: impl ToString) -> RequestBuilder {
    let scope = format!("repository:{}/{REPOSITORY}:pull", address.to_string().replace(':', "_"));
    let endpoint = format!("http://{}/v2/token", node.daemon.local_addr);
    node.http.get(endpoint).query(&[("scope", scope)]).basic_auth("ann", Some("secret"))
}

async fn assert_refused(answer: Response, named: &str) {
    assert_eq!(answer.status(), 401, "{named}");
    let body: serde_json::Value = answer.json().await.unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(named), "{message}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_realm_that_is_not_allowed() {
    for (realm, named) in [
        ("http://127.0.0.1:1/token", "127.0.0.1"),
        ("http://169.254.169.254/token", "169.254.169.254"),
        ("http://10.1.2.3/token", "10.1.2.3"),
        ("http://[::1]/token", "[::1]"),
        ("http://localhost/token", "localhost"),
        ("http://unlisted/token", "unlisted"),
        ("ftp://auth.example/token", "ftp"),
        ("nowhere", "nowhere"),
    ] {
        let node = node_that_sees_all(|_| {}).await;
        challenge_with(&node, realm);
        for request in [node.head(TAG), node.get(TAG)] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{realm}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.contains(realm), "{challenge}");
        }
        assert_refused(ask_for_token(&node, node.registry.address()).send().await.unwrap(), named).await;
        assert_eq!(node.registry.token_stats().requests, 0, "{realm}");
        let shown = node.registry.manifest_stats(REPOSITORY, "v1").authorizations;
        assert!(shown.is_empty(), "{realm}: {shown:?}");
    }
}

/// What shows that the test above would see it.
#[tokio::test]
async fn a_password_goes_to_a_realm_that_is_allowed() {
    let node = node_that_sees_all(|config| config.upstream.allow.push("http://10.1.2.3".to_owned())).await;
    challenge_with(&node, "http://10.1.2.3/token");
    assert_eq!(ask_for_token(&node, node.registry.address()).send().await.unwrap().status(), 200);
    let stats = node.registry.token_stats();
    assert_eq!((stats.requests, stats.authorizations.len()), (1, 1), "{stats:?}");
}

#[tokio::test]
async fn a_password_for_a_registry_behind_tls_is_not_sent_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let registry = df_testkit::FakeRegistry::start(token()).await.unwrap();
    let front = TlsFront::start(registry.address()).await.unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, front.ca_pem()).unwrap();
    let mut node = Node::with(token(), |config| {
        // Of its realm, too, so that only the scheme is in the way.
        config.upstream.allow = vec![front.base_url(), registry.base_url()];
        config.upstream.ca_certs = vec![trusted];
    })
    .await;
    node.registry = registry;
    node.registry.add(REPOSITORY, "v1", &node.image);
    let url = format!("http://{}/v2/{TAG}?ns={}", node.daemon.local_addr, front.address());
    assert_eq!(node.http.get(url).send().await.unwrap().status(), 401);
    assert_refused(ask_for_token(&node, front.address()).send().await.unwrap(), "is not https").await;
    assert_eq!(node.registry.token_stats().requests, 0);
}
