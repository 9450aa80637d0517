//! Clients that know proxies and no mirrors: what they ask a registry by TLS goes through the peers.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use df_testkit::docker_registry::{BASIC_PASSWORD, BASIC_USER};
use df_testkit::{Image, Layer, snippet};

use crate::command::{go_tool, path_with, run};
use crate::image_tools::holds_blobs;
use crate::lab::Lab;
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login};

const REPOSITORY: &str = "library/proxied";
const PRIVATE: &str = "red/proxied";

/// What the document says to type, in a folder that is returned; `path` is where programs are.
async fn type_in(
    lab: &Lab,
    number: usize,
    name: &str,
    replaced: &[(&str, &str)],
    path: &Path,
) -> anyhow::Result<PathBuf> {
    let ca = lab.cluster_ref()?.store_of(number).join("proxy-ca/ca.pem").display().to_string();
    let all = [&[("/var/lib/dragonfly/proxy-ca/ca.pem", ca.as_str())], replaced].concat();
    let node: &Node = &lab.nodes[number];
    let made = tempfile::tempdir_in(lab.folder())?.keep();
    let folder = made.display().to_string();
    let script = format!("set -eu\ncd {folder}\n{}", snippet(name, &all)?);
    let socket = node.containerd.socket().display().to_string();
    let environment = [
        ("PATH", path_with(path)),
        ("HOME", folder),
        ("CONTAINERD_ADDRESS", socket),
        ("CONTAINERD_NAMESPACE", "proxied".to_owned()),
    ];
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run(&node.namespace, "sh", &["-c", &script], &environment).await?;
    Ok(made)
}

async fn ctr_has(node: &Node, image: &Image) -> anyhow::Result<()> {
    let socket = node.containerd.socket().display().to_string();
    let listed = run(&node.namespace, "ctr", &["-a", &socket, "-n", "proxied", "images", "ls"], &[]).await?;
    ensure!(listed.out.contains(&image.top().digest), "ctr has another image:\n{}", listed.out);
    Ok(())
}

/// By `ctr` or crane, with a login for the registry itself.
async fn pull_private(
    lab: &Lab,
    number: usize,
    (tool, upstream): (&str, Upstream),
    (tag, image): (&str, &Image),
    login: &str,
) -> anyhow::Result<()> {
    if tool == "ctr" {
        let name = format!("{}/{PRIVATE}:{tag}", upstream.name());
        let replaced = [("registry.example/team/app:v1", name.as_str()), ("user:password", login)];
        type_in(lab, number, "ctr-proxy-login", &replaced, Path::new("/usr/bin")).await?;
        return ctr_has(&lab.nodes[number], image).await;
    }
    let (user, password) = login.split_once(':').context("no password")?;
    let (host, given) = (upstream.host(), format!("user={user} password={password}"));
    let (to, name) = (format!("login {host}"), format!("{host}/{PRIVATE}:{tag}"));
    let replaced = [
        ("login registry.example", to.as_str()),
        ("registry.example/team/app:v1", &name),
        ("user=user password=password", &given),
    ];
    let made = type_in(lab, number, "crane-proxy-login", &replaced, &go_tool("crane").await?).await?;
    holds_blobs(image.all_blobs(), |algorithm, hex| made.join("app/blobs").join(algorithm).join(hex))
}

#[tokio::test]
async fn ctr_and_curl_pull_through_the_forward_proxy() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let image = Image::build(700, &[Layer::gzip(6 << 20), Layer::tar(70_000)])?.in_index();
    lab.push(&format!("{REPOSITORY}:v1"), &image).await?;
    let registry = lab.registry(Upstream::Secure)?;
    let (host, system) = (Upstream::Secure.host(), Path::new("/usr/bin"));
    let mark = Mark::now(registry).await?;
    for (number, node) in lab.nodes.iter().enumerate() {
        let name = format!("{host}/{REPOSITORY}:v1");
        type_in(&lab, number, "ctr-proxy", &[("registry.example/team/app:v1", &name)], system).await?;
        ctr_has(node, &image).await?;
    }
    let traffic = Traffic::since(mark, registry).await?;
    for node in &lab.nodes {
        assert_eq!(traffic.bytes_to(node.address()), 0, "{traffic:#?}");
    }
    traffic.assert_each_blob_once_for_ctr(&image);

    // What is there by one way is there by the other.
    let layer = &image.layers[0];
    let url = format!("https://{host}/v2/{REPOSITORY}/blobs/{}", layer.digest);
    let made = type_in(&lab, 1, "curl-proxy", &[("https://files.example/file", &url)], system).await?;
    assert_eq!(std::fs::read(made.join("file"))?, layer.bytes);
    Traffic::since(mark, registry).await?.assert_each_blob_once_for_ctr(&image);
    Ok(())
}

