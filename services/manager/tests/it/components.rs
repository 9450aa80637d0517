//! The components' own calls: joining, leases, discovery.

use df_api::cluster::{Place, Role};
use df_api::manager::{
    CreateClusterRequest, CreateJoinTokenRequest, DiscoveryRequest, DiscoveryResponse, InstanceState, Scopes,
};
use df_api::scheduler::KnownHost;
use df_client::ManagerClient;
use df_http::credential::verify;
use df_testkit::TestDatabase;
use manager::Join;

use crate::running::{Running, ask, eventually, on_every_database, place, refusal, scheduler, seed_peer};

on_every_database! {
    a_scheduler_registers_renews_and_falls_silent,
    who_leaves_is_inactive_at_once,
    a_lease_of_an_unknown_cluster_or_a_strange_url_is_refused_by_name,
    a_place_finds_its_cluster_and_hears_why,
    discovery_names_the_active_ones_of_that_cluster_only,
    a_strict_default_takes_no_strangers,
    only_holders_of_a_token_join_and_only_where_it_is_for,
    a_credential_renews_itself_but_not_as_something_else,
    an_open_manager_asks_nobody,
    a_restart_keeps_the_data_and_the_key,
}

async fn add_cluster(root: &ManagerClient, name: &str, scopes: Scopes) -> i64 {
    let new = CreateClusterRequest { name: name.to_owned(), scopes, ..CreateClusterRequest::default() };
    root.create_cluster(&new).await.unwrap().id
}

async fn discover(client: &ManagerClient, place: Place) -> DiscoveryResponse {
    ask(client, &DiscoveryRequest { place, ..DiscoveryRequest::default() }).await.unwrap()
}

fn asking(hostname: &str) -> DiscoveryRequest {
    DiscoveryRequest { place: place(hostname, "10.9.9.9"), ..DiscoveryRequest::default() }
}

async fn a_scheduler_registers_renews_and_falls_silent(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.lease_ms = 300).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let lease = component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    assert_eq!((lease.lease_ms, lease.refresh_after_ms, lease.config.candidate_parent_limit), (300, 100, 3));
    let claims = verify(&lease.membership.credential, &lease.membership.jwks, 1).unwrap();
    assert_eq!((claims.sub.as_str(), claims.role), ("s1", Role::Scheduler));
    assert_eq!((lease.peer_config.load_limit, lease.seed_peer_config.load_limit), (200, 2000));

    let mut moved = scheduler("s1", 1);
    moved.url = "http://10.0.0.1:9002".into();
    assert_eq!(component.renew_scheduler_lease(&moved).await.unwrap().id, lease.id, "the same scheduler");
    let listed = root.list_schedulers().await.unwrap();
    assert_eq!((listed.len(), listed[0].url.as_str(), listed[0].port), (1, "http://10.0.0.1:9002", 9002));

    let silent = eventually("the lease runs out", async || {
        root.list_schedulers().await.unwrap().pop().filter(|one| one.state == InstanceState::Inactive)
    })
    .await;
    assert_eq!(silent.id, lease.id);
    assert!(discover(&component, place("n1", "10.9.9.9")).await.schedulers.is_empty());
    component.renew_scheduler_lease(&moved).await.unwrap();
    assert_eq!(root.list_schedulers().await.unwrap()[0].id, lease.id, "back under its id");
}

async fn who_leaves_is_inactive_at_once(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let lease = component.renew_seed_peer_lease(&seed_peer("p1", 1)).await.unwrap();
    assert_eq!(root.list_seed_peers().await.unwrap()[0].state, InstanceState::Active);
    component.end_seed_peer_lease(lease.id).await.unwrap();
    assert_eq!(root.list_seed_peers().await.unwrap()[0].state, InstanceState::Inactive);
    assert_eq!(refusal(component.end_seed_peer_lease(99).await), (404, "there is no seed peer 99".to_owned()));
    assert_eq!(refusal(component.end_scheduler_lease(lease.id).await).0, 404, "it is no scheduler");
}

async fn a_lease_of_an_unknown_cluster_or_a_strange_url_is_refused_by_name(database: TestDatabase) {
    let manager = Running::start(database).await;
    let component = manager.component().await;
    assert_eq!(
        refusal(component.renew_seed_peer_lease(&seed_peer("p1", 7)).await),
        (404, "there is no cluster 7".into())
    );
    assert_eq!(refusal(component.renew_scheduler_lease(&scheduler("s1", 7)).await).0, 404);
    let mut strange = scheduler("s1", 1);
    strange.url = "ftp://s1".into();
    let (status, detail) = refusal(component.renew_scheduler_lease(&strange).await);
    assert!(status == 422 && detail.starts_with("url \"ftp://s1\""), "{detail}");
    strange = scheduler("s1", 1);
    strange.place.ip = "0.0.0.0".into();
    assert!(refusal(component.renew_scheduler_lease(&strange).await).1.starts_with("place.ip \"0.0.0.0\""));
}

