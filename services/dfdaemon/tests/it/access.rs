//! Who may read what: challenges and credentials pass unchanged, and the cache answers only whom the registry accepted.

use base64::Engine as _;
use df_api::dfdaemon::CreateTaskRequest;
use df_testkit::image::MANIFEST_TYPE;
use df_testkit::registry::{RegistryAccess, blob_name, manifest_name};
use df_testkit::{Blob, Content, FakeOrigin};

use crate::node::{Node, REPOSITORY};

fn private() -> RegistryAccess {
    RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() }
}

fn basic(password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}")))
}

#[tokio::test]
async fn the_challenge_of_the_registry_reaches_the_client() {
    let token = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    for access in [private(), token] {
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

/// A registry has not got what a manifest names as foreign, and takes the manifest all the same.
#[tokio::test]
async fn a_foreign_layer_is_no_way_to_the_bytes_of_another_repository() {
    let node = Node::start(private()).await;
    let get = |path: &str| node.get(path).header("authorization", basic("secret")).send();
    assert_eq!(get(&node.blob_path(node.layer())).await.unwrap().bytes().await.unwrap(), node.layer().bytes);
    let digest = &node.layer().digest;
    const TAR: &str = "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\"";
    let named = format!("\"digest\":\"{digest}\",\"size\":3000000");
    let foreign = "\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\"";
    for (repository, layers) in [
        ("mine/urls", format!("\"layers\":[{{{TAR},{named},\"urls\":[\"http://x.example/\"]}}]")),
        ("mine/oci", format!("\"layers\":[{{\"mediaType\":\"x/nondistributable.v1.tar\",{named},\"urls\":[]}}]")),
        ("mine/docker", format!("\"layers\":[{{\"mediaType\":{foreign},{named}}}]")),
        // Registries read names in any case, and take the last of two.
        ("mine/case", format!("\"layers\":[{{{TAR},{named},\"MediaType\":{foreign}}}]")),
        ("mine/folded", format!("\"layers\":[{{{TAR},{named},\"url\u{17f}\":[\"http://x.example/\"]}}]")),
        ("mine/hidden", format!("\"layers\":[{{{TAR},{named}}}],\"Layers\":[]")),
        ("mine/twice", format!("\"layers\":[{{{TAR},{named}}}],\"layers\":[]")),
    ] {
        let manifest = Blob::new(MANIFEST_TYPE, format!("{{\"schemaVersion\":2,{layers}}}"));
        put_private(&node, &manifest_name(repository, &manifest.digest), &manifest);
        let named = get(&format!("{repository}/manifests/{}", manifest.digest)).await.unwrap();
        assert_eq!(named.bytes().await.unwrap(), manifest.bytes, "{repository}");
        assert_eq!(get(&format!("{repository}/blobs/{digest}")).await.unwrap().status(), 404, "{repository}");
    }
}

fn put_private(node: &Node, name: &str, blob: &Blob) {
    let content = Content::new(blob.bytes.clone()).header("content-type", blob.media_type);
    let content = content.header("docker-content-digest", &blob.digest);
    node.registry.origin().put(name, content.require_authorization(&basic("secret"), "Basic realm=\"x\""));
}

/// Anybody may push a blob with any bytes in it.
#[tokio::test]
async fn a_blob_that_reads_like_a_manifest_is_no_manifest() {
    let node = Node::start(private()).await;
    let get = |path: &str| node.get(path).header("authorization", basic("secret")).send();
    assert_eq!(get(&node.blob_path(node.layer())).await.unwrap().bytes().await.unwrap(), node.layer().bytes);
    let digest = &node.layer().digest;
    let layer = format!("{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":3000000}}");
    let blob = Blob::new(MANIFEST_TYPE, format!("{{\"schemaVersion\":2,\"layers\":[{layer}]}}"));
    put_private(&node, &blob_name("mine/app", &blob.digest), &blob);
    assert_eq!(get(&format!("mine/app/blobs/{}", blob.digest)).await.unwrap().bytes().await.unwrap(), blob.bytes);
    for path in [format!("mine/app/manifests/{}", blob.digest), format!("mine/app/blobs/{digest}")] {
        assert_eq!(get(&path).await.unwrap().status(), 404, "{path}");
    }
}

/// It says that it has it, or a program says where it is.
#[tokio::test]
async fn another_place_opens_nothing_by_calling_it_its_own() {
    let other = df_testkit::FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let node = Node::with(private(), |config| config.upstream.allow.push(other.base_url())).await;
    let manifest = node.image.top().clone();
    for (path, blob) in [
        (format!("{REPOSITORY}/manifests/{}", manifest.digest), &manifest),
        (node.blob_path(node.layer()), node.layer()),
    ] {
        let right = node.get(&path).header("authorization", basic("secret")).send().await.unwrap();
        assert_eq!(right.bytes().await.unwrap(), blob.bytes);
        let length = blob.bytes.len();
        let lie = Content::new(vec![b'x'; length]).header("content-type", blob.media_type);
        other.origin().put(&format!("v2/{path}"), lie.header("docker-content-digest", &blob.digest));
        for authorization in [None, Some(basic("secret"))] {
            let url = format!("http://{}/v2/{path}?ns={}", node.daemon.local_addr, other.address());
            let mut request = node.http.get(url);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let body = answer.bytes().await;
            assert!(body.is_err() || status == 502, "{path}: {status} {body:?}");
        }
        let request = CreateTaskRequest {
            digest: Some(blob.digest.parse().unwrap()),
            ..CreateTaskRequest::new(other.origin().url(&format!("v2/{path}")))
        };
        let id = node.client().create_task(&request).await.unwrap().id;
        match node.client().get_task_content(&id, None).await {
            Ok(answer) => assert!(df_testkit::read_whole(answer).await.is_err(), "{path}"),
            Err(error) => assert_eq!(error.status(), Some(502), "{path}: {error}"),
        }
    }
}

/// What was a blob first.
#[tokio::test]
async fn a_manifest_is_called_what_its_registry_calls_it() {
    let node = Node::start(RegistryAccess::Open).await;
    let manifest = node.image.top().clone();
    let blob = Content::new(manifest.bytes.clone()).header("content-type", "application/octet-stream");
    node.registry.origin().put(&blob_name(REPOSITORY, &manifest.digest), blob);
    let as_blob = node.get(&node.blob_path(&manifest)).send().await.unwrap();
    assert_eq!(as_blob.bytes().await.unwrap(), manifest.bytes);
    let path = format!("{REPOSITORY}/manifests/{}", manifest.digest);
    for request in [node.head(&path), node.get(&path)] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], manifest.media_type);
    }
}

