//! Where a daemon belongs while schedulers come and go, and how soon it hears of a change.

use std::time::Duration;

use df_api::cluster::Place;
use df_api::manager::{
    Cluster, CreateClusterRequest, CreateJoinTokenRequest, DiscoveryRequest, DiscoveryResponse, SchedulerLeaseRequest,
    Scopes, SeedPeerLeaseRequest, UpdateClusterRequest, Verdict,
};
use df_client::{ManagerClient, http_client};
use df_testkit::TestDatabase;
use manager::Join;

use crate::logs::has_line;
use crate::running::{Running, ask, eventually, on_every_database, place, refusal, scheduler, seed_peer, with};

on_every_database! {
    newcomers_pass_over_a_cluster_whose_schedulers_are_down_and_come_home_later,
    a_strict_cluster_keeps_even_newcomers_while_its_schedulers_are_down,
    a_token_of_one_cluster_leads_to_it_or_nowhere,
    who_has_the_latest_is_told_so_when_the_wait_is_over,
    the_version_is_the_etag,
    changes_of_scopes_and_instances_reach_who_waits_at_this_manager_and_at_another,
    a_lease_that_runs_out_is_a_change,
    instances_behind_one_url_are_told_once,
    what_happens_in_another_cluster_wakes_nobody,
    a_manager_that_stops_lets_go_of_who_waits,
}

/// The longest that a manager holds an answer back: whoever gets `None` then was not woken.
const HOLD: Duration = Duration::from_secs(25);

/// Cluster 2 of the walk.
async fn add_cluster_2(root: &ManagerClient, strict: bool) -> Cluster {
    let scopes = Scopes { idc: "cluster-2".into(), ..Scopes::default() };
    let new = CreateClusterRequest { name: "cluster-2".into(), scopes, strict, ..CreateClusterRequest::default() };
    root.create_cluster(&new).await.unwrap()
}

fn in_cluster_2() -> DiscoveryRequest {
    let place = Place { idc: "cluster-2".into(), ..place("n1", "10.9.9.9") };
    DiscoveryRequest { place, ..DiscoveryRequest::default() }
}

fn member_of(id: i64) -> DiscoveryRequest {
    DiscoveryRequest { member_of: Some(id), ..in_cluster_2() }
}

async fn cluster_of(client: &ManagerClient, asked: &DiscoveryRequest) -> i64 {
    ask(client, asked).await.unwrap().membership.cluster_id
}

async fn newcomers_pass_over_a_cluster_whose_schedulers_are_down_and_come_home_later(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    add_cluster_2(&root, false).await;
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let own = component.renew_scheduler_lease(&scheduler("s2", 2)).await.unwrap();
    assert_eq!(cluster_of(&component, &in_cluster_2()).await, 2);

    component.end_scheduler_lease(own.id).await.unwrap();
    assert_eq!(cluster_of(&component, &member_of(2)).await, 2, "an outage moves no member");
    let passed = ask(&component, &in_cluster_2()).await.unwrap();
    assert_eq!(passed.membership.cluster_id, 1);
    assert_eq!(passed.reason, "default cluster, since no scheduler of cluster-2 (IDC cluster-2) is alive");
    let told: Vec<_> = passed.considered.iter().map(|one| (one.cluster_id, one.verdict, one.idc.as_deref())).collect();
    assert_eq!(told, [(1, Verdict::Chosen, None), (2, Verdict::NoLiveScheduler, Some("cluster-2"))]);
    assert_eq!(cluster_of(&component, &member_of(1)).await, 1, "a guest stays as long as nobody is at home");

    component.renew_scheduler_lease(&scheduler("s2", 2)).await.unwrap();
    assert_eq!(cluster_of(&component, &member_of(1)).await, 2);
}

async fn a_strict_cluster_keeps_even_newcomers_while_its_schedulers_are_down(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    add_cluster_2(&root, true).await;
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let answer = ask(&component, &in_cluster_2()).await.unwrap();
    assert_eq!((answer.membership.cluster_id, answer.schedulers.len()), (2, 0));
    let told: Vec<_> = answer.considered.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["cluster-2 (IDC cluster-2, strict, no live scheduler): chosen", "cluster-1 (default): fits less"]
    );
}

