//! A layer that is in two repositories is cached once, and still asks for two proofs: who may read one of them gets it
//! through the other no more than anybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_testkit::{Image, Layer};
use serde_json::Value;

use crate::command::run;
use crate::containerd::Release;
use crate::lab::Lab;
use crate::node::Node;
use crate::recorder::Recorder;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login};

const MIB: usize = 1 << 20;

/// The token that `tenant` gets for `repository`, which is good for nothing when it is not its own.
async fn token(lab: &Lab, tenant: &str, repository: &str) -> anyhow::Result<String> {
    let server = lab.upstreams()?.tokens.address();
    let url = format!("http://{server}/token?service=df-testkit&scope=repository:{repository}:pull");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let login = format!("Basic {}", STANDARD.encode(login(tenant)));
    let granted = client.get(url).header("authorization", login).send().await?.error_for_status()?.bytes().await?;
    let granted: Value = serde_json::from_slice(&granted)?;
    Ok(granted["token"].as_str().unwrap_or_default().to_owned())
}

/// Status and bytes of a blob through the mirror, to who shows this token.
async fn ask(node: &Node, repository: &str, digest: &str, token: Option<&str>) -> anyhow::Result<(String, u64)> {
    let url = format!("{}/v2/{repository}/blobs/{digest}?ns={}", Recorder::URL, Upstream::Token.name());
    let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
    let shown: Vec<&str> = bearer.iter().flat_map(|bearer| ["-H", bearer.as_str()]).collect();
    // The body goes before what is written behind it.
    let arguments = [&["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"], &shown[..], &[&url]].concat();
    let said = run(&node.namespace, "curl", &arguments, &[]).await?.out;
    let (status, bytes) = said.split_once(' ').unwrap_or((&said, ""));
    Ok((status.to_owned(), bytes.parse()?))
}

#[tokio::test]
async fn a_layer_in_two_repositories_needs_two_proofs() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    // Another containerd at the first node's dfdaemon: one that has the layer does not ask for it again, whoever pulls.
    let (node, registry) = (&lab.start_node(0, Release::V2_1).await?, lab.registry(Upstream::Token)?);
    // One seed, one place, one size: one layer.
    let red = Image::build(70, &[Layer::gzip(6 * MIB), Layer::tar(70_000)])?;
    let blue = Image::build(70, &[Layer::gzip(6 * MIB), Layer::tar(60_000)])?;
    let (shared, reds) = (&red.layers[0], &red.layers[1]);
    assert!(shared.digest == blue.layers[0].digest && reds.digest != blue.layers[1].digest);
    lab.push("red/app:v1", &red).await?;
    lab.push("blue/app:v1", &blue).await?;
    let recorder = Recorder::start(&node.namespace).await?;
    lab.use_mirror_at(Recorder::URL, node)?;
    for puller in &lab.nodes {
        puller.pull_from(Upstream::Token, "red/app:v1", &red, Some(&login("red"))).await?;
    }

    // The layer is on this node. Blue's repository opens it to nobody but blue.
    let mark = Mark::now(registry).await?;
    let before = registry.accesses()?.len();
    recorder.clear();
    let for_red = token(&lab, "red", "red/app").await?;
    let red_for_blue = token(&lab, "red", "blue/app").await?;
    for (repository, token) in [("blue/app", None), ("blue/app", Some(&for_red)), ("blue/app", Some(&red_for_blue))] {
        let (status, bytes) = ask(node, repository, &shared.digest, token.map(String::as_str)).await?;
        assert!(status == "401" && bytes < 1024, "{token:?}: {status}, {bytes} bytes");
    }
    let as_red = node.pull_from(Upstream::Token, "blue/app:v1", &blue, Some(&login("red"))).await;
    anyhow::ensure!(as_red.is_err(), "red has read what is blue's");
    let layer_path = format!("/v2/blue/app/blobs/{}", shared.digest);
    let seen = recorder.exchanges();
    let of_blue = seen.iter().filter(|exchange| exchange.path.starts_with("/v2/blue/app/"));
    assert!(of_blue.clone().count() > 3 && of_blue.clone().all(|exchange| exchange.status == 401), "{seen:#?}");
    let proofs = async || {
        // All of them are in the log then.
        Mark::now(registry).await?;
        let all = registry.accesses()?.into_iter().skip(before);
        anyhow::Ok(all.filter(|access| access.path.starts_with("/v2/blue/app/") && access.status < 300).count())
    };
    assert_eq!(proofs().await?, 0, "the registry has let in who was refused");

    // Blue's own proof does: the registry lets blue in, and sends nothing of the layer.
    recorder.clear();
    node.pull_from(Upstream::Token, "blue/app:v1", &blue, Some(&login("blue"))).await?;
    let seen = recorder.exchanges();
    let layer: Vec<_> = seen.iter().filter(|exchange| exchange.path == layer_path).collect();
    assert!(layer.len() == 1 && layer[0].authorized && layer[0].status == 200, "{seen:#?}");
    assert_eq!(layer[0].body_bytes, shared.size_bytes());
    let traffic = Traffic::since(mark, registry).await?;
    assert!(proofs().await? > 0, "the registry was not asked whether blue may");
    assert_eq!(traffic.bytes_of(&shared.digest), 0, "{traffic:#?}");

    // And it is no way to what red has alone, nor to red's repository.
    let for_blue = token(&lab, "blue", "blue/app").await?;
    assert_eq!(ask(node, "blue/app", &shared.digest, Some(&for_blue)).await?, ("200".to_owned(), shared.size_bytes()));
    let (status, bytes) = ask(node, "blue/app", &reds.digest, Some(&for_blue)).await?;
    assert!(status == "404" && bytes < 1024, "{status}, {bytes} bytes");
    let (status, bytes) = ask(node, "red/app", &shared.digest, Some(&for_blue)).await?;
    assert!(status == "401" && bytes < 1024, "{status}, {bytes} bytes");
    Ok(())
}