/// A URL that a registry has signed for a GET is no good for a HEAD.
#[tokio::test]
async fn the_no_of_an_object_store_is_not_the_registrys() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with(private(), |config| config.upstream.allow.push(store.base_url())).await;
    let get = |path: &str| node.get(path).header("authorization", basic("secret")).send();
    let (cached, stored) = (node.layer(), &node.image.layers[1]);
    assert_eq!(get(&node.blob_path(cached)).await.unwrap().bytes().await.unwrap(), cached.bytes);
    let asked = node.registry.blob_stats(REPOSITORY, &cached.digest).requests;
    store.put("blob", Content::new(stored.bytes.clone()).status_first(1, 403, None));
    let name = blob_name(REPOSITORY, &stored.digest);
    node.registry.origin().change(&name, |content| content.redirect_to(&store.url("blob")));
    let answer = get(&node.blob_path(stored)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), stored.bytes);
    assert_eq!(get(&node.blob_path(cached)).await.unwrap().bytes().await.unwrap(), cached.bytes);
    assert_eq!(node.registry.blob_stats(REPOSITORY, &cached.digest).requests, asked, "it was accepted before");
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

/// What a runtime does six times within a millisecond costs the registry one request.
#[tokio::test]
async fn a_refused_credential_is_not_shown_again_and_again() {
    let node = Node::start(private()).await;
    let manifest = format!("{REPOSITORY}/manifests/v1");
    let path = node.blob_path(node.layer());
    let ask = |path: &str, agent: &'static str| {
        node.get(path).header("authorization", basic("wrong")).header("user-agent", agent).send()
    };
    let before = node.registry.manifest_stats(REPOSITORY, "v1").requests;
    for _ in 0..3 {
        let refused = ask(&manifest, "curl/7.88").await.unwrap();
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"fake\"");
    }
    assert_eq!(node.registry.manifest_stats(REPOSITORY, "v1").requests, before + 1);
    let refused = ask(&path, "curl/7.88").await.unwrap();
    assert_eq!(refused.status(), 401);
    let errors: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(errors["errors"][0]["code"], "UNAUTHORIZED");
    // Another repository, another question; and who is told 403 does not repeat itself.
    let other = ask("other/app/manifests/v1", "containerd/1.6.20~ds1").await.unwrap();
    assert_eq!(other.status(), 404);
    let node = Node::start(private()).await;
    let told =
        node.get(&manifest).header("authorization", basic("wrong")).header("user-agent", "containerd/1.6.20~ds1");
    let told = told.send().await.unwrap();
    assert_eq!(
        (told.status().as_u16(), &told.headers()["www-authenticate"]),
        (403, &"Basic realm=\"fake\"".parse().unwrap())
    );
}

