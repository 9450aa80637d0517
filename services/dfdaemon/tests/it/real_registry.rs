//! Debian's own registry with a password, and what containerd would ask of it.

use std::net::SocketAddr;

use df_testkit::registry::RegistryAccess;
use df_testkit::{DockerRegistry, Image, Layer, free_port, push_image, skip};
use dfdaemon::config::RegistryConfig;
use http::header::{ACCEPT, WWW_AUTHENTICATE};
use secrecy::SecretString;

use crate::node::{Node, REPOSITORY};

#[tokio::test]
async fn a_private_registry_decides_who_reads_and_a_configured_credential_speaks_for_the_node() {
    if DockerRegistry::program_path().is_none() {
        return skip("docker-registry is not installed: `just setup test`");
    }
    let dir = tempfile::tempdir().unwrap();
    let image = Image::build(3, &[Layer::tar(2_000_000)]).unwrap();
    let address = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let open = DockerRegistry::start(dir.path(), address(), None).await.unwrap();
    push_image(&open.base_url(), REPOSITORY, "v1", &image).await.unwrap();
    drop(open);
    let registry = DockerRegistry::start_private(dir.path(), address()).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow = vec![registry.base_url()]).await;
    let layer = &image.layers[0];
    let get = |node: &Node, path: &str, password: Option<&str>| {
        let ns = registry.address();
        let url = format!("http://{}/v2/{REPOSITORY}/{path}?ns={ns}", node.daemon.local_addr);
        // As containerd asks: this registry hides OCI manifests from who does not accept them.
        let request = node.http.get(url).header(ACCEPT, "application/vnd.oci.image.manifest.v1+json, */*");
        match password {
            Some(password) => request.basic_auth("root", Some(password)),
            None => request,
        }
        .send()
    };
    let blob = format!("blobs/{}", layer.digest);
    for path in ["manifests/v1", &blob] {
        for password in [None, Some("wrong")] {
            let refused = get(&node, path, password).await.unwrap();
            assert_eq!(refused.status(), 401, "{path}, {password:?}");
            let challenge = refused.headers()[WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
        assert_eq!(get(&node, path, Some("secret")).await.unwrap().status(), 200);
    }
    assert_eq!(get(&node, &blob, Some("secret")).await.unwrap().bytes().await.unwrap(), layer.bytes);
    assert_eq!(get(&node, &blob, None).await.unwrap().status(), 401, "although it is cached");

    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.allow = vec![registry.base_url()];
        config.upstream.registries = vec![RegistryConfig {
            host: registry.address().to_string(),
            username: Some("root".to_owned()),
            password: Some(SecretString::from("secret")),
            password_file: None,
            ca_certs: Vec::new(),
        }];
    })
    .await;
    assert_eq!(get(&node, "manifests/v1", None).await.unwrap().bytes().await.unwrap(), image.top().bytes);
    assert_eq!(get(&node, &blob, None).await.unwrap().bytes().await.unwrap(), layer.bytes);
}
