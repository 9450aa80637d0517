//! A block list at the manager: what it names cannot be pulled on any node, which is told the rule; and nothing is asked of
//! the registry. containerd asks nobody but the mirror here: elsewhere it would go on to the registry.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use df_api::manager::{PeerClusterConfig, UpdateClusterRequest};
use df_api::rules::{BlockList, Blocked, TaskBlockList};
use df_client::ManagerClient;
use df_testkit::{Blob, Image, until};

use crate::command::run;
use crate::files::dfget;
use crate::lab::{Lab, other_small_image, small_image};
use crate::node::{MIRROR, Node};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

/// The scheduler asks for rules every few seconds.
const BOUND: Duration = Duration::from_secs(30);
const SECRET: &str = "secret/app:v1";
const PATTERN: &str = "/v2/secret/";
const RULE: &str = "peer_cluster_config.block_list.task.download.urls";

/// What peers of cluster 1 do not download, by URL.
async fn block(root: &ManagerClient, urls: &[&str]) -> anyhow::Result<()> {
    let download = Blocked { urls: urls.iter().map(|url| (*url).to_owned()).collect(), ..Blocked::default() };
    let block_list = BlockList { task: TaskBlockList { download, ..TaskBlockList::default() } };
    let config = PeerClusterConfig { block_list, ..PeerClusterConfig::default() };
    let change = UpdateClusterRequest { peer_cluster_config: Some(config), ..UpdateClusterRequest::default() };
    root.update_cluster(1, &change).await?;
    Ok(())
}

/// By something that fits the pattern, and that the registry has not got.
async fn until_blocked(lab: &Lab, node: &Node) -> anyhow::Result<()> {
    let url = format!("{}{PATTERN}nothing", Upstream::Open.url());
    let file = lab.folder().join("nothing");
    let digest = format!("sha256:{}", "0".repeat(64));
    until("the node hears of the rule", BOUND, async || {
        let said = dfget(node, &url, &file, &digest).await.err().context("it is not there")?;
        Ok(said.to_string().contains(RULE).then_some(()))
    })
    .await
}

/// Status and body.
async fn ask_mirror(node: &Node, blob: &Blob) -> anyhow::Result<String> {
    let url = format!("{MIRROR}/v2/secret/app/blobs/{}?ns={}", blob.digest, Upstream::Open.name());
    Ok(run(&node.namespace, "curl", &["-sS", "-w", " %{http_code}", &url], &[]).await?.out)
}

#[tokio::test]
async fn what_a_block_list_names_is_pulled_by_nobody_until_the_rule_is_gone() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_dragonfly().await? else { return Ok(()) };
    for node in &lab.nodes {
        node.use_hosts(MIRROR, MIRROR, Upstream::Open)?;
    }
    let (secret, other): (Image, Image) = (small_image()?, other_small_image()?);
    lab.push(SECRET, &secret).await?;
    lab.push("team/app:v1", &other).await?;
    let root = lab.root().await?;
    block(&root, &[PATTERN]).await?;
    let mark = Mark::now(&lab.registry).await?;
    for node in &lab.nodes {
        until_blocked(&lab, node).await?;
        let refused = node.pull(SECRET, &secret).await.err().context("it was pulled")?;
        ensure!(format!("{refused:#}").contains(RULE), "crictl says: {refused:#}");
        for blob in secret.blobs() {
            let said = ask_mirror(node, blob).await?;
            ensure!(said.ends_with(" 403") && said.contains("DENIED") && said.contains(RULE), "{said}");
        }
        node.pull("team/app:v1", &other).await.context("what is not listed")?;
    }
    let traffic = Traffic::since(mark, &lab.registry).await?;
    for blob in secret.blobs() {
        assert_eq!(traffic.answers_about(&blob.digest), 0, "{traffic:#?}");
    }
    traffic.assert_each_blob_once(&other);

    let mark = Mark::now(&lab.registry).await?;
    block(&root, &[]).await?;
    for node in &lab.nodes {
        until("the node pulls it", BOUND, async || Ok(node.pull(SECRET, &secret).await.ok())).await?;
    }
    Traffic::since(mark, &lab.registry).await?.assert_each_blob_once(&secret);
    Ok(())
}