#[tokio::test]
async fn a_token_that_is_no_good_is_called_so() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let node = Node::start(access).await;
    let manifest = format!("{REPOSITORY}/manifests/v1");
    let challenge = async |token: &str| {
        let answer = node.get(&manifest).header("authorization", format!("Bearer {token}")).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        answer.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };
    assert!(challenge("never-was-one").await.ends_with("error=\"insufficient_scope\""));
    let good = node.get(&manifest).header("authorization", "Bearer fake-token-0").send().await.unwrap();
    assert_eq!(good.status(), 200);
    node.registry.expire_token();
    assert!(challenge("fake-token-0").await.ends_with("error=\"invalid_token\""));
}

/// It was good a while ago, and what it asks for now is not here.
#[tokio::test]
async fn a_token_that_has_expired_is_called_so_for_what_is_not_here_too() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let node = Node::start(access).await;
    let ask = |path: &str| node.get(path).header("authorization", "Bearer fake-token-0").send();
    assert!(ask(&format!("{REPOSITORY}/manifests/{}", node.image.top().digest)).await.unwrap().bytes().await.is_ok());
    node.registry.expire_token();
    let refused = ask(&node.blob_path(node.layer())).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().ends_with("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_token_that_expires_on_the_way_still_reads_what_is_here() {
    let access = RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let node = Node::start(access).await;
    let paths = [format!("{REPOSITORY}/manifests/{}", node.image.top().digest), node.blob_path(node.layer())];
    let ask = |path: &str| node.get(path).header("authorization", "Bearer fake-token-0").send();
    for path in &paths {
        assert!(ask(path).await.unwrap().bytes().await.is_ok());
    }
    node.registry.expire_token();
    for path in &paths {
        assert_eq!(ask(path).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_public_image_costs_one_token_and_no_challenge() {
    let node = Node::start(RegistryAccess::AnonymousToken).await;
    pull(&node).await;
    assert_eq!(node.registry.token_stats().requests, 1);
    // The token service may go, and the token expire: what is public is known as such.
    node.registry.expire_token();
    node.registry.origin().change("token", |content| content.status_first(u32::MAX, 503, None));
    pull(&node).await;
}

/// Manifest by tag and by digest, then all blobs, as a stranger.
async fn pull(node: &Node) {
    let head = node.head(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let digest = head.headers()["docker-content-digest"].to_str().unwrap();
    let manifest = node.get(&format!("{REPOSITORY}/manifests/{digest}")).send().await.unwrap();
    assert_eq!(manifest.bytes().await.unwrap(), node.image.top().bytes);
    for blob in node.image.blobs() {
        let answer = node.get(&node.blob_path(blob)).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
    }
}

/// A registry that has had enough of a caller is asked once, however often the caller asks.
#[tokio::test]
async fn too_many_requests_are_not_made_more() {
    let node = Node::start(RegistryAccess::Open).await;
    let name = df_testkit::registry::manifest_name(REPOSITORY, "v1");
    node.registry.origin().change(&name, |content| content.status_first(u32::MAX, 429, Some("20")));
    for _ in 0..6 {
        let answer = node.get(&format!("{REPOSITORY}/manifests/v1")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"20".parse().unwrap()));
    }
    assert_eq!(node.registry.manifest_stats(REPOSITORY, "v1").requests, 1);
}
