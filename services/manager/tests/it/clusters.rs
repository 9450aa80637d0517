//! Clusters: what the console does with them.

use df_api::manager::{
    CreateClusterRequest, SchedulerClusterConfig, Scopes, SeedPeerClusterConfig, UpdateClusterRequest,
};
use df_api::rules::{BlockList, Blocked, Priority, TaskBlockList, Weights};
use df_client::http_client;
use df_testkit::TestDatabase;
use serde_json::{Value, json};

use crate::running::{Running, on_every_database, refusal, scheduler, seed_peer};

on_every_database! {
    cluster_1_is_there_from_the_first_start_and_only_once,
    a_cluster_is_added_changed_and_deleted,
    a_wrong_value_is_named_with_its_field_and_rule,
    names_are_unique,
    there_is_always_exactly_one_default,
    a_cluster_in_use_is_not_deleted,
    a_list_comes_in_pages_and_by_name,
}

fn named(name: &str) -> CreateClusterRequest {
    CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() }
}

async fn cluster_1_is_there_from_the_first_start_and_only_once(database: TestDatabase) {
    let manager = Running::start(database).await.restart(|_| ()).await;
    let clusters = manager.root().await.list_clusters().await.unwrap();
    let [cluster] = clusters.as_slice() else { panic!("{clusters:?}") };
    assert_eq!((cluster.id, cluster.name.as_str(), cluster.is_default, cluster.strict), (1, "cluster-1", true, false));
    assert_eq!((cluster.scheduler_cluster_id, cluster.seed_peer_cluster_id), (1, 1));
    assert_eq!(cluster.scheduler_cluster_config, Default::default());
}

async fn a_cluster_is_added_changed_and_deleted(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let new = CreateClusterRequest {
        scopes: Scopes { idc: "cluster-2".into(), cidrs: vec!["10.0.0.0/8".parse().unwrap()], ..Scopes::default() },
        ..named("cluster-2")
    };
    let made = root.create_cluster(&new).await.unwrap();
    assert_eq!((made.id, &made.scopes, made.is_default), (2, &new.scopes, false));
    assert_eq!(root.get_cluster(2).await.unwrap(), made);

    let change = UpdateClusterRequest { bio: Some("the other".into()), ..UpdateClusterRequest::default() };
    let changed = root.update_cluster(2, &change).await.unwrap();
    assert_eq!((changed.bio.as_str(), &changed.scopes), ("the other", &new.scopes), "only what is present changes");
    let config = SchedulerClusterConfig {
        weights: Weights { load: 0.5, idc: 0.5, location: 0.0, host_type: 0.0 },
        ..SchedulerClusterConfig::default()
    };
    let urls = vec!["^https://models[.]".to_owned()];
    let upload = Blocked { urls, priorities: vec![Priority::NODE_ITSELF], ..Blocked::default() };
    let block_list = BlockList { task: TaskBlockList { upload, ..TaskBlockList::default() } };
    let seeds = SeedPeerClusterConfig { block_list, ..SeedPeerClusterConfig::default() };
    let change = UpdateClusterRequest {
        scheduler_cluster_config: Some(config.clone()),
        seed_peer_cluster_config: Some(seeds.clone()),
        ..UpdateClusterRequest::default()
    };
    root.update_cluster(2, &change).await.unwrap();
    let changed = root.get_cluster(2).await.unwrap();
    assert_eq!((changed.scheduler_cluster_config, changed.seed_peer_cluster_config), (config, seeds));
    let change = UpdateClusterRequest { scopes: Some(Scopes::default()), ..UpdateClusterRequest::default() };
    assert_eq!(root.update_cluster(2, &change).await.unwrap().scopes, Scopes::default());

    root.delete_cluster(2).await.unwrap();
    assert_eq!(refusal(root.get_cluster(2).await), (404, "there is no cluster 2".to_owned()));
    assert_eq!(refusal(root.update_cluster(2, &change).await).0, 404);
    assert_eq!(refusal(root.delete_cluster(2).await).0, 404);
    assert_eq!(root.create_cluster(&new).await.unwrap().id, 3, "an id is never used twice");
}

