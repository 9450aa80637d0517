//! A manager, and whatever else a test puts beside it: schedulers and daemons of several clusters, in IPv4 or IPv6.

use std::net::{IpAddr, SocketAddr};

use df_api::manager::SignInRequest;
use df_api::scheduler::HostView;
use df_client::{ManagerClient, SchedulerClient, Transport, http_client};
use df_testkit::registry::blob_name;
use df_testkit::{Blob, FakeRegistry, Image, Layer, RegistryAccess, STANDSTILL, read_whole};
use dfdaemon::Dfdaemon;
use dfdaemon::config::{Config as DaemonConfig, NetAddr};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::cluster::REPOSITORY;
use crate::lab::PATIENCE;

pub struct Ground {
    pub root: ManagerClient,
    pub registry: FakeRegistry,
    pub image: Image,
    join_token: String,
    manager: SocketAddr,
    ip: IpAddr,
    stop: CancellationToken,
    dir: TempDir,
}

pub struct Scheduler {
    pub url: String,
    pub stop: CancellationToken,
}

// === impl Ground ===

impl Ground {
    pub async fn start(ip: IpAddr) -> Self {
        let registry = FakeRegistry::start_at(SocketAddr::new(ip, 0), RegistryAccess::Open).await.unwrap();
        let image = Image::build(1, &[Layer::tar(3_000_000)]).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let data_dir = dir.path().join("manager");
        let config = manager::Config { data_dir, ..manager::Config::default() };
        let app = manager::App::open(&config).await.unwrap();
        let join_token = app.mint_join_token("ground", None).await.unwrap();
        let listener = df_http::serve::bind(SocketAddr::new(ip, 0)).await.unwrap();
        let manager = listener.local_addr().unwrap();
        tokio::spawn(manager::serve(app, listener, stop.clone()));
        let transport = Transport::new(&format!("http://{manager}"), http_client()).unwrap();
        let sign_in = SignInRequest { name: "root".to_owned(), password: "dragonfly".to_owned() };
        let token = ManagerClient::new(transport.clone()).sign_in(&sign_in).await.unwrap().token;
        let root = ManagerClient::new(transport.with_bearer(Some(token)));
        Self { root, registry, image, join_token, manager, ip, stop, dir }
    }

    /// It finds out itself where others reach it.
    pub async fn scheduler(&self, cluster_id: i64) -> Scheduler {
        let mut config = scheduler::Config { listen: "0.0.0.0:0".parse().unwrap(), ..scheduler::Config::default() };
        config.host.hostname = Some(format!("scheduler-{cluster_id}"));
        config.manager.addr = Some(self.manager.to_string());
        config.manager.scheduler_cluster_id = cluster_id;
        config.manager.join_token = Some(self.join_token.clone());
        let config = config.with_own_address().await;
        let listener = df_http::serve::bind(config.listen).await.unwrap();
        let url = config.url(listener.local_addr().unwrap());
        let stop = self.stop.child_token();
        tokio::spawn(scheduler::serve(scheduler::App::new(config).unwrap(), listener, stop.clone()));
        Scheduler { url, stop }
    }

    /// As the scheduler does. Ends with its token.
    pub async fn daemon(
        &self,
        name: &str,
        stop: &CancellationToken,
        change: impl FnOnce(&mut DaemonConfig),
    ) -> Dfdaemon {
        let mut config = DaemonConfig::default();
        config.host.hostname = name.to_owned();
        config.scheduler.manager.net_addrs = vec![NetAddr { kind: "tcp".to_owned(), addr: self.manager.to_string() }];
        config.scheduler.manager.join_token = Some(self.join_token.clone());
        config.proxy.listen = SocketAddr::new(self.ip, 0);
        config.upload.listen = "0.0.0.0:0".parse().unwrap();
        config.local.socket = Some("".into());
        config.storage.dir = self.dir.path().join(name);
        config.upstream.allow = vec![self.registry.base_url()];
        change(&mut config);
        Dfdaemon::start(config, stop.clone()).await.unwrap()
    }

    /// All that run until the end.
    pub fn stop(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// The registry sends no more of the layer, until [`Ground::release`].
    pub fn hold_at(&self, offset: u64) {
        let name = blob_name(REPOSITORY, &self.layer().digest);
        self.registry.origin().change(&name, |content| content.hold_at(offset));
    }

    pub fn release(&self) {
        self.registry.origin().release(&blob_name(REPOSITORY, &self.layer().digest));
    }

    pub fn layer(&self) -> &Blob {
        &self.image.layers[0]
    }

    pub async fn pull(&self, daemon: &Dfdaemon) {
        let (mirror, ns) = (daemon.local_addr, self.registry.address());
        let url = format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={ns}", self.layer().digest);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = tokio::time::timeout(STANDSTILL, client.get(url).send()).await.expect("an answer").unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(read_whole(answer).await.unwrap(), self.layer().bytes);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Scheduler ===

impl Scheduler {
    /// With the credential of that daemon.
    pub fn client(&self, member: &Dfdaemon) -> SchedulerClient {
        let transport = Transport::new(&self.url, http_client()).unwrap();
        SchedulerClient::new(transport.with_bearer(member.peer.gate().credential()))
    }

    /// None when it is refused.
    async fn hosts(&self, member: &Dfdaemon) -> Vec<HostView> {
        self.client(member).list_hosts().await.unwrap_or_default()
    }

    /// Waits until those that are announced here, in the eyes of `member`, are these.
    pub async fn until_hosts(&self, member: &Dfdaemon, names: &[&str]) {
        df_testkit::until(&format!("{names:?} are known to {}", self.url), PATIENCE, async || {
            let hosts = self.hosts(member).await;
            let mut known: Vec<_> = hosts.iter().map(|host| host.place.hostname.as_str()).collect();
            known.sort_unstable();
            Ok((known == names).then_some(()))
        })
        .await
        .unwrap();
    }
}

/// Waits until a daemon is a member of that cluster.
pub async fn until_member(daemon: &Dfdaemon, cluster_id: i64) {
    df_testkit::until(&format!("it is a member of cluster {cluster_id}"), PATIENCE, async || {
        let own = daemon.peer.gate().membership();
        Ok(own.is_some_and(|own| own.cluster_id == cluster_id).then_some(()))
    })
    .await
    .unwrap();
}
