//! What people have ruled at the manager holds at every node: a block list, and what it says to whoever runs into it.

use std::time::Duration;

use df_api::Code;
use df_api::dfdaemon::CreateTaskRequest;
use df_api::manager::{PeerClusterConfig, SignInRequest, UpdateClusterRequest};
use df_api::rules::{BlockList, Blocked, Priority, TaskBlockList};
use df_client::{ManagerClient, Transport, http_client};
use df_testkit::{Content, random_bytes, until};
use reqwest::StatusCode;

use crate::cluster::{Cluster, REPOSITORY};
use crate::imports::client;

const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Returns when every peer knows that there are rules.
    async fn block(&self, download: Blocked) {
        let transport = Transport::new(&format!("http://{}", self.platform.manager_addr), http_client()).unwrap();
        let root = SignInRequest { name: "root".to_owned(), password: "dragonfly".to_owned() };
        let token = ManagerClient::new(transport.clone()).sign_in(&root).await.unwrap().token;
        let block_list = BlockList { task: TaskBlockList { download, ..TaskBlockList::default() } };
        let change = UpdateClusterRequest {
            peer_cluster_config: Some(PeerClusterConfig { block_list, ..PeerClusterConfig::default() }),
            ..UpdateClusterRequest::default()
        };
        ManagerClient::new(transport.with_bearer(Some(token))).update_cluster(1, &change).await.unwrap();
        let told = async || Ok(self.platform.peers.iter().all(|peer| peer.peer.asks_first()).then_some(()));
        until("the peers know that there are rules", PATIENCE, told).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_block_list_forbids_is_refused_by_name_and_nobody_asks_the_origin_for_it() {
    let cluster = Cluster::start(3_000_000).await;
    cluster.registry.origin().put("secret", Content::new(random_bytes(1, 1_000)));
    let applications = vec!["miner".to_owned()];
    cluster.block(Blocked { applications, urls: vec!["/secret$".to_owned()], ..Blocked::default() }).await;

    let layer = cluster.layer();
    let refused = cluster.get(1, layer).header("x-dragonfly-application", "miner").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let said = refused.text().await.unwrap();
    assert!(
        said.contains("DENIED") && said.contains("peer_cluster_config.block_list.task.download.applications"),
        "{said}"
    );
    assert_eq!(cluster.registry.blob_stats(REPOSITORY, &layer.digest).bytes, 0);

    let refused = async |number: usize| {
        let client = client(cluster.peer(number));
        let task = client.create_task(&CreateTaskRequest::new(cluster.registry.origin().url("secret"))).await?;
        client.get_task_content(&task.id, None).await
    };
    let error = refused(2).await.unwrap_err();
    assert_eq!(error.problem().map(|problem| problem.code), Some(Code::Blocked), "{error}");
    assert!(error.to_string().contains(r#"urls has "/secret$""#), "{error}");
    assert_eq!(cluster.registry.origin().stats("secret").requests, 0);

    assert!(cluster.pull(1, layer).await == layer.bytes, "what is not listed comes as ever");
}

#[tokio::test]
async fn with_priority_2_only_what_the_cluster_has_is_given() {
    let cluster = Cluster::start(1_000).await;
    let origin = cluster.registry.origin();
    let body = random_bytes(2, 2_000_000);
    origin.put("file", Content::new(body.clone()));
    let all = CreateTaskRequest::new(origin.url("file"));
    let cached = CreateTaskRequest { priority: Priority::CACHED_ONLY, ..all.clone() };
    let fetch = async |number: usize, request: &CreateTaskRequest| {
        let client = client(cluster.peer(number));
        let id = client.create_task(request).await?.id;
        Ok::<_, df_client::ClientError>(client.get_task_content(&id, None).await?.bytes().await.unwrap())
    };
    assert_eq!(fetch(1, &cached).await.unwrap_err().status(), Some(404));
    assert_eq!(origin.stats("file").requests, 0);
    assert!(fetch(2, &all).await.unwrap() == body);
    assert!(fetch(1, &cached).await.unwrap() == body);

    // Whoever lets it be fetched is not held up by who does not, and brings it to both.
    origin.put("other", Content::new(body.clone()));
    let all = CreateTaskRequest::new(origin.url("other"));
    let cached = CreateTaskRequest { priority: Priority::CACHED_ONLY, ..all.clone() };
    client(cluster.peer(1)).create_task(&cached).await.unwrap();
    assert!(fetch(1, &all).await.unwrap() == body);
}