async fn a_wrong_value_is_named_with_its_field_and_rule(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let (status, detail) = refusal(root.create_cluster(&named("cluster 2")).await);
    assert!(status == 422 && detail.contains("name \"cluster 2\"") && detail.contains("1 to 40"), "{detail}");
    let mut new = named("cluster-2");
    new.scopes.hostnames = vec!["(".into()];
    let (status, detail) = refusal(root.create_cluster(&new).await);
    assert!(status == 422 && detail.contains("scopes.hostnames \"(\""), "{detail}");
    let change = UpdateClusterRequest { peer_cluster_config: Some(Default::default()), ..Default::default() };
    let mut wrong = change.clone();
    wrong.peer_cluster_config.as_mut().unwrap().load_limit = 2001;
    assert!(refusal(root.update_cluster(1, &wrong).await).1.contains("peer_cluster_config.load_limit 2001"));
    let mut wrong = UpdateClusterRequest { scheduler_cluster_config: Some(Default::default()), ..Default::default() };
    wrong.scheduler_cluster_config.as_mut().unwrap().weights.idc = -1.0;
    let said = refusal(root.update_cluster(1, &wrong).await).1;
    assert!(said.contains("scheduler_cluster_config.weights.idc -1"), "{said}");
    let mut wrong = change.clone();
    wrong.peer_cluster_config.as_mut().unwrap().block_list.task.download.urls = vec!["(".into()];
    let said = refusal(root.update_cluster(1, &wrong).await).1;
    assert!(said.contains("peer_cluster_config.block_list.task.download.urls \"(\""), "{said}");
    assert_eq!(root.list_clusters().await.unwrap().len(), 1, "nothing was written");

    // What the types refuse is named as well.
    let token = manager.token_of("root").await;
    let post = async |body: Value| {
        let sent = http_client().post(format!("{}/api/v1/clusters", manager.url)).bearer_auth(&token).json(&body);
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned())
    };
    let (status, detail) = post(json!({ "name": "a", "scopes": { "cidrs": ["10.64.0.0/33"] } })).await;
    assert!(status == 422 && detail.contains("scopes.cidrs[0]"), "{detail}");
    let list = json!({ "task": { "download": { "priorities": [7] } } });
    let (status, detail) = post(json!({ "name": "a", "peer_cluster_config": { "block_list": list } })).await;
    assert!(status == 422 && detail.contains("priorities[0]") && detail.contains("0 to 6"), "{detail}");
    let (status, detail) = post(json!({ "name": "a", "colour": "red" })).await;
    assert!(status == 422 && detail.contains("colour"), "{detail}");
}

async fn names_are_unique(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let (status, detail) = refusal(root.create_cluster(&named("cluster-1")).await);
    assert!(status == 409 && detail.contains("\"cluster-1\" is taken"), "{detail}");
    let other = root.create_cluster(&named("cluster-2")).await.unwrap().id;
    let change = UpdateClusterRequest { name: Some("cluster-1".into()), ..UpdateClusterRequest::default() };
    assert_eq!(refusal(root.update_cluster(other, &change).await).0, 409);
    root.create_cluster(&named("Cluster-1")).await.unwrap();
    assert_eq!(root.list_clusters().await.unwrap().len(), 3, "which are those that differ in a letter's case");
}

async fn there_is_always_exactly_one_default(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let defaults = async || -> Vec<i64> {
        root.list_clusters().await.unwrap().iter().filter(|one| one.is_default).map(|one| one.id).collect()
    };
    root.create_cluster(&CreateClusterRequest { is_default: true, ..named("cluster-2") }).await.unwrap();
    assert_eq!(defaults().await, [2], "the mark moves");
    let mark = |is_default| UpdateClusterRequest { is_default: Some(is_default), ..UpdateClusterRequest::default() };
    root.update_cluster(1, &mark(true)).await.unwrap();
    assert_eq!(defaults().await, [1]);
    assert_eq!(refusal(root.update_cluster(1, &mark(false)).await).0, 409);
    let (status, detail) = refusal(root.delete_cluster(1).await);
    assert!(status == 409 && detail.contains("cluster-1 is the default"), "{detail}");
    // A refused creation does not move it either.
    refusal(root.create_cluster(&CreateClusterRequest { is_default: true, ..named("cluster-2") }).await);
    assert_eq!(defaults().await, [1]);
}

async fn a_cluster_in_use_is_not_deleted(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    root.create_cluster(&named("cluster-2")).await.unwrap();
    let one = component.renew_scheduler_lease(&scheduler("s1", 2)).await.unwrap();
    let other = component.renew_seed_peer_lease(&seed_peer("p1", 2)).await.unwrap();
    let (status, detail) = refusal(root.delete_cluster(2).await);
    assert!(status == 409 && detail.contains("1 active schedulers and 1 active seed peers"), "{detail}");
    component.end_scheduler_lease(one.id).await.unwrap();
    component.end_seed_peer_lease(other.id).await.unwrap();
    root.delete_cluster(2).await.unwrap();
    assert!(root.list_schedulers().await.unwrap().is_empty());
}

async fn a_list_comes_in_pages_and_by_name(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    for number in 2..=12 {
        root.create_cluster(&named(&format!("cluster-{number}"))).await.unwrap();
    }
    assert_eq!(root.list_clusters().await.unwrap().len(), 12, "the client asks for all");
    let token = manager.token_of("root").await;
    let get = async |query: &str| {
        let sent = http_client().get(format!("{}/api/v1/clusters?{query}", manager.url)).bearer_auth(&token);
        let answer = sent.send().await.unwrap();
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned()).unwrap_or_default();
        (answer.status().as_u16(), link, answer.json::<Value>().await.unwrap())
    };
    assert_eq!(get("").await.2.as_array().unwrap().len(), 10, "as the incumbent's");
    let (_, link, page) = get("page=2&per_page=5").await;
    assert_eq!((page.as_array().unwrap().len(), &page[0]["id"]), (5, &json!(6)));
    for rel in ["page=1&per_page=5>; rel=prev", "page=3&per_page=5>; rel=next", "page=3&per_page=5>; rel=last"] {
        assert!(link.contains(rel), "{link}");
    }
    let (_, _, found) = get("name=cluster-7").await;
    assert_eq!((found.as_array().unwrap().len(), &found[0]["id"]), (1, &json!(7)));
    assert_eq!(get("per_page=1001").await.0, 422);
    let (status, _, problem) = get("nmae=cluster-7").await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("nmae"), "{problem}");
}
