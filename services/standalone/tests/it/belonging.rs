//! Which cluster a daemon belongs to, while scopes change and schedulers die: two clusters under one manager.

use std::net::{IpAddr, Ipv4Addr};

use df_api::cluster::Role;
use df_api::manager::{CreateClusterRequest, InstanceState, Scopes, UpdateClusterRequest};
use df_client::{DfdaemonClient, Transport, http_client};
use df_http::credential::verify;
use df_testkit::until;
use dfdaemon::config::Config as DaemonConfig;

use crate::cluster::{received, task_id};
use crate::ground::{Ground, until_member};
use crate::lab::PATIENCE;

fn in_cluster_2(config: &mut DaemonConfig) {
    config.host.idc = "cluster-2".to_owned();
}

fn scopes(idc: &str) -> Scopes {
    Scopes { idc: idc.to_owned(), ..Scopes::default() }
}

async fn ground(idc: &str) -> Ground {
    let ground = Ground::start(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let new = CreateClusterRequest { name: "cluster-2".into(), scopes: scopes(idc), ..Default::default() };
    assert_eq!(ground.root.create_cluster(&new).await.unwrap().id, 2);
    ground
}

/// It does not poll on a timer: were it not told, it would ask again in half a minute, when nobody waits any more.
#[tokio::test]
async fn a_daemon_whose_scopes_change_moves_at_once_and_leaves_nothing_behind() {
    let ground = ground("elsewhere").await;
    let (first, second) = (ground.scheduler(1).await, ground.scheduler(2).await);
    let stays = ground.daemon("stays", &ground.stop(), |_| {}).await;
    let moves = ground.daemon("moves", &ground.stop(), in_cluster_2).await;
    first.until_hosts(&stays, &["moves", "stays"]).await;
    ground.pull(&moves).await;
    let former = moves.peer.gate().credential();

    let change = UpdateClusterRequest { scopes: Some(scopes("cluster-2")), ..Default::default() };
    ground.root.update_cluster(2, &change).await.unwrap();
    until_member(&moves, 2).await;
    first.until_hosts(&stays, &["stays"]).await;
    second.until_hosts(&moves, &["moves"]).await;
    assert_eq!(*moves.peer.schedulers().subscribe().borrow(), std::slice::from_ref(&second.url));
    assert_ne!(moves.peer.gate().credential(), former);

    // Who stays gets nothing of it any more.
    let transport = Transport::new(&moves.peer.config().url, http_client()).unwrap();
    for credential in [former, stays.peer.gate().credential()] {
        let client = DfdaemonClient::new(transport.clone().with_bearer(credential));
        let refused = client.get_task_content(&task_id(ground.layer()), None).await.unwrap_err();
        assert_eq!(refused.status(), Some(403));
    }
}

#[tokio::test]
async fn a_download_goes_on_in_the_new_cluster() {
    let ground = ground("elsewhere").await;
    let (first, second) = (ground.scheduler(1).await, ground.scheduler(2).await);
    let stays = ground.daemon("stays", &ground.stop(), |_| {}).await;
    let moves = ground.daemon("moves", &ground.stop(), in_cluster_2).await;
    first.until_hosts(&stays, &["moves", "stays"]).await;
    let (layer, id) = (ground.layer(), task_id(ground.layer()));
    ground.hold_at(layer.size_bytes() / 2);
    let fault = async {
        until("half of it is there", PATIENCE, async || {
            let received = received(&moves, layer).origin_bytes;
            Ok((received >= layer.size_bytes() / 4).then_some(()))
        })
        .await
        .unwrap();
        let change = UpdateClusterRequest { scopes: Some(scopes("cluster-2")), ..Default::default() };
        ground.root.update_cluster(2, &change).await.unwrap();
        until("the new scheduler knows of it", PATIENCE, async || {
            let Ok(view) = second.client(&moves).get_task(&id).await else { return Ok(None) };
            Ok(view.peers.iter().any(|peer| peer.host_id == *moves.peer.host_id()).then_some(()))
        })
        .await
        .unwrap();
        ground.release();
    };
    tokio::join!(ground.pull(&moves), fault);
    assert_eq!(received(&moves, layer).origin_bytes, layer.size_bytes(), "and nothing was asked for twice");
}

#[tokio::test]
async fn an_outage_moves_nobody_not_even_who_is_restarted_in_it() {
    let ground = ground("cluster-2").await;
    let _first = ground.scheduler(1).await;
    let second = ground.scheduler(2).await;
    let stop = ground.stop();
    let member = ground.daemon("member", &stop, in_cluster_2).await;
    second.until_hosts(&member, &["member"]).await;
    until_member(&member, 2).await;

    second.stop.cancel();
    until("the manager knows that it is gone", PATIENCE, async || {
        let known = ground.root.list_schedulers().await?;
        let gone = known.iter().any(|one| one.scheduler_cluster_id == 2 && one.state == InstanceState::Inactive);
        Ok(gone.then_some(()))
    })
    .await
    .unwrap();
    until("the daemon has heard of it", PATIENCE, async || {
        Ok(member.peer.schedulers().subscribe().borrow().is_empty().then_some(()))
    })
    .await
    .unwrap();
    until_member(&member, 2).await;

    stop.cancel();
    member.stopped().await;
    // Its credential was of another place: it has to ask.
    let elsewhere = |config: &mut DaemonConfig| {
        in_cluster_2(config);
        config.host.location = "attic".to_owned();
    };
    let again = ground.daemon("member", &ground.stop(), elsewhere).await;
    assert!(again.peer.gate().membership().is_none());
    let newcomer = ground.daemon("newcomer", &ground.stop(), in_cluster_2).await;
    until_member(&again, 2).await;
    until_member(&newcomer, 1).await;

    let _second = ground.scheduler(2).await;
    until_member(&newcomer, 2).await;
}

/// The second time by what it has on disk: the manager is asked later.
#[tokio::test]
async fn a_seed_peer_is_believed_to_be_one_and_still_is_after_a_restart() {
    let ground = Ground::start(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let scheduler = ground.scheduler(1).await;
    for is_first in [true, false] {
        let stop = ground.stop();
        let seed = ground.daemon("seed", &stop, |config| config.scheduler.manager.seed_peer.enable = true).await;
        if is_first {
            until_member(&seed, 1).await;
        }
        let own = seed.peer.gate().membership().expect("it is kept");
        assert_eq!(verify(&own.credential, &own.jwks, 1).unwrap().role, Role::SeedPeer);
        scheduler.until_hosts(&seed, &["seed"]).await;
        assert!(scheduler.client(&seed).list_hosts().await.unwrap()[0].seed);
        stop.cancel();
        seed.stopped().await;
    }
}
