//! Schedulers die, come back, join and fall silent: what is in the cluster is found all the same, and is fetched once.

use std::time::{Duration, Instant};

use df_api::rendezvous::weight;
use df_testkit::registry::RegistryAccess;
use df_testkit::{Blob, Faults, until};
use tokio_util::sync::CancellationToken;

use crate::alone::{until_gone, until_known};
use crate::cluster::{Cluster, received, task_id};
use crate::fleet::Fleet;
use crate::lab::PATIENCE;

const MIB: usize = 1024 * 1024;
/// Larger than what a seed peer gives without a scheduler's word.
const SMALL: usize = 200_000;

/// A daemon asks the manager once a minute at least.
const HEARD_WITHIN: Duration = Duration::from_secs(90);

fn layers(fleet: &Fleet) -> Vec<Blob> {
    fleet.layers.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_has_just_come_back_finds_what_peers_hold() {
    let mut fleet = Fleet::start(1, 3, 0, &[4 * MIB]).await;
    let layer = fleet.layers[0].clone();
    fleet.pull(0, &layer).await;
    fleet.schedulers[0].kill().await;
    fleet.schedulers[0].restart().await;
    // Nobody has told it anything yet.
    fleet.pull(1, &layer).await;
    assert_eq!(fleet.origin_bytes(1, &layer), 0, "node 0 has it");
    fleet.until_known().await;
    fleet.until_held(&layer).await;
    fleet.pull(2, &layer).await;
    assert_eq!(fleet.served_bytes(&layer), layer.size_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_through_the_restart_of_a_scheduler_asks_the_origin_once() {
    let mut fleet = Fleet::start(1, 5, 0, &[24 * MIB]).await;
    let layer = fleet.layers[0].clone();
    fleet.change(&layer, |content| content.rate(8 * MIB as u64));
    let mut lines = std::mem::take(&mut fleet.schedulers);
    let fault = async {
        let third = async || Ok((fleet.served_bytes(&layer) >= layer.size_bytes() / 3).then_some(()));
        until("a third has left the origin", PATIENCE, third).await.unwrap();
        lines[0].kill().await;
        lines[0].restart().await;
        // One who comes in that moment.
        fleet.pull(4, &layer).await;
    };
    let pulls = futures_util::future::join_all((0..4).map(|daemon| fleet.pull(daemon, &layer)));
    tokio::join!(pulls, fault);
    report(&fleet, &layer);
    let sent = fleet.times_sent([&layer]);
    fleet.schedulers = lines;
    assert!(sent <= 1.10, "the origin sent it {sent:.3} times");
}

fn report(fleet: &Fleet, layer: &Blob) {
    for (number, daemon) in fleet.daemons.iter().enumerate() {
        println!("node {number}: {:?}", received(daemon, layer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_of_three_schedulers_dies_and_comes_back_nothing_is_fetched_again() {
    let mut fleet = Fleet::start(3, 4, 1, &[SMALL; 36]).await;
    fleet.pull_all(1).await;
    assert!(fleet.times_sent(&fleet.layers) <= 1.0);
    let mut lines = std::mem::take(&mut fleet.schedulers);
    tokio::join!(fleet.pull_all(2), lines[1].kill());
    fleet.schedulers = lines;
    assert!(fleet.times_sent(&fleet.layers) <= 1.0, "one has died meanwhile");
    let mut lines = std::mem::take(&mut fleet.schedulers);
    tokio::join!(fleet.pull_all(3), lines[1].restart());
    fleet.schedulers = lines;
    let sent = fleet.times_sent(&fleet.layers);
    assert!(sent <= 1.0, "one has joined meanwhile, and knew nothing: {sent:.3}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_pull_whose_peers_ask_different_schedulers_asks_the_origin_at_most_once_more() {
    let mut fleet = Fleet::start(3, 4, 0, &[8 * MIB; 3]).await;
    layers(&fleet).iter().for_each(|layer| fleet.change(layer, |content| content.rate(16 * MIB as u64)));
    let mut lines = std::mem::take(&mut fleet.schedulers);
    let layers = layers(&fleet);
    let fault = async {
        let begun = async || Ok(layers.iter().all(|layer| fleet.served_bytes(layer) > 0).then_some(()));
        until("all have begun", PATIENCE, begun).await.unwrap();
        lines[0].kill().await;
        lines[0].restart().await;
    };
    let pulls = layers.iter().flat_map(|layer| (0..4).map(|daemon| fleet.pull(daemon, layer)));
    tokio::join!(futures_util::future::join_all(pulls), fault);
    for layer in &layers {
        report(&fleet, layer);
    }
    let sent = fleet.times_sent(&layers);
    fleet.schedulers = lines;
    println!("the origin sent them {sent:.3} times");
    for layer in &layers {
        assert!(fleet.served_bytes(layer) <= 2 * layer.size_bytes(), "more than once more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_accepts_and_never_answers_is_worked_around() {
    let fleet = Fleet::start(3, 3, 1, &[SMALL; 12]).await;
    fleet.pull_all(1).await;
    fleet.schedulers[2].line.set(Faults { black_hole: true, ..Faults::default() }).await.unwrap();
    let started = Instant::now();
    for layer in &fleet.layers {
        fleet.pull(2, layer).await;
    }
    println!("{} pulls with one of three schedulers a black hole: {:?}", fleet.layers.len(), started.elapsed());
    assert!(fleet.times_sent(&fleet.layers) <= 1.0);
    let asked_origin: u64 = fleet.layers.iter().map(|layer| fleet.origin_bytes(2, layer)).sum();
    assert_eq!(asked_origin, 0);
}

/// As a pod that is started anew: the manager tells where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_comes_back_at_another_address_finds_what_peers_hold() {
    let mut cluster = Cluster::changed(RegistryAccess::Open, 4 * MIB, |options| options.peers = 4).await;
    let layer = cluster.layer().clone();
    cluster.pull(1, &layer).await;
    until_known(&cluster, 4, 5).await;
    cluster.platform.seed_stop.cancel();
    cluster.platform.scheduler_stop.cancel();
    until_gone(cluster.platform.scheduler_addr).await;
    let sent = cluster.served_bytes(&layer);
    assert_eq!(cluster.pull(2, &layer).await, layer.bytes);
    assert_eq!(cluster.served_bytes(&layer), sent, "nobody is asked but who has it");

    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    cluster.platform.scheduler_addr = cluster.platform.start_scheduler(stop).await.unwrap();
    assert_eq!(cluster.pull(3, &layer).await, layer.bytes);
    let client = cluster.platform.scheduler_client().unwrap();
    let known = async || Ok((client.list_hosts().await.is_ok_and(|hosts| hosts.len() >= 4)).then_some(()));
    until("all have heard of it", HEARD_WITHIN, known).await.unwrap();
    assert_eq!(cluster.pull(4, &layer).await, layer.bytes);
    assert_eq!(cluster.served_bytes(&layer), sent, "it knows who has it");
}

/// No manager: it is known as a seed peer by its own announcement.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_manager_a_seed_peer_fetches_for_all() {
    let fleet = Fleet::start(2, 4, 1, &[8 * MIB]).await;
    let layer = fleet.layers[0].clone();
    fleet.change(&layer, |content| content.rate(16 * MIB as u64));
    futures_util::future::join_all((1..4).map(|daemon| fleet.pull(daemon, &layer))).await;
    assert_eq!(fleet.origin_bytes(0, &layer), layer.size_bytes(), "the seed peer has been sent");
    assert_eq!(fleet.served_bytes(&layer), layer.size_bytes());
}

/// What it says is no more than silence: the first of those who know each other fetches for the others, which it does not
/// while a scheduler answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_has_no_scheduler_any_more_is_as_good_as_silent() {
    let mut fleet = Fleet::start(1, 4, 0, &[16 * MIB]).await;
    let layer = fleet.layers[0].clone();
    fleet.change(&layer, |content| content.rate(8 * MIB as u64));
    let known = async || Ok(fleet.daemons.iter().all(|daemon| daemon.peer.known_hosts().len() == 4).then_some(()));
    until("all know each other", PATIENCE, known).await.unwrap();
    let asked = fleet.schedulers[0].kill_behind_a_balancer().await;
    // An announcement a second: that nobody listened for a moment is forgotten by then.
    let counts = |daemon: &dfdaemon::Dfdaemon| {
        asked.lock().get(&format!("/v1/hosts/{}", daemon.peer.host_id())).copied().unwrap_or_default()
    };
    let heard = async || Ok(fleet.daemons.iter().all(|daemon| counts(daemon) >= 14).then_some(()));
    until("all have asked the balancer for a while", PATIENCE, heard).await.unwrap();
    let first = (0..4).max_by_key(|daemon| weight(&task_id(&layer), fleet.daemons[*daemon].peer.host_id()));
    let others = (0..4).filter(|daemon| Some(*daemon) != first);
    futures_util::future::join_all(others.map(|daemon| fleet.pull(daemon, &layer))).await;
    report(&fleet, &layer);
    assert_eq!(fleet.origin_bytes(first.unwrap(), &layer), layer.size_bytes());
    let sent = fleet.times_sent([&layer]);
    assert!(sent <= 1.10, "the origin sent it {sent:.3} times");
}
