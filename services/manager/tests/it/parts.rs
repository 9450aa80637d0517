//! Scheduler clusters and seed peer clusters: a cluster in the incumbent's two parts.

use df_api::manager::{
    CreateClusterRequest, CreateSchedulerClusterRequest, CreateSeedPeerClusterRequest, Scopes, SeedPeerClusterConfig,
    UpdateSchedulerClusterRequest, UpdateSeedPeerClusterRequest,
};
use df_testkit::TestDatabase;

use crate::running::{Running, on_every_database, refusal, scheduler, seed_peer};

on_every_database! {
    a_cluster_is_seen_in_two_parts_with_one_id,
    a_part_that_is_added_is_a_cluster,
    what_runs_stays_where_it_is_configured,
}

async fn a_cluster_is_seen_in_two_parts_with_one_id(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let mut new = CreateClusterRequest { name: "b".to_owned(), ..CreateClusterRequest::default() };
    new.scopes.idc = "east".to_owned();
    let whole = root.create_cluster(&new).await.unwrap();
    let schedulers = root.get_scheduler_cluster(whole.id).await.unwrap();
    let seeds = root.get_seed_peer_cluster(whole.id).await.unwrap();
    assert_eq!((schedulers.scopes.idc.as_str(), schedulers.seed_peer_clusters[0].id), ("east", seeds.id));
    assert_eq!((seeds.config.load_limit, seeds.scheduler_clusters[0].name.as_str()), (2000, "b"));

    let scopes = Some(Scopes { idc: "west".to_owned(), ..Scopes::default() });
    let change = UpdateSchedulerClusterRequest { scopes, ..UpdateSchedulerClusterRequest::default() };
    root.update_scheduler_cluster(whole.id, &change).await.unwrap();
    let config = Some(SeedPeerClusterConfig { load_limit: 7, ..SeedPeerClusterConfig::default() });
    let change = UpdateSeedPeerClusterRequest { config, ..UpdateSeedPeerClusterRequest::default() };
    root.update_seed_peer_cluster(whole.id, &change).await.unwrap();
    let changed = root.get_cluster(whole.id).await.unwrap();
    assert_eq!((changed.scopes.idc.as_str(), changed.seed_peer_cluster_config.load_limit), ("west", 7));
    assert_eq!(changed.scheduler_cluster_config, whole.scheduler_cluster_config);
    let config = Some(SeedPeerClusterConfig { load_limit: 0, ..SeedPeerClusterConfig::default() });
    let change = UpdateSeedPeerClusterRequest { config, ..UpdateSeedPeerClusterRequest::default() };
    assert_eq!(refusal(root.update_seed_peer_cluster(whole.id, &change).await).0, 422);
}

async fn a_part_that_is_added_is_a_cluster(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let new = CreateSchedulerClusterRequest { name: "b".to_owned(), ..CreateSchedulerClusterRequest::default() };
    let schedulers = root.create_scheduler_cluster(&new).await.unwrap();
    let new = CreateSeedPeerClusterRequest { name: "c".to_owned(), ..CreateSeedPeerClusterRequest::default() };
    let seeds = root.create_seed_peer_cluster(&new).await.unwrap();
    assert_eq!(refusal(root.create_seed_peer_cluster(&new).await).0, 409);
    let names: Vec<_> = root.list_clusters().await.unwrap().into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(names, ["cluster-1", "b", "c"]);
    root.add_scheduler_cluster(seeds.id, seeds.id).await.unwrap();
    let (status, detail) = refusal(root.add_scheduler_cluster(seeds.id, schedulers.id).await);
    assert!(status == 409 && detail.starts_with("c and b are two clusters"), "{detail}");
    root.delete_scheduler_cluster(schedulers.id).await.unwrap();
    assert_eq!(refusal(root.get_seed_peer_cluster(schedulers.id).await).0, 404);
    root.delete_seed_peer_cluster(seeds.id).await.unwrap();
    assert_eq!(refusal(root.delete_seed_peer_cluster(1).await).0, 409, "the default cluster");
}

async fn what_runs_stays_where_it_is_configured(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let new = CreateClusterRequest { name: "b".to_owned(), ..CreateClusterRequest::default() };
    let other = root.create_cluster(&new).await.unwrap().id;
    let id = component.renew_scheduler_lease(&scheduler("s", 1)).await.unwrap().id;
    root.add_scheduler(1, id).await.unwrap();
    let (status, detail) = refusal(root.add_scheduler(other, id).await);
    assert!(status == 409 && detail.contains("schedulerClusterID"), "{detail}");
    assert_eq!(refusal(root.add_scheduler(1, 77).await).0, 404);
    let id = component.renew_seed_peer_lease(&seed_peer("seed", 1)).await.unwrap().id;
    root.add_seed_peer(1, id).await.unwrap();
    assert_eq!(refusal(root.add_seed_peer(other, id).await).0, 409);
}
