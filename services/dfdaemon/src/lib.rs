//! A node: the registry mirror for its container runtime, a forward proxy, pieces for other peers. The same program is
//! the seed peer.
//!
//! **Invariants.** Two listeners: one for this node's programs (loopback), one for peers (with a cluster credential).
//! Handlers are thin: what to fetch, from whom, and when to give up is `df-peer`'s.

mod about;
mod api;
pub mod config;
mod descriptor;
mod hop_by_hop;
mod jobs;
mod link;
mod mirror;
pub mod namespace;
pub mod oci;
mod prefetch;
pub mod proxy;
mod routes;
mod rules;
mod state;
mod task_headers;
mod wishes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use df_api::HostId;
use df_api::cluster::Place;
use df_http::own_address::{listen_for, own_address};
use df_http::serve;
use df_http::worker::Workers;
use df_peer::announce::{self, ManagerAccess};
use df_peer::{Peer, PeerConfig, Uploads, housekeeping};
use df_store::Trust;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use routes::openapi;

use crate::api::signed::Signed;
use crate::jobs::Jobs;
use crate::mirror::Mirror;
use crate::prefetch::Prefetch;
use crate::proxy::Proxy;
use crate::rules::Rules;
use crate::state::AppState;

/// A daemon that is listening.
pub struct Dfdaemon {
    pub peer: Arc<Peer>,
    /// Mirror and tasks, for programs of this node.
    pub local_addr: SocketAddr,
    /// Pieces, for other peers.
    pub peer_addr: SocketAddr,
    servers: TaskTracker,
    workers: Workers,
}

// === impl Dfdaemon ===

impl Dfdaemon {
    /// Listens, and returns at once: neither manager nor scheduler is waited for. Stops with `stop`.
    pub async fn start(config: Config, stop: CancellationToken) -> anyhow::Result<Self> {
        let local = serve::bind(config.proxy.listen).await?;
        let ip = advertised_ip(&config).await?;
        let peers = serve::bind(listen_for(ip, config.upload.listen)).await?;
        let socket = config.local.listen()?;
        let (local_addr, peer_addr) = (local.local_addr()?, peers.local_addr()?);
        let peer = Peer::open(peer_config(&config, SocketAddr::new(ip, peer_addr.port()))?)?;
        let first_byte_timeout = Duration::from_millis(config.proxy.first_byte_timeout_ms);
        let dir = &config.storage.dir;
        let servers = TaskTracker::new();
        let rules = Rules::new(&config.proxy.rules)?;
        let prefetch = Prefetch::new(peer.clone(), &config.proxy, servers.clone(), stop.clone());
        let jobs = Jobs::new(peer.clone(), rules.clone(), manager_access(&config), first_byte_timeout);
        let mirror = Mirror::open(&config.proxy, dir, rules, peer.clone(), prefetch);
        let mirror = mirror.with_context(|| format!("storage.dir {}", dir.display()))?;
        let signed = Signed::new(Duration::from_millis(config.proxy.access_ttl_ms), first_byte_timeout);
        let state = |trust| {
            let (peer, mirror, signed) = (peer.clone(), mirror.clone(), signed.clone());
            AppState { peer, mirror, signed, trust, first_byte_timeout, uploads: None }
        };
        let uploads = Uploads::new(&config.upload.limits(), peer.sent().clone());
        let (for_programs, for_peers) = (config.proxy.listener_limits(), config.upload.listener_limits()?);
        let proxy = Proxy::new(mirror.clone(), &config, servers.clone(), stop.clone())?;
        let local_router = proxy::before(routes::local_router(state(Trust::HoldLast)), proxy);
        let peer_router = routes::peer_router(state(Trust::Landed), uploads);
        if let Some(socket) = socket {
            servers.spawn(serve::serve_within(for_programs.clone(), socket, local_router.clone(), stop.clone()));
        }
        servers.spawn(serve::serve_within(for_programs, local, local_router, stop.clone()));
        servers.spawn(serve::serve_within(for_peers, peers, peer_router, stop.clone()));
        let workers = Workers::new(stop.clone());
        housekeeping::start(&peer, Duration::from_millis(config.gc.interval_ms), &workers);
        jobs.start(&servers, stop.clone());
        announce::start(&peer, manager_access(&config), &workers, &stop);
        tracing::info!(host = %peer.host_id(), mirror = %local_addr, peers = peer.config().url, "dfdaemon is ready");
        Ok(Self { peer, local_addr, peer_addr, servers, workers })
    }

    /// Resolves when everything has ended after `stop`.
    pub async fn stopped(self) {
        self.servers.close();
        self.servers.wait().await;
        self.workers.stopped().await;
        self.peer.close().await;
    }
}

fn manager_access(config: &Config) -> Option<ManagerAccess> {
    Some(ManagerAccess {
        url: config.manager_url()?,
        join_token: config.scheduler.manager.join_token.clone(),
        scheduler_cluster_id: config.host.scheduler_cluster_id,
    })
}

/// `at` is where others reach it.
fn peer_config(config: &Config, at: SocketAddr) -> anyhow::Result<PeerConfig> {
    let hostname = match config.host.hostname.as_str() {
        "" => system_hostname(),
        name => name.to_owned(),
    };
    let host_id =
        HostId::of(&hostname, at).with_context(|| format!("host.hostname {hostname:?} cannot be part of a host id"))?;
    Ok(PeerConfig {
        host_id,
        place: Place {
            hostname,
            ip: at.ip().to_string(),
            idc: config.host.idc.clone(),
            location: config.host.location.clone(),
        },
        url: format!("{}://{at}", if config.upload.tls.is_some() { "https" } else { "http" }),
        seed_peer_cluster_id: config.seed_peer_cluster_id(),
        sharing_off: config.upload.disable_shared,
        upload_slots: config.upload.load_limit,
        sent_bytes_per_s_max: config.upload.sent_bytes_per_s_max(),
        storage_dir: config.storage.dir.clone(),
        storage_policy: config.storage_policy()?,
        upstream: config.upstream.clone(),
        download: config.download.clone(),
        manager_url: config.manager_url(),
        scheduler_cluster_id: config.host.scheduler_cluster_id,
        schedulers: config.scheduler.net_addrs.iter().map(config::NetAddr::url).collect(),
        join_open: config.join_open(),
        peer_tls: config.peer_tls.clone(),
        about: Some(about::about(at.port())),
    })
}

fn system_hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// As configured; else the address of the peers' listener; else the one that packets to manager or scheduler leave from.
async fn advertised_ip(config: &Config) -> anyhow::Result<IpAddr> {
    let configured = config.host.advertise_ip.as_str();
    if !configured.is_empty() {
        return configured.parse().with_context(|| format!("host.advertiseIP {configured:?} is not an IP address"));
    }
    let listening = config.upload.listen.ip();
    if !listening.is_unspecified() {
        return Ok(listening);
    }
    let schedulers = config.scheduler.net_addrs.iter().map(config::NetAddr::url);
    Ok(own_address(config.manager_url().into_iter().chain(schedulers)).await.unwrap_or_else(|| {
        tracing::warn!("this node has no way out, so that others cannot reach it: set host.advertiseIP");
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }))
}
