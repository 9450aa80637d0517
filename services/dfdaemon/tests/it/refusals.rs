//! Bad input gets an error that names the thing, in the client's own language, and nothing is stored.

use df_testkit::Content;
use df_testkit::registry::{RegistryAccess, blob_name};
use serde_json::Value;

use crate::node::{Node, REPOSITORY};

async fn refusal(node: &Node, url: &str, header: Option<(&str, &str)>) -> (u16, String, String) {
    let mut request = node.http.get(url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let error = &body["errors"][0];
    (status, error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_wrong_is_named_in_oci_json() {
    let node = Node::start(RegistryAccess::Open).await;
    let mirror = format!("http://{}/v2", node.daemon.local_addr);
    let ns = node.registry.address();
    let digest = &node.layer().digest;
    let cases = [
        (format!("{mirror}/a/blobs/sha256:abc?ns={ns}"), None, 400, "DIGEST_INVALID", "sha256:abc"),
        (format!("{mirror}/A/manifests/v1?ns={ns}"), None, 400, "NAME_INVALID", "\"A\""),
        (format!("{mirror}/a/manifests/-x?ns={ns}"), None, 400, "TAG_INVALID", "-x"),
        (format!("{mirror}/a/manifests/v1?ns=127.0.0.1:1"), None, 403, "DENIED", "127.0.0.1"),
        (format!("{mirror}/a/manifests/v1?ns=169.254.169.254"), None, 403, "DENIED", "169.254.169.254"),
        (format!("{mirror}/a/manifests/v1?ns=localhost"), None, 403, "DENIED", "localhost"),
        (format!("{mirror}/a/manifests/v1?ns=a/b"), None, 400, "DENIED", "a/b"),
        (
            format!("{mirror}/a/manifests/v1"),
            Some(("x-dragonfly-registry", "http://10.0.0.1")),
            403,
            "DENIED",
            "10.0.0.1",
        ),
        (
            format!("{mirror}/{REPOSITORY}/blobs/{digest}?ns={ns}"),
            Some(("range", "bytes=z-9")),
            400,
            "RANGE_INVALID",
            "bytes=z-9",
        ),
        (
            format!("{mirror}/{REPOSITORY}/blobs/{digest}?ns={ns}"),
            Some(("range", "bytes=9000000-")),
            416,
            "RANGE_INVALID",
            "bytes",
        ),
    ];
    for (url, header, status, code, named) in cases {
        let found = refusal(&node, &url, header).await;
        assert_eq!((found.0, found.1.as_str()), (status, code), "{url}: {}", found.2);
        assert!(found.2.contains(named), "{url}: {}", found.2);
    }
}

#[tokio::test]
async fn who_accepts_too_much_is_refused_and_who_accepts_much_leaves_little() {
    let node = Node::start(RegistryAccess::Open).await;
    let path = format!("{REPOSITORY}/manifests/v1");
    let types = |count: usize| "application/vnd.x+json, ".repeat(count) + "*/*";
    let url = format!("http://{}/v2/{path}?ns={}", node.daemon.local_addr, node.registry.address());
    let found = refusal(&node, &url, Some(("accept", &types(200)))).await;
    assert_eq!((found.0, found.1.as_str()), (400, "UNSUPPORTED"));
    assert!(found.2.contains("Accept"), "{}", found.2);
    let much = (0..100).map(|number| format!("application/vnd.x{number}+json, ")).collect::<String>() + "*/*";
    assert_eq!(node.get(&path).header("accept", much).send().await.unwrap().status(), 200);
    let files: Vec<_> = std::fs::read_dir(node.dir.path().join("tags")).unwrap().map(Result::unwrap).collect();
    assert!(!files.is_empty() && files.iter().all(|file| file.metadata().unwrap().len() < 1000));
}

#[tokio::test]
async fn pushing_is_refused() {
    let node = Node::start(RegistryAccess::Open).await;
    let url = format!("http://{}/v2/a/blobs/uploads/", node.daemon.local_addr);
    assert_eq!(node.http.post(url).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_blob_that_does_not_match_its_digest_is_not_given_whole_and_not_kept() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let name = blob_name(REPOSITORY, &layer.digest);
    node.registry.origin().change(&name, |content| content.wrong_bytes_first(1));
    let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    // The headers are out before the end shows it; the body must then break off.
    assert!(!answer.status().is_success() || answer.bytes().await.is_err());
    // The next one is right, and fetched anew.
    let body = node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body, layer.bytes);
    assert_eq!(node.served(&layer).0, 2);
}

#[tokio::test]
async fn a_silent_registry_becomes_an_error_in_time() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.first_byte_timeout_ms = 300).await;
    let name = blob_name(REPOSITORY, &node.layer().digest);
    node.registry.origin().change(&name, |content| content.first_byte_delay(std::time::Duration::from_secs(60)));
    let url =
        format!("http://{}/v2/{}?ns={}", node.daemon.local_addr, node.blob_path(node.layer()), node.registry.address());
    let (status, code, message) = refusal(&node, &url, None).await;
    assert_eq!((status, code.as_str()), (504, "UNAVAILABLE"), "{message}");
}

#[tokio::test]
async fn what_the_registry_does_not_have_stays_404_and_leaves_nothing() {
    let node = Node::start(RegistryAccess::Open).await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let answer = node.get(&format!("{REPOSITORY}/blobs/{digest}")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["x-dragonfly-error-type"], "upstream");
    assert_eq!(node.task_folders(), 0);
    // The same through the origin itself: a file that is not there leaves nothing behind.
    node.registry.origin().put("gone", Content::new("").status_first(9, 404, None));
    let body = serde_json::json!({ "url": node.registry.origin().url("gone") });
    let url = format!("http://{}/v1/tasks", node.daemon.local_addr);
    let task: Value = node.http.post(url).json(&body).send().await.unwrap().json().await.unwrap();
    let url = format!("http://{}/v1/tasks/{}/content", node.daemon.local_addr, task["id"].as_str().unwrap());
    assert_eq!(node.http.get(url).send().await.unwrap().status(), 404);
    df_testkit::until("its folder is gone", std::time::Duration::from_secs(5), async || {
        Ok((node.task_folders() == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_empty_answer_is_not_passed_off_as_the_blob() {
    let node = Node::start(RegistryAccess::Open).await;
    let name = blob_name(REPOSITORY, &node.layer().digest);
    node.registry.origin().put(&name, Content::new(""));
    let answer = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn a_long_error_of_the_registry_comes_whole_or_shorter_but_never_promised_and_missing() {
    let node = Node::start(RegistryAccess::Open).await;
    let name = blob_name(REPOSITORY, &node.layer().digest);
    node.registry.origin().change(&name, |content| content.status_first(99, 403, None));
    let answer = node.get(&node.blob_path(node.layer())).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.bytes().await.is_ok());
}

/// Whatever stands before a registry and speaks HTML, a client reads why it gets nothing; and one question is enough.
#[tokio::test]
async fn every_error_of_a_registry_is_one_that_clients_read() {
    for (status, code) in [(404, "MANIFEST_UNKNOWN"), (403, "DENIED"), (500, "UNKNOWN"), (418, "UNKNOWN")] {
        let node = Node::start(RegistryAccess::Open).await;
        let mirror = format!("http://{}/v2/{REPOSITORY}", node.daemon.local_addr);
        for reference in ["v1".to_owned(), node.image.top().digest.clone()] {
            let name = df_testkit::registry::manifest_name(REPOSITORY, &reference);
            node.registry.origin().change(&name, |content| content.status_first(99, status, None));
            let before = node.registry.manifest_stats(REPOSITORY, &reference).requests;
            let url = format!("{mirror}/manifests/{reference}?ns={}", node.registry.address());
            let found = refusal(&node, &url, None).await;
            assert_eq!((found.0, found.1.as_str()), (status, code), "{reference}: {}", found.2);
            assert!(found.2.contains(&node.registry.base_url()), "{}", found.2);
            assert!(node.registry.manifest_stats(REPOSITORY, &reference).requests <= before + 1);
        }
    }
}

/// A redirect that nobody can follow is the end of a pull for containerd, and so is a 304 that nobody has asked for.
#[tokio::test]
async fn a_redirect_to_nowhere_is_an_error() {
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let node = Node::start(RegistryAccess::Open).await;
        let mirror = format!("http://{}/v2", node.daemon.local_addr);
        let ns = node.registry.address();
        let by_digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
        let list = format!("{REPOSITORY}/tags/list");
        node.registry.origin().put(&format!("v2/{list}"), Content::new("{}"));
        // The second layer is known to be there, so that its content is asked for at once.
        assert_eq!(node.get(&by_digest).send().await.unwrap().status(), 200);
        let tag = format!("{REPOSITORY}/manifests/v1");
        for path in [tag, list, node.blob_path(&node.image.layers[1])] {
            let lost = |content: Content| content.status_first(u32::MAX, status, None);
            node.registry.origin().change(&format!("v2/{path}"), lost);
            for use_peers in ["true", "false"] {
                let url = format!("{mirror}/{path}?ns={ns}");
                let found = refusal(&node, &url, Some(("x-dragonfly-use-p2p", use_peers))).await;
                assert_eq!(found.0, 502, "{status}: {path}: {}", found.2);
                assert!(found.2.contains(&status.to_string()), "{path}: {}", found.2);
            }
        }
    }
}