async fn a_place_finds_its_cluster_and_hears_why(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let scopes = |idc: &str, location: &str, cidr: Option<&str>| Scopes {
        idc: idc.into(),
        location: location.into(),
        cidrs: cidr.into_iter().map(|cidr| cidr.parse().unwrap()).collect(),
        hostnames: Vec::new(),
    };
    let by_cidr = add_cluster(&root, "by-cidr", scopes("", "", Some("10.32.0.0/13"))).await;
    let by_idc = add_cluster(&root, "by-idc", scopes("cluster-2|hz", "", None)).await;
    let by_location = add_cluster(&root, "by-location", scopes("", "asia|cn", None)).await;

    let mut at = Place { idc: "HZ".into(), location: "Asia|CN|ZJ".into(), ..place("n1", "10.33.0.1") };
    let mut heard = Vec::new();
    for ip_and_idc in [("10.33.0.1", "HZ"), ("10.99.0.1", "HZ"), ("10.99.0.1", "")] {
        (at.ip, at.idc) = (ip_and_idc.0.to_owned(), ip_and_idc.1.to_owned());
        let answer = discover(&component, at.clone()).await;
        heard.push((answer.membership.cluster_id, answer.reason));
    }
    assert_eq!(
        heard,
        [
            (by_cidr, "CIDR 10.32.0.0/13".to_owned()),
            (by_idc, "IDC hz".to_owned()),
            (by_location, "location asia|cn (2 of 2 elements)".to_owned()),
        ]
    );
    let answer = discover(&component, place("n1", "192.168.0.1")).await;
    assert_eq!((answer.membership.cluster_id, answer.reason.as_str()), (1, "default cluster"));
    assert_eq!(answer.membership.cluster_name, "cluster-1");

    let fixed =
        DiscoveryRequest { scheduler_cluster_id: Some(by_idc), place: at.clone(), ..DiscoveryRequest::default() };
    let answer = ask(&component, &fixed).await.unwrap();
    assert_eq!(answer.membership.cluster_id, by_idc, "the daemon's own setting overrides the scopes");
    let unknown = DiscoveryRequest { scheduler_cluster_id: Some(99), place: at.clone(), ..DiscoveryRequest::default() };
    assert_eq!(refusal(ask(&component, &unknown).await), (404, "there is no cluster 99".to_owned()));

    // A changed scope counts for the next question.
    root.delete_cluster(by_location).await.unwrap();
    assert_eq!(discover(&component, at).await.reason, "default cluster");
}

async fn discovery_names_the_active_ones_of_that_cluster_only(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let other = add_cluster(&root, "other", Scopes::default()).await;
    assert_eq!(discover(&component, place("n1", "10.9.9.9")).await.refresh_after_ms, 5_000, "ask again soon");
    for (hostname, cluster) in [("s1", 1), ("s2", other), ("s3", 1), ("s4", 1)] {
        component.renew_scheduler_lease(&scheduler(hostname, cluster)).await.unwrap();
    }
    let gone = component.renew_scheduler_lease(&scheduler("s3", 1)).await.unwrap().id;
    component.end_scheduler_lease(gone).await.unwrap();
    component.renew_seed_peer_lease(&seed_peer("p1", 1)).await.unwrap();

    let answer = discover(&component, place("n1", "10.9.9.9")).await;
    let names: Vec<_> = answer.schedulers.iter().map(|one| one.host_name.as_str()).collect();
    assert_eq!((names.as_slice(), answer.refresh_after_ms), (["s1", "s4"].as_slice(), 60_000));
    let id = "p1-10.0.0.2-65001".parse().unwrap();
    assert_eq!(answer.seed_peers, [KnownHost { id, url: "http://p1.svc:65001".into(), seed: true }]);
    let claims = verify(&answer.membership.credential, &answer.membership.jwks, 1).unwrap();
    assert_eq!((claims.role, claims.exp - claims.iat), (Role::Peer, 7 * 24 * 3600));
    assert_eq!(manager.anonymous().get_jwks().await.unwrap(), answer.membership.jwks);
}

async fn a_strict_default_takes_no_strangers(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let strict = df_api::manager::UpdateClusterRequest { strict: Some(true), ..Default::default() };
    root.update_cluster(1, &strict).await.unwrap();
    let (status, detail) = refusal(ask(&component, &asking("n1")).await);
    assert!(status == 404 && detail.contains("no cluster takes n1") && detail.contains("strict"), "{detail}");
}