async fn a_token_of_one_cluster_leads_to_it_or_nowhere(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    add_cluster_2(&root, false).await;
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let new = CreateJoinTokenRequest { name: "b".into(), cluster_id: Some(2) };
    let bound = manager.with(&root.create_join_token(&new).await.unwrap().token);
    let answer = ask(&bound, &in_cluster_2()).await.unwrap();
    assert_eq!(answer.membership.cluster_id, 2, "its schedulers are down, and it may be nowhere else");
    let member = manager.with(&answer.membership.credential);
    assert_eq!(cluster_of(&member, &in_cluster_2()).await, 2, "so with a credential");

    let elsewhere = DiscoveryRequest { place: place("n1", "10.9.9.9"), ..DiscoveryRequest::default() };
    let (status, detail) = refusal(ask(&bound, &elsewhere).await);
    assert!(status == 403 && detail.starts_with("n1 belongs to cluster-1 (default cluster): this join"), "{detail}");
    let configured = DiscoveryRequest { scheduler_cluster_id: Some(2), ..elsewhere };
    assert_eq!(cluster_of(&bound, &configured).await, 2);
}

async fn who_has_the_latest_is_told_so_when_the_wait_is_over(database: TestDatabase) {
    let manager = Running::start(database).await;
    let component = manager.component().await;
    let asked = in_cluster_2();
    let known = ask(&component, &asked).await.unwrap().version;
    for wait in [Duration::ZERO, Duration::from_secs(1)] {
        assert_eq!(component.discover_cluster(&asked, Some(&known), wait).await.unwrap(), None);
    }
    let other = component.discover_cluster(&asked, Some("something else"), HOLD).await.unwrap();
    assert_eq!(other.unwrap().version, known, "at once");
}

async fn the_version_is_the_etag(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.join = Join::Open).await;
    let post = async |known: Option<&str>| {
        let request = http_client().post(format!("{}/api/v1/discovery", manager.url)).json(&in_cluster_2());
        let answer = known.map_or(request.try_clone().unwrap(), |known| request.header("if-none-match", known));
        let answer = answer.send().await.unwrap();
        let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), etag, answer.bytes().await.unwrap())
    };
    let (status, etag, body) = post(None).await;
    let version = serde_json::from_slice::<DiscoveryResponse>(&body).unwrap().version;
    assert_eq!((status, etag.as_str()), (200, format!("W/\"{version}\"").as_str()));
    let (status, same, body) = post(Some(&etag)).await;
    assert_eq!((status, same == etag, body.len()), (304, true, 0));
}

/// What one daemon hears while `change` is made.
async fn hears(
    waiting: (&ManagerClient, &DiscoveryRequest),
    change: impl Future<Output = ()>,
) -> Option<DiscoveryResponse> {
    let (client, asked) = waiting;
    let known = ask(client, asked).await.unwrap().version;
    let (heard, ()) = tokio::join!(client.discover_cluster(asked, Some(&known), HOLD), change);
    heard.unwrap()
}

async fn changes_of_scopes_and_instances_reach_who_waits_at_this_manager_and_at_another(database: TestDatabase) {
    let manager = Running::start(database).await;
    let second = manager.second().await;
    let (root, component) = (manager.root().await, manager.component().await);
    let token = manager.app.mint_join_token("waiting", None).await.unwrap();
    let cluster = add_cluster_2(&root, true).await;
    let (here, there) = (with(&manager.url, &token), with(&second.url, &token));
    for (waiting, number) in [(&here, 1), (&there, 2)] {
        let asked = in_cluster_2();
        let scopes = |idc: &str| UpdateClusterRequest {
            scopes: Some(Scopes { idc: idc.into(), ..Scopes::default() }),
            ..UpdateClusterRequest::default()
        };
        let heard = hears((waiting, &asked), async {
            root.update_cluster(cluster.id, &scopes("elsewhere")).await.unwrap();
        });
        assert_eq!(heard.await.unwrap().membership.cluster_id, 1);
        let heard = hears((waiting, &asked), async {
            root.update_cluster(cluster.id, &scopes("cluster-2")).await.unwrap();
        });
        assert_eq!(heard.await.unwrap().membership.cluster_id, 2);

        let name = format!("s{number}");
        let heard = hears((waiting, &asked), async {
            component.renew_scheduler_lease(&scheduler(&name, 2)).await.unwrap();
        });
        assert_eq!(heard.await.unwrap().schedulers.last().unwrap().host_name, name);
        let heard = hears((waiting, &asked), async {
            component.renew_seed_peer_lease(&seed_peer(&name, 2)).await.unwrap();
        });
        assert_eq!(heard.await.unwrap().seed_peers.len(), number);
        let gone = component.renew_scheduler_lease(&scheduler(&name, 2)).await.unwrap().id;
        let heard = hears((waiting, &asked), async { component.end_scheduler_lease(gone).await.unwrap() });
        assert_eq!(heard.await.unwrap().schedulers.len(), 0);
    }
}

