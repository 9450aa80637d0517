//! Registries that lie about type, digest or length, and what stands before one and says yes to everything.

use std::time::Duration;

use df_testkit::image::MANIFEST_TYPE;
use df_testkit::registry::{RegistryAccess, blob_name, manifest_name};
use df_testkit::{Content, Image, Layer, sha256_hex, until};
use reqwest::RequestBuilder;

use crate::node::{Node, REPOSITORY};

const TAG: &str = "team/app/manifests/v1";

/// 502 in OCI's words, with the registry and `named` in them.
async fn assert_refused(node: &Node, request: RequestBuilder, named: &str) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 502, "{named}");
    let body: serde_json::Value = answer.json().await.unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(&node.registry.base_url()) && message.contains(named), "{message}");
}

/// No content, nor what a tag means.
async fn assert_nothing_kept(node: &Node) {
    until("nothing is kept", Duration::from_secs(60), async || {
        let tags = std::fs::read_dir(node.dir.path().join("tags")).unwrap().count();
        Ok((node.task_folders() == 0 && tags == 0).then_some(()))
    })
    .await
    .unwrap();
}

fn page() -> Content {
    Content::new("<html>log in first</html>").header("content-type", "text/html; charset=utf-8")
}

#[tokio::test]
async fn a_page_that_answers_everything_is_no_registry() {
    let node = Node::start(RegistryAccess::Open).await;
    let by_digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
    let paths = [TAG.to_owned(), by_digest, node.blob_path(node.layer())];
    for path in &paths {
        node.registry.origin().put(&format!("v2/{path}"), page());
    }
    for path in &paths {
        assert_eq!(node.head(path).send().await.unwrap().status(), 502, "{path}");
        assert_refused(&node, node.get(path), "text/html").await;
        assert_refused(&node, node.get(path).header("x-dragonfly-use-p2p", "false"), "text/html").await;
    }
    assert_nothing_kept(&node).await;
}

/// It proves nothing, and is no news of a tag: what is known is the last that the registry has said.
#[tokio::test]
async fn a_page_before_a_registry_is_an_outage() {
    let node = Node::start(RegistryAccess::Open).await;
    assert_eq!(node.get(TAG).send().await.unwrap().status(), 200);
    node.registry.origin().put(&manifest_name(REPOSITORY, "v1"), page());
    let answer = node.get(TAG).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("warning"));
    assert_eq!(answer.bytes().await.unwrap(), node.image.top().bytes);
}

#[tokio::test]
async fn a_manifest_is_of_a_manifests_type_or_none() {
    for (content_type, digest) in [("application/json", None), ("application/octet-stream", Some(()))] {
        let node = Node::start(RegistryAccess::Open).await;
        for reference in ["v1", &node.image.top().digest] {
            let manifest = node.image.top();
            let content = Content::new(manifest.bytes.clone()).header("content-type", content_type);
            let content = digest
                .into_iter()
                .fold(content, |content, ()| content.header("docker-content-digest", &manifest.digest));
            node.registry.origin().put(&manifest_name(REPOSITORY, reference), content);
            assert_refused(&node, node.get(&format!("{REPOSITORY}/manifests/{reference}")), content_type).await;
        }
        assert_nothing_kept(&node).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_by_digest_is_not_answered_with_another() {
    let node = Node::start(RegistryAccess::Open).await;
    let other = format!("sha256:{}", "ab".repeat(32));
    let by_digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
    for path in [by_digest, node.blob_path(node.layer())] {
        let lie = |content: Content| content.header("docker-content-digest", &other);
        node.registry.origin().change(&format!("v2/{path}"), lie);
        assert_refused(&node, node.get(&path), &other).await;
    }
    assert_nothing_kept(&node).await;
}

#[tokio::test]
async fn a_tag_that_is_said_to_mean_other_bytes_is_refused_and_then_asked_again() {
    let node = Node::start(RegistryAccess::Open).await;
    let other = Image::build(7, &[Layer::tar(10)]).unwrap();
    let manifest = |digest: &str| {
        let content = Content::new(node.image.top().bytes.clone()).header("content-type", MANIFEST_TYPE);
        content.header("docker-content-digest", digest)
    };
    for reference in ["v1", &other.top().digest] {
        node.registry.origin().put(&manifest_name(REPOSITORY, reference), manifest(&other.top().digest));
    }
    assert_refused(&node, node.get(TAG), &sha256_hex(&node.image.top().bytes)).await;
    assert_eq!(node.task_folders(), 0);
    node.registry.origin().put(&manifest_name(REPOSITORY, "v1"), manifest(&node.image.top().digest));
    assert_eq!(node.get(TAG).send().await.unwrap().bytes().await.unwrap(), node.image.top().bytes);
}

#[tokio::test]
async fn a_manifest_that_is_not_as_long_as_was_said_is_refused_and_then_asked_again() {
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.tag_window_ms = 600_000).await;
    let manifest = node.image.top().clone();
    let length = manifest.size_bytes();
    let said = |length: u64| {
        let name = manifest_name(REPOSITORY, "v1");
        node.registry.origin().change(&name, |content| content.header("content-length", &length.to_string()));
    };
    said(length + 7);
    assert_refused(&node, node.get(TAG), &(length + 7).to_string()).await;
    said(length);
    assert_eq!(node.get(TAG).send().await.unwrap().bytes().await.unwrap(), manifest.bytes);
    // By its digest, too, as containerd asks after a HEAD.
    let node = Node::with(RegistryAccess::Open, |config| config.proxy.tag_window_ms = 600_000).await;
    let name = manifest_name(REPOSITORY, "v1");
    node.registry.origin().change(&name, |content| content.header("content-length", "9"));
    assert_eq!(node.head(TAG).send().await.unwrap().headers()["content-length"], "9");
    let by_digest = format!("{REPOSITORY}/manifests/{}", manifest.digest);
    assert_refused(&node, node.get(&by_digest), "has 9 bytes").await;
}

/// However long it is said to be, no more is fetched or kept than there is.
#[tokio::test]
async fn a_blob_is_as_long_as_its_digest_says() {
    for claimed in [0, 1, 2_999_999, 9_000_000, u64::MAX / 4, u64::MAX] {
        let node = Node::start(RegistryAccess::Open).await;
        let layer = node.layer().clone();
        let name = blob_name(REPOSITORY, &layer.digest);
        node.registry.origin().change(&name, |content| content.claim_length(claimed));
        let answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
        let status = answer.status();
        assert!(status == 502 || (status == 200 && answer.bytes().await.is_err()), "{claimed}: {status}");
        until("nothing is kept", Duration::from_secs(60), async || Ok((node.task_folders() == 0).then_some(())))
            .await
            .unwrap();
        assert!(node.served(&layer).1 <= 4 * layer.size_bytes(), "{claimed}: {:?}", node.served(&layer));
        node.registry.origin().change(&name, |content| content.claim_length(layer.size_bytes()));
        assert_eq!(node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap(), layer.bytes);
    }
}
