//! The composition root: a whole platform in one process, wired by itself. The demo and the test cluster.
//!
//! **Invariant.** Nothing is shared but the process: the parts talk over HTTP on real ports, with join token and
//! credentials, as they would on many machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use df_api::cluster::Place;
use df_api::manager::{DiscoveryRequest, DiscoveryResponse};
use df_client::{ManagerClient, SchedulerClient, Transport, http_client};
use df_testkit::until;
use dfdaemon::Dfdaemon;
use dfdaemon::config::{Config as DaemonConfig, NetAddr, PeerTlsConfig, TlsConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Databases and contents.
    pub dir: PathBuf,
    pub manager_listen: SocketAddr,
    /// Besides the seed peer.
    pub peers: usize,
    /// Mirror address of the first peer; the others take any port.
    pub first_mirror: SocketAddr,
    /// Upstreams that are not public: see `upstream.allow` of dfdaemon.
    pub allow: Vec<String>,
    /// Between peers; plain without.
    pub tls: Option<(TlsConfig, PeerTlsConfig)>,
    /// What else is another way than usual with every dfdaemon.
    pub change: fn(&mut DaemonConfig),
}

/// A running platform. Ends with its token.
pub struct Standalone {
    pub manager_addr: SocketAddr,
    pub scheduler_addr: SocketAddr,
    pub seed: Dfdaemon,
    pub peers: Vec<Dfdaemon>,
    /// Ends the seed peer alone.
    pub seed_stop: CancellationToken,
    /// Each ends one peer alone.
    pub peer_stops: Vec<CancellationToken>,
    /// Ends the scheduler alone.
    pub scheduler_stop: CancellationToken,
    /// Ends the manager alone.
    pub manager_stop: CancellationToken,
    servers: TaskTracker,
    join_token: String,
}

const START_BOUND: Duration = Duration::from_secs(20);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

// === impl Options ===

impl Options {
    /// On loopback, any ports, two peers.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            manager_listen: ANY_PORT,
            peers: 2,
            first_mirror: ANY_PORT,
            allow: Vec::new(),
            tls: None,
            change: |_| {},
        }
    }
}

// === impl Standalone ===

impl Standalone {
    /// Returns when every part knows the others.
    pub async fn start(options: Options, stop: CancellationToken) -> anyhow::Result<Self> {
        let servers = TaskTracker::new();
        let manager_stop = stop.child_token();
        let (manager_addr, join_token) = start_manager(&options, &servers, manager_stop.clone()).await?;
        let scheduler_stop = stop.child_token();
        let scheduler_addr = start_scheduler(manager_addr, &join_token, &servers, scheduler_stop.clone()).await?;
        wait_for(manager_addr, &join_token, "scheduler", |found| !found.schedulers.is_empty()).await?;
        let daemon = |name: String, seed: bool, mirror: SocketAddr, stop: CancellationToken| {
            let config = daemon_config(&options, &name, seed, mirror, (manager_addr, &join_token));
            Dfdaemon::start(config, stop)
        };
        let seed_stop = stop.child_token();
        let seed = daemon("seed-peer".to_owned(), true, ANY_PORT, seed_stop.clone()).await?;
        wait_for(manager_addr, &join_token, "seed peer", |found| !found.seed_peers.is_empty()).await?;
        let peer_stops: Vec<_> = (0..options.peers).map(|_| stop.child_token()).collect();
        let mut peers = Vec::new();
        for (number, stop) in (1..).zip(&peer_stops) {
            let mirror = if number == 1 { options.first_mirror } else { ANY_PORT };
            peers.push(daemon(format!("peer-{number}"), false, mirror, stop.clone()).await?);
        }
        let platform = Self {
            manager_addr,
            scheduler_addr,
            seed,
            peers,
            seed_stop,
            peer_stops,
            scheduler_stop,
            manager_stop,
            servers,
            join_token,
        };
        platform.wait_for_hosts().await?;
        Ok(platform)
    }

    /// Another scheduler of the cluster, at a port of its own.
    pub async fn start_scheduler(&self, stop: CancellationToken) -> anyhow::Result<SocketAddr> {
        start_scheduler(self.manager_addr, &self.join_token, &self.servers, stop).await
    }

