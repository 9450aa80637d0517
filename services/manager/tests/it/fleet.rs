//! Schedulers and seed peers, as people see and expect them.

use df_api::cluster::Place;
use df_api::manager::{
    CreatePeerRequest, CreateSchedulerRequest, CreateSeedPeerRequest, DaemonInfo, DiscoveryRequest, Feature,
    InstanceState, PeerType, UpdateSchedulerRequest, UpdateSeedPeerRequest,
};
use df_testkit::TestDatabase;

use crate::running::{Running, ask, eventually, on_every_database, place, refusal, scheduler, seed_peer};

on_every_database! {
    who_is_expected_becomes_active_by_its_lease,
    who_is_active_is_not_deleted,
    a_scheduler_without_its_feature_is_told_to_nobody,
    an_expected_seed_peer_must_be_one,
    a_daemon_that_asks_is_a_peer,
    an_expected_peer_is_inactive,
}

fn expected(host_name: &str) -> CreateSchedulerRequest {
    let Place { hostname, ip, .. } = place(host_name, "10.0.0.1");
    CreateSchedulerRequest {
        host_name: hostname,
        ip,
        port: 8002,
        scheduler_cluster_id: 1,
        idc: "east".to_owned(),
        location: String::new(),
        features: None,
    }
}

async fn who_is_expected_becomes_active_by_its_lease(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let made = root.create_scheduler(&expected("s")).await.unwrap();
    assert_eq!((made.state, made.features.as_slice()), (InstanceState::Inactive, &Feature::ALL[..]));
    assert_eq!(made.url, "http://10.0.0.1:8002");
    let (status, detail) = refusal(root.create_scheduler(&expected("s")).await);
    assert!(status == 409 && detail.contains("scheduler s"), "{detail}");
    let component = manager.component().await;
    assert_eq!(component.renew_scheduler_lease(&scheduler("s", 1)).await.unwrap().id, made.id);
    let active = root.get_scheduler(made.id).await.unwrap();
    assert_eq!((active.state, active.url.as_str()), (InstanceState::Active, "http://s.svc:8002"));
    let mut nowhere = expected("t");
    nowhere.scheduler_cluster_id = 77;
    assert_eq!(refusal(root.create_scheduler(&nowhere).await), (404, "there is no cluster 77".to_owned()));
    let mut wrong = expected("t");
    wrong.ip = "10.0.0".to_owned();
    assert_eq!(refusal(root.create_scheduler(&wrong).await).0, 422);
}

async fn who_is_active_is_not_deleted(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let id = component.renew_scheduler_lease(&scheduler("s", 1)).await.unwrap().id;
    let (status, detail) = refusal(root.delete_scheduler(id).await);
    assert_eq!((status, detail.as_str()), (409, "scheduler s is active: stop it first"));
    component.end_scheduler_lease(id).await.unwrap();
    root.delete_scheduler(id).await.unwrap();
    assert_eq!(refusal(root.get_scheduler(id).await), (404, format!("there is no scheduler {id}")));
}

async fn a_scheduler_without_its_feature_is_told_to_nobody(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    component.renew_scheduler_lease(&scheduler("s", 1)).await.unwrap();
    let other = component.renew_scheduler_lease(&scheduler("t", 1)).await.unwrap().id;
    let asked = DiscoveryRequest { place: place("node", "10.0.0.9"), ..DiscoveryRequest::default() };
    assert_eq!(ask(&component, &asked).await.unwrap().schedulers.len(), 2);
    let change = UpdateSchedulerRequest { features: Some(vec![Feature::Preheat]), ..UpdateSchedulerRequest::default() };
    assert_eq!(root.update_scheduler(other, &change).await.unwrap().features, [Feature::Preheat]);
    let told: Vec<String> =
        ask(&component, &asked).await.unwrap().schedulers.into_iter().map(|one| one.host_name).collect();
    assert_eq!(told, ["s"]);
    component.renew_scheduler_lease(&scheduler("t", 1)).await.unwrap();
    assert_eq!(root.get_scheduler(other).await.unwrap().features, [Feature::Preheat], "a renewal changes no feature");
    let twice = vec![Feature::Preheat, Feature::Preheat];
    let change = UpdateSchedulerRequest { features: Some(twice), ..UpdateSchedulerRequest::default() };
    assert_eq!(refusal(root.update_scheduler(other, &change).await).0, 422);
}

