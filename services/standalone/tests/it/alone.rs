//! No manager and no scheduler any more: daemons find each other by what they knew, and ask the origin once.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use df_api::HostId;
use df_api::cluster::Place;
use df_api::scheduler::HostReport;
use df_client::{SchedulerClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Blob, until};
use dfdaemon::Dfdaemon;
use dfdaemon::config::{Config as DaemonConfig, NetAddr};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, received};

const MIB: usize = 1024 * 1024;
const PEERS: usize = 6;
/// Two reports of a host fit into it.
const BOUND: Duration = Duration::from_secs(60);

async fn cluster(layer_bytes: usize) -> Cluster {
    Cluster::changed(RegistryAccess::AnonymousToken, layer_bytes, |options| options.peers = PEERS).await
}

/// What a daemon would know after a restart, by its file.
fn hosts_kept(cluster: &Cluster, name: &str) -> usize {
    let bytes = std::fs::read(cluster.dir().join(name).join("cluster.json")).unwrap_or_default();
    let memory: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    memory["hosts"]["hosts"].as_array().map_or(0, Vec::len)
}

/// Every daemon has heard of so many hosts, itself among them.
pub async fn until_known(cluster: &Cluster, peers: usize, hosts: usize) {
    for number in 1..=peers {
        let name = format!("peer-{number}");
        let known = async || Ok((hosts_kept(cluster, &name) >= hosts).then_some(()));
        until(&format!("{name} knows {hosts} hosts"), BOUND, known).await.unwrap();
    }
}

pub async fn until_gone(address: SocketAddr) {
    let refused = async || Ok(TcpStream::connect(address).await.is_err().then_some(()));
    until(&format!("{address} is gone"), BOUND, refused).await.unwrap();
}

async fn stop_control_plane(cluster: &Cluster) {
    cluster.platform.scheduler_stop.cancel();
    cluster.platform.manager_stop.cancel();
    until_gone(cluster.platform.scheduler_addr).await;
    until_gone(cluster.platform.manager_addr).await;
}

async fn stop_seed(cluster: &Cluster) {
    cluster.platform.seed_stop.cancel();
    until_gone(cluster.platform.seed.peer_addr).await;
}

/// All of these at once.
async fn pull_all(cluster: &Cluster, peers: impl IntoIterator<Item = usize>, layer: &Blob) {
    let pulls = peers.into_iter().map(async |peer| assert!(cluster.pull(peer, layer).await == layer.bytes, "{peer}"));
    futures_util::future::join_all(pulls).await;
}

fn report_sources(cluster: &Cluster, layer: &Blob) {
    for peer in 1..=PEERS {
        println!("peer {peer}: {:?}", received(cluster.peer(peer), layer));
    }
}