    /// With a credential of the cluster.
    pub fn scheduler_client(&self) -> anyhow::Result<SchedulerClient> {
        let transport = Transport::new(&format!("http://{}", self.scheduler_addr), http_client())?;
        Ok(SchedulerClient::new(transport.with_bearer(self.seed.peer.gate().credential())))
    }

    async fn wait_for_hosts(&self) -> anyhow::Result<()> {
        let hosts = 1 + self.peers.len();
        until("every daemon is known to the scheduler", START_BOUND, async || {
            let known = self.scheduler_client()?.list_hosts().await.unwrap_or_default();
            Ok((known.len() == hosts).then_some(()))
        })
        .await
    }

    /// Resolves when everything has ended after the token was cancelled.
    pub async fn stopped(self) {
        self.servers.close();
        self.servers.wait().await;
        self.seed.stopped().await;
        for peer in self.peers {
            peer.stopped().await;
        }
    }
}

async fn start_manager(
    options: &Options,
    servers: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<(SocketAddr, String)> {
    let config = manager::Config {
        listen: options.manager_listen,
        data_dir: options.dir.join("manager"),
        ..manager::Config::default()
    };
    let app = manager::App::open(&config).await?;
    let join_token = app.mint_join_token("standalone", None).await?;
    let listener = df_http::serve::bind(config.listen).await?;
    let address = listener.local_addr()?;
    servers.spawn(manager::serve(app, listener, stop));
    // Listening on all addresses, it is reached on loopback.
    Ok((SocketAddr::new(ANY_PORT.ip(), address.port()), join_token))
}

async fn start_scheduler(
    manager: SocketAddr,
    join_token: &str,
    servers: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let mut config = scheduler::Config { listen: ANY_PORT, ..scheduler::Config::default() };
    config.host.hostname = Some("scheduler-1".to_owned());
    config.host.advertise_ip = Some(ANY_PORT.ip());
    config.manager.addr = Some(manager.to_string());
    config.manager.join_token = Some(join_token.to_owned());
    let listener = df_http::serve::bind(config.listen).await?;
    let address = listener.local_addr()?;
    servers.spawn(scheduler::serve(scheduler::App::new(config)?, listener, stop));
    Ok(address)
}

/// Daemons that start before their scheduler and seed peer are known would find them at their next discovery only; a demo
/// need not wait for that.
async fn wait_for(
    manager: SocketAddr,
    join_token: &str,
    what: &str,
    is_there: fn(&DiscoveryResponse) -> bool,
) -> anyhow::Result<()> {
    let transport = Transport::new(&format!("http://{manager}"), http_client())?;
    let client = ManagerClient::new(transport.with_bearer(Some(join_token.to_owned())));
    let ip = manager.ip().to_string();
    let place = Place { hostname: "standalone".to_owned(), ip, ..Place::default() };
    let request = DiscoveryRequest { place, ..DiscoveryRequest::default() };
    until(&format!("the {what} is known to the manager"), START_BOUND, async || {
        Ok(client.discover_cluster(&request, None, Duration::ZERO).await?.filter(is_there).map(drop))
    })
    .await
}

fn daemon_config(
    options: &Options,
    name: &str,
    seed: bool,
    mirror: SocketAddr,
    (manager, join_token): (SocketAddr, &str),
) -> DaemonConfig {
    let mut config = DaemonConfig::default();
    config.host.hostname = name.to_owned();
    config.host.advertise_ip = ANY_PORT.ip().to_string();
    config.scheduler.manager.net_addrs = vec![NetAddr { kind: "tcp".to_owned(), addr: manager.to_string() }];
    config.scheduler.manager.join_token = Some(join_token.to_owned());
    config.scheduler.manager.seed_peer.enable = seed;
    config.proxy.listen = mirror;
    config.upload.listen = ANY_PORT;
    config.local.socket = Some("".into());
    config.storage.dir = options.dir.join(name);
    config.upstream.allow = options.allow.clone();
    if let Some((own, others)) = options.tls.clone() {
        (config.upload.tls, config.peer_tls) = (Some(own), others);
    }
    (options.change)(&mut config);
    config
}