async fn only_holders_of_a_token_join_and_only_where_it_is_for(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let scopes = Scopes { idc: "b".into(), ..Scopes::default() };
    let b = add_cluster(&root, "b", scopes).await;
    assert_eq!(refusal(ask(&manager.anonymous(), &asking("n1")).await).0, 401);
    assert_eq!(refusal(ask(&manager.with("dfj_wrong"), &asking("n1")).await).0, 401);
    assert_eq!(refusal(ask(&root, &asking("n1")).await).0, 401, "a user is no component");

    let new = CreateJoinTokenRequest { name: "rack 7".into(), cluster_id: Some(b) };
    let made = root.create_join_token(&new).await.unwrap();
    assert!(made.token.starts_with("dfj_"));
    assert!(root.list_join_tokens().await.unwrap().contains(&made.join_token));
    let bound = manager.with(&made.token);
    bound.renew_scheduler_lease(&scheduler("s1", b)).await.unwrap();
    let (status, detail) = refusal(bound.renew_scheduler_lease(&scheduler("s1", 1)).await);
    assert!(status == 403 && detail.contains(&format!("for cluster {b}, not for cluster 1")), "{detail}");
    assert_eq!(refusal(ask(&bound, &asking("n1")).await).0, 403, "it would be cluster-1");
    let home = Place { idc: "b".into(), ..place("n1", "10.9.9.9") };
    assert_eq!(discover(&bound, home).await.membership.cluster_id, b);
    assert_eq!(refusal(bound.list_clusters().await).0, 401, "a component is no user");

    root.delete_join_token(made.join_token.id).await.unwrap();
    assert_eq!(refusal(bound.renew_scheduler_lease(&scheduler("s1", b)).await).0, 401, "withdrawn");
    assert_eq!(refusal(root.delete_join_token(made.join_token.id).await).0, 404);
    let nowhere = CreateJoinTokenRequest { name: "x".into(), cluster_id: Some(99) };
    assert_eq!(refusal(root.create_join_token(&nowhere).await).0, 404);
    assert_eq!(refusal(root.create_join_token(&CreateJoinTokenRequest::default()).await).0, 422);
}

async fn a_credential_renews_itself_but_not_as_something_else(database: TestDatabase) {
    let manager = Running::start(database).await;
    let component = manager.component().await;
    let peer = manager.with(&discover(&component, place("n1", "10.9.9.9")).await.membership.credential);
    discover(&peer, place("n1", "10.9.9.9")).await;
    let as_seed = DiscoveryRequest { seed_peer: true, ..asking("n1") };
    for refused in [
        refusal(peer.renew_scheduler_lease(&scheduler("n1", 1)).await),
        refusal(peer.renew_seed_peer_lease(&seed_peer("n1", 1)).await),
        refusal(ask(&peer, &as_seed).await),
    ] {
        assert!(refused.0 == 403 && refused.1.contains("takes a join token"), "{refused:?}");
    }

    let joined = ask(&component, &as_seed).await.unwrap().membership;
    let renewed = ask(&manager.with(&joined.credential), &as_seed).await.unwrap().membership;
    for membership in [joined, renewed] {
        assert_eq!(verify(&membership.credential, &membership.jwks, 1).unwrap().role, Role::SeedPeer);
    }

    let lease = component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let itself = manager.with(&lease.membership.credential);
    assert_eq!(itself.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap().id, lease.id);
    let b = add_cluster(&manager.root().await, "b", Scopes::default()).await;
    assert_eq!(refusal(itself.renew_scheduler_lease(&scheduler("s1", b)).await).0, 403);
    itself.end_scheduler_lease(lease.id).await.unwrap();
}

async fn an_open_manager_asks_nobody(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.join = Join::Open).await;
    let anybody = manager.anonymous();
    anybody.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    assert_eq!(discover(&anybody, place("n1", "10.9.9.9")).await.schedulers.len(), 1);
    assert_eq!(refusal(anybody.list_clusters().await).0, 401, "people still sign in");
}

async fn a_restart_keeps_the_data_and_the_key(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.join_token = Some("environment-token-1".into())).await;
    let root = manager.root().await;
    add_cluster(&root, "b", Scopes::default()).await;
    let session = manager.token_of("root").await;
    let minted = manager.app.mint_join_token("scheduler", None).await.unwrap();
    let before = manager.with("environment-token-1").renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();

    let manager = manager.restart(|config| config.join_token = Some("environment-token-2".into())).await;
    assert_eq!(manager.app.jwks(), before.membership.jwks);
    verify(&before.membership.credential, &manager.app.jwks(), 1).unwrap();
    let root = manager.with(&session);
    assert_eq!(root.list_clusters().await.unwrap().len(), 2);
    assert_eq!(root.list_schedulers().await.unwrap()[0].id, before.id);
    manager.with(&minted).renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    // A new token of the environment, and a newly minted one, replace the former.
    assert_eq!(refusal(ask(&manager.with("environment-token-1"), &asking("n1")).await).0, 401);
    discover(&manager.with("environment-token-2"), place("n1", "10.9.9.9")).await;
    manager.app.mint_join_token("scheduler", None).await.unwrap();
    assert_eq!(refusal(ask(&manager.with(&minted), &asking("n1")).await).0, 401);
    assert_eq!(root.list_join_tokens().await.unwrap().len(), 2);
}