/// At most a tenth more than its size has left the registry.
fn assert_asked_once(cluster: &Cluster, layer: &Blob) {
    report_sources(cluster, layer);
    let sent = cluster.served_bytes(layer) as f64 / layer.size_bytes() as f64;
    println!("the origin sent it {sent:.3} times");
    assert!(sent <= 1.10, "the origin sent it {sent:.3} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_holds_is_pulled_by_all_others_without_the_origin() {
    let cluster = cluster(16 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.pull(1, &layer).await;
    until_known(&cluster, PEERS, PEERS + 1).await;
    for peer in &cluster.platform.peers {
        let known = peer.peer.known_hosts();
        assert_eq!(known.len(), PEERS + 1, "whom manager and scheduler tell of is one host: {known:?}");
    }
    stop_control_plane(&cluster).await;
    stop_seed(&cluster).await;
    let sent = cluster.served_bytes(&layer);
    pull_all(&cluster, 2..=PEERS, &layer).await;
    report_sources(&cluster, &layer);
    assert_eq!(cluster.served_bytes(&layer), sent, "node 1 has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_blob_is_fetched_once_by_the_seed() {
    let cluster = cluster(24 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(16 * MIB as u64));
    until_known(&cluster, PEERS, PEERS + 1).await;
    stop_control_plane(&cluster).await;
    pull_all(&cluster, 1..=PEERS, &layer).await;
    assert_asked_once(&cluster, &layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_blob_is_fetched_once_although_some_known_hosts_are_dead_or_silent() {
    let cluster = cluster(24 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(16 * MIB as u64));
    // Its kernel accepts; nobody answers. As a seed peer, it is the first for every task.
    let black_hole = TcpListener::bind("127.0.0.1:0").unwrap();
    announce_seed(&cluster, black_hole.local_addr().unwrap()).await;
    until_known(&cluster, PEERS, PEERS + 2).await;
    stop_control_plane(&cluster).await;
    stop_seed(&cluster).await;
    pull_all(&cluster, 1..=PEERS, &layer).await;
    assert_asked_once(&cluster, &layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_one_at_the_origin_dies_another_goes_on() {
    let cluster = cluster(24 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(8 * MIB as u64));
    until_known(&cluster, PEERS, PEERS + 1).await;
    stop_control_plane(&cluster).await;
    let fault = async {
        let half = async || Ok((cluster.served_bytes(&layer) >= layer.size_bytes() / 2).then_some(()));
        until("the seed has half of it", BOUND, half).await.unwrap();
        cluster.platform.seed_stop.cancel();
    };
    tokio::join!(pull_all(&cluster, 1..=PEERS, &layer), fault);
    report_sources(&cluster, &layer);
    // In this process the download of the seed goes on, so only the others' bytes count.
    let asked: u64 = (1..=PEERS).map(|peer| received(cluster.peer(peer), &layer).origin_bytes).sum();
    assert!(asked as f64 <= 0.75 * layer.size_bytes() as f64, "only the rest is fetched: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_in_the_outage_still_belongs() {
    let mut cluster = cluster(16 * MIB).await;
    let [held, cold] = [cluster.image.layers[0].clone(), cluster.image.layers[1].clone()];
    cluster.pull(1, &held).await;
    until_known(&cluster, PEERS, PEERS + 1).await;
    let ended = cluster.platform.peers.pop().unwrap();
    let config = config_again(&cluster, &ended, PEERS);
    cluster.platform.peer_stops[PEERS - 1].cancel();
    ended.stopped().await;
    stop_control_plane(&cluster).await;
    stop_seed(&cluster).await;

    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    cluster.platform.peers.push(Dfdaemon::start(config, stop).await.unwrap());
    let sent = cluster.served_bytes(&held);
    assert_eq!(cluster.pull(PEERS, &held).await, held.bytes);
    assert_eq!(cluster.served_bytes(&held), sent, "node 1 has it, and gives it");
    // Others read from it, too: what it has alone.
    assert_eq!(cluster.pull(PEERS, &cold).await, cold.bytes);
    pull_all(&cluster, 2..PEERS, &cold).await;
    assert_eq!(cluster.served_bytes(&cold), cold.size_bytes());
}

/// Of a peer of the cluster, as it was.
fn config_again(cluster: &Cluster, daemon: &Dfdaemon, number: usize) -> DaemonConfig {
    let mut config = DaemonConfig::default();
    config.host.hostname = format!("peer-{number}");
    config.host.advertise_ip = "127.0.0.1".to_owned();
    let manager = cluster.platform.manager_addr.to_string();
    config.scheduler.manager.net_addrs = vec![NetAddr { kind: "tcp".to_owned(), addr: manager }];
    config.proxy.listen = "127.0.0.1:0".parse().unwrap();
    config.upload.listen = daemon.peer_addr;
    config.local.socket = Some("".into());
    config.storage.dir = cluster.dir().join(format!("peer-{number}"));
    config.upstream.allow = vec![cluster.registry.base_url()];
    config
}

/// With the credential of the seed peer, which is good for any address of that name.
async fn announce_seed(cluster: &Cluster, address: SocketAddr) {
    let transport = Transport::new(&format!("http://{}", cluster.platform.scheduler_addr), http_client()).unwrap();
    let scheduler = SchedulerClient::new(transport.with_bearer(cluster.platform.seed.peer.gate().credential()));
    let report = HostReport {
        seq: 1,
        place: Place { hostname: "seed-peer".to_owned(), ip: "127.0.0.1".to_owned(), ..Place::default() },
        url: format!("http://{address}"),
        seed: true,
        sharing_off: false,
        storing: true,
        upload_slots: 100,
        sent_bytes_per_s: 0,
        sent_bytes_per_s_max: None,
        tasks: Some(Vec::new()),
        duties_taken: Vec::new(),
        hosts_known: 0,
    };
    scheduler.report_host(&HostId::of("seed-peer", address).unwrap(), &report, Duration::ZERO).await.unwrap();
}
