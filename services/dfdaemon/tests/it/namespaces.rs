//! Clients without `ns` name the registry in the path.

use df_testkit::registry::RegistryAccess;

use crate::node::{Node, REPOSITORY};

#[tokio::test]
async fn the_registry_may_be_a_part_of_the_path() {
    let node = Node::start(RegistryAccess::Open).await;
    let registry = node.registry.address().to_string().replace(':', "_");
    let layer = node.layer();
    for path in [
        format!("v2/{registry}/{REPOSITORY}/blobs/{}", layer.digest),
        format!("{registry}/v2/{REPOSITORY}/blobs/{}", layer.digest),
    ] {
        let answer = node.http.get(format!("http://{}/{path}", node.daemon.local_addr)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["x-dragonfly-task-id"], node.task_id(layer).as_str());
        assert_eq!(answer.bytes().await.unwrap(), layer.bytes);
    }
    assert_eq!(node.served(layer), (1, layer.size_bytes()));
    for base in ["v2", "v2/", &format!("{registry}/v2/")] {
        let answer = node.http.get(format!("http://{}/{base}", node.daemon.local_addr)).send().await.unwrap();
        assert_eq!(answer.headers()["docker-distribution-api-version"], "registry/2.0", "{base}");
    }
}