#[tokio::test]
async fn crane_and_oras_pull_over_https_through_the_forward_proxy() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let registry = lab.registry(Upstream::Secure)?;
    for (seed, tool, block) in [(710, "crane", "crane-proxy"), (711, "oras", "oras-proxy")] {
        let image = Image::build(seed, &[Layer::gzip(6 << 20), Layer::zstd(70_000)])?.in_index();
        lab.push(&format!("{REPOSITORY}:v{seed}"), &image).await?;
        let mark = Mark::now(registry).await?;
        for number in 0..lab.nodes.len() {
            let name = format!("{}/{REPOSITORY}:v{seed}", Upstream::Secure.host());
            let replaced = [("registry.example/team/app:v1", name.as_str())];
            let made = type_in(&lab, number, block, &replaced, &go_tool(tool).await?).await?;
            holds_blobs(image.all_blobs(), |algorithm, hex| made.join("app/blobs").join(algorithm).join(hex))?;
        }
        let traffic = Traffic::since(mark, registry).await?;
        for node in &lab.nodes {
            assert_eq!(traffic.bytes_to(node.address()), 0, "{tool}: {traffic:#?}");
        }
        traffic.assert_each_blob_of_all_platforms_once(&image);
    }
    Ok(())
}

#[tokio::test]
async fn private_images_are_pulled_with_their_own_login_through_the_forward_proxy() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (red, blue, root) = (login("red"), login("blue"), format!("{BASIC_USER}:{BASIC_PASSWORD}"));
    let mut seed = 720;
    for (upstream, right, wrong) in [(Upstream::Basic, &root, "red:wrong"), (Upstream::Hub, &red, blue.as_str())] {
        for tool in ["ctr", "crane"] {
            seed += 1;
            let image = Image::build(seed, &[Layer::gzip(6 << 20), Layer::tar(70_000)])?.in_index();
            let tag = format!("v{seed}");
            lab.push(&format!("{PRIVATE}:{tag}"), &image).await?;
            let registry = lab.registry(upstream)?;
            let mark = Mark::now(registry).await?;
            for number in 0..lab.nodes.len() {
                let pulled = pull_private(&lab, number, (tool, upstream), (&tag, &image), right).await;
                pulled.with_context(|| format!("{tool} from {upstream:?} on node {number}"))?;
            }
            let traffic = Traffic::since(mark, registry).await?;
            assert_eq!(traffic.bytes_to(lab.nodes[1].address()), 0, "{tool} from {upstream:?}: {traffic:#?}");
            match tool {
                "ctr" => traffic.assert_each_blob_once_for_ctr(&image),
                _ => traffic.assert_each_blob_of_all_platforms_once(&image),
            }

            // Every byte is here by now.
            if pull_private(&lab, 1, (tool, upstream), (&tag, &image), wrong).await.is_ok() {
                bail!("{upstream:?} was read with a wrong login by {tool}");
            }
            let blob = format!("https://{}/v2/{PRIVATE}/blobs/{}", upstream.host(), image.layers[0].digest);
            for shown in [String::new(), format!(" -u {wrong}")] {
                let curl = format!("curl -fsS{shown}");
                let replaced = [("curl -fsS", curl.as_str()), ("https://files.example/file", &blob)];
                let refused = type_in(&lab, 1, "curl-proxy", &replaced, Path::new("/usr/bin")).await;
                let said = refused.err().context("a blob was read without its login")?.to_string();
                ensure!(said.contains("401"), "{upstream:?} to curl{shown}: {said}");
            }
        }
    }
    Ok(())
}