async fn a_lease_that_runs_out_is_a_change(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.lease_ms = 500).await;
    let component = manager.component().await;
    let asked = in_cluster_2();
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let known = ask(&component, &asked).await.unwrap();
    assert_eq!(known.schedulers.len(), 1);
    let heard = component.discover_cluster(&asked, Some(&known.version), HOLD).await.unwrap();
    assert!(heard.unwrap().schedulers.is_empty());
}

async fn instances_behind_one_url_are_told_once(database: TestDatabase) {
    let manager = Running::start(database).await;
    let component = manager.component().await;
    for name in ["s1", "s2", "s3"] {
        let one = SchedulerLeaseRequest { url: "http://balancer.svc:8002".into(), ..scheduler(name, 1) };
        component.renew_scheduler_lease(&one).await.unwrap();
    }
    component.renew_scheduler_lease(&scheduler("alone", 1)).await.unwrap();
    for name in ["before", "now"] {
        let one = SeedPeerLeaseRequest { url: "http://10.0.0.2:65001".into(), ..seed_peer(name, 1) };
        component.renew_seed_peer_lease(&one).await.unwrap();
    }
    let asked = DiscoveryRequest { place: place("n1", "10.9.9.9"), ..DiscoveryRequest::default() };
    let answer = ask(&component, &asked).await.unwrap();
    let urls: Vec<_> = answer.schedulers.iter().map(|one| one.url.as_str()).collect();
    assert_eq!(urls, ["http://balancer.svc:8002", "http://alone.svc:8002"]);
    let seeds: Vec<_> = answer.seed_peers.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(seeds, ["now-10.0.0.2-65001"], "a host that got another name");
}

async fn what_happens_in_another_cluster_wakes_nobody(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    add_cluster_2(&root, false).await;
    let asked = DiscoveryRequest { place: place("n1", "10.9.9.9"), ..DiscoveryRequest::default() };
    let known = ask(&component, &asked).await.unwrap().version;
    let change = async {
        component.renew_scheduler_lease(&scheduler("s2", 2)).await.unwrap();
        let renamed = UpdateClusterRequest { name: Some("b".into()), ..UpdateClusterRequest::default() };
        root.update_cluster(2, &renamed).await.unwrap();
    };
    let wait = Duration::from_secs(2);
    let (heard, ()) = tokio::join!(component.discover_cluster(&asked, Some(&known), wait), change);
    assert_eq!(heard.unwrap(), None);
}

async fn a_manager_that_stops_lets_go_of_who_waits(database: TestDatabase) {
    // All of them log to one place.
    let host = format!("waits-for-the-end-of-{:?}", database.kind);
    let manager = Running::start(database).await;
    let component = manager.component().await;
    let asked = DiscoveryRequest { place: place(&host, "10.9.9.9"), ..DiscoveryRequest::default() };
    let known = ask(&component, &asked).await.unwrap().version;
    let waiting = tokio::spawn(async move { component.discover_cluster(&asked, Some(&known), HOLD).await });
    eventually("the answer is held back", async || has_line(&[&host, "held back"]).then_some(())).await;
    manager.restart(|_| ()).await;
    assert_eq!(waiting.await.unwrap().unwrap(), None, "answered, and not cut off");
}