async fn an_expected_seed_peer_must_be_one(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let mut new = CreateSeedPeerRequest {
        host_name: "seed".to_owned(),
        kind: "super".to_owned(),
        ip: "10.0.0.2".to_owned(),
        port: 65001,
        download_port: Some(65002),
        seed_peer_cluster_id: 1,
        idc: String::new(),
        location: String::new(),
    };
    let (status, detail) = refusal(root.create_seed_peer(&new).await);
    assert!(status == 422 && detail.starts_with("download_port 65002: the same as port (65001)"), "{detail}");
    (new.download_port, new.kind) = (None, "strong".to_owned());
    assert!(refusal(root.create_seed_peer(&new).await).1.starts_with("type \"strong\": super"));
    new.kind = "super".to_owned();
    let made = root.create_seed_peer(&new).await.unwrap();
    let change = UpdateSeedPeerRequest { idc: Some("east".into()), ..UpdateSeedPeerRequest::default() };
    assert_eq!(root.update_seed_peer(made.id, &change).await.unwrap().idc, "east");
    assert_eq!(component.renew_seed_peer_lease(&seed_peer("seed", 1)).await.unwrap().id, made.id);
    assert_eq!(refusal(root.delete_seed_peer(made.id).await).0, 409);
    assert_eq!(refusal(root.get_scheduler(made.id).await).0, 404, "it is no scheduler");
}

async fn a_daemon_that_asks_is_a_peer(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let daemon = DaemonInfo { port: 65001, os: "linux".into(), git_version: "v9".into(), ..DaemonInfo::default() };
    let mut asked = DiscoveryRequest { place: place("node", "10.0.0.9"), ..DiscoveryRequest::default() };
    ask(&component, &asked).await.unwrap();
    asked.place.hostname = "daemon".to_owned();
    asked.daemon = Some(daemon);
    ask(&component, &asked).await.unwrap();
    let peer = eventually("the peer is written down", async || root.list_peers().await.unwrap().pop()).await;
    assert_eq!((peer.host_name.as_str(), peer.port, peer.kind), ("daemon", 65001, PeerType::Normal));
    assert_eq!((peer.state, peer.scheduler_cluster_id), (InstanceState::Active, 1));
    assert_eq!(root.get_peer(peer.id).await.unwrap().git_version, "v9");
    let (status, detail) = refusal(root.delete_peer(peer.id).await);
    assert!(status == 409 && detail.contains("daemon is active"), "{detail}");
    // What has changed is written down at once, in the same row.
    asked.place.idc = "east".to_owned();
    ask(&component, &asked).await.unwrap();
    let moved = async || root.list_peers().await.unwrap().pop().filter(|peer| peer.idc == "east");
    assert_eq!(eventually("the change is written down", moved).await.id, peer.id);
    asked.daemon = Some(DaemonInfo { os: "x".repeat(101), ..DaemonInfo::default() });
    let (status, detail) = refusal(ask(&component, &asked).await);
    assert!(status == 422 && detail.starts_with("os"), "{detail}");
}

async fn an_expected_peer_is_inactive(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let new: CreatePeerRequest = serde_json::from_value(serde_json::json!({
        "host_name": "node", "type": "normal", "ip": "10.0.0.9", "port": 65001, "download_port": 65001,
        "scheduler_cluster_id": 1, "os": "linux",
    }))
    .unwrap();
    let peer = root.create_peer(&new).await.unwrap();
    assert_eq!((peer.state, peer.os.as_str()), (InstanceState::Inactive, "linux"));
    assert_eq!(refusal(root.create_peer(&new).await).0, 409);
    assert_eq!(refusal(root.create_peer(&CreatePeerRequest { scheduler_cluster_id: 77, ..new }).await).0, 404);
    root.delete_peer(peer.id).await.unwrap();
    assert_eq!(refusal(root.delete_peer(peer.id).await), (404, format!("there is no peer {}", peer.id)));
}
