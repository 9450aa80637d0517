//! Clients without `ns` name the registry in the path.

use df_testkit::Content;
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

/// Whoever names the registry in the path or by `ns` would otherwise ask the default registry for the second page.
#[tokio::test]
async fn a_list_goes_on_at_the_registry_it_began_at() {
    let node = Node::start(RegistryAccess::Open).await;
    let referrers = format!("referrers/{}", node.image.top().digest);
    let (ns, base) = (node.registry.address().to_string(), node.registry.base_url());
    let host = ns.replace(':', "_");
    for list in ["tags/list", &referrers] {
        let path = format!("v2/{REPOSITORY}/{list}");
        for link in [format!("/{path}?n=1&last=a"), format!("{base}/{path}?n=1&last=a")] {
            let link = format!("<{link}>; rel=\"next\"");
            node.registry.origin().put(&path, Content::new("{}").header("link", &link));
            for (asked, more) in [
                (format!("/v2/{REPOSITORY}/{list}?ns={ns}"), format!("&ns={}", ns.replace(':', "%3A"))),
                (format!("/v2/{host}/{REPOSITORY}/{list}"), String::new()),
                (format!("/{host}/v2/{REPOSITORY}/{list}"), String::new()),
            ] {
                let mirror = format!("http://{}", node.daemon.local_addr);
                let answer = node.http.get(format!("{mirror}{asked}")).send().await.unwrap();
                let next = answer.headers()["link"].to_str().unwrap();
                let expected = format!("{}?n=1&last=a{more}", asked.split('?').next().unwrap());
                assert_eq!(next, format!("<{expected}>; rel=\"next\""));
                let before = node.registry.origin().stats(&path).requests;
                assert_eq!(node.http.get(format!("{mirror}{expected}")).send().await.unwrap().status(), 200);
                assert_eq!(node.registry.origin().stats(&path).requests, before + 1);
            }
        }
    }
}
