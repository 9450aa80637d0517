//! Who may read what: challenges and credentials pass unchanged, and the cache answers only whom the registry accepted.

use base64::Engine as _;
use df_testkit::registry::RegistryAccess;

use crate::node::{Node, REPOSITORY};

fn private() -> RegistryAccess {
    RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() }
}

fn basic(password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}")))
}

#[tokio::test]
async fn the_challenge_of_the_registry_reaches_the_client() {
    for access in [private(), RegistryAccess::AnonymousToken] {
        let node = Node::start(access).await;
        for path in [format!("{REPOSITORY}/manifests/v1"), node.blob_path(node.layer())] {
            let relayed = node.get(&path).send().await.unwrap();
            let direct = node.http.get(format!("{}/v2/{path}", node.registry.base_url())).send().await.unwrap();
            assert_eq!(relayed.status(), 401, "{path}");
            assert_eq!(relayed.headers()["www-authenticate"], direct.headers()["www-authenticate"]);
        }
    }
}

#[tokio::test]
async fn a_cached_private_blob_is_for_those_the_registry_accepts() {
    let node = Node::start(private()).await;
    let path = node.blob_path(node.layer());
    let with = |password: &'static str| node.get(&path).header("authorization", basic(password));
    assert_eq!(with("secret").send().await.unwrap().bytes().await.unwrap(), node.layer().bytes);
    assert_eq!(with("wrong").send().await.unwrap().status(), 401);
    assert_eq!(node.get(&path).send().await.unwrap().status(), 401);
    // Another repository with the same blob needs its own proof.
    let elsewhere = format!("other/app/blobs/{}", node.layer().digest);
    let refused = node.get(&elsewhere).header("authorization", basic("secret")).send().await.unwrap();
    assert_eq!(refused.status(), 404);
    // Nor is a repository that one may read a way to what is not in it.
    let other = df_testkit::Image::build(7, &[df_testkit::Layer::tar(1000)]).unwrap();
    node.registry.add("open/app", "v1", &other);
    let own = format!("open/app/blobs/{}", other.layers[0].digest);
    let get = |path: &str| node.get(path).header("authorization", basic("secret"));
    assert_eq!(get(&own).send().await.unwrap().status(), 200);
    let foreign = format!("open/app/blobs/{}", node.layer().digest);
    assert_eq!(get(&foreign).send().await.unwrap().status(), 404);
    // Accepted once, the bytes come from here.
    assert_eq!(with("secret").send().await.unwrap().bytes().await.unwrap(), node.layer().bytes);
    assert_eq!(node.served(node.layer()).1, node.layer().size_bytes());
}

#[tokio::test]
async fn without_the_registry_only_the_proven_are_served() {
    let mut node = Node::with(private(), |config| config.proxy.access_ttl_ms = 0).await;
    let path = node.blob_path(node.layer());
    let proven = node.get(&path).header("authorization", basic("secret")).send().await.unwrap();
    assert!(proven.bytes().await.is_ok());
    node.registry.stop().await;
    let again = node.get(&path).header("authorization", basic("secret")).send().await.unwrap();
    assert_eq!(again.bytes().await.unwrap(), node.layer().bytes);
    let stranger = node.get(&path).header("authorization", basic("wrong")).send().await.unwrap();
    assert_eq!(stranger.status(), 502);
}

#[tokio::test]
async fn a_registrys_content_is_not_a_task_for_every_program_of_the_node() {
    let node = Node::start(private()).await;
    let path = node.blob_path(node.layer());
    node.get(&path).header("authorization", basic("secret")).send().await.unwrap().bytes().await.unwrap();
    let id = node.task_id(node.layer());
    let url = format!("http://{}/v1/tasks/{id}/content", node.daemon.local_addr);
    assert_eq!(node.http.get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn nothing_of_a_credential_is_on_disk() {
    let node = Node::start(private()).await;
    let path = node.blob_path(node.layer());
    node.get(&path).header("authorization", basic("secret")).send().await.unwrap().bytes().await.unwrap();
    let needle = basic("secret");
    let mut folders = vec![node.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                assert!(!bytes.windows(needle.len()).any(|window| window == needle.as_bytes()), "{:?}", entry.path());
            }
        }
    }
}
