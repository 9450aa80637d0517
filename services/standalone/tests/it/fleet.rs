//! Daemons with a list of schedulers and no manager. Each scheduler is behind a line that can be broken, and can be killed
//! and started again, knowing nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Blob, Content, FakeRegistry, FaultProxy, Faults, Image, Layer, STANDSTILL, read_whole, until};
use dfdaemon::Dfdaemon;
use dfdaemon::config::{Config as DaemonConfig, NetAddr};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{REPOSITORY, received};

pub struct Fleet {
    pub daemons: Vec<Dfdaemon>,
    pub schedulers: Vec<Line>,
    pub registry: FakeRegistry,
    pub layers: Vec<Blob>,
    http: reqwest::Client,
    stop: CancellationToken,
    _dir: TempDir,
}

/// A scheduler, and the way to it.
pub struct Line {
    pub line: FaultProxy,
    config: scheduler::Config,
    address: SocketAddr,
    running: Option<(CancellationToken, JoinHandle<std::io::Result<()>>)>,
}

impl Fleet {
    /// The first `seeds` of the daemons are seed peers. Returns when all schedulers know all of them.
    pub async fn start(schedulers: usize, daemons: usize, seeds: usize, layers: &[usize]) -> Self {
        let mut lines = Vec::new();
        for _ in 0..schedulers {
            lines.push(Line::start(scheduler::Config::default()).await);
        }
        let addresses: Vec<_> = lines.iter().map(|line| line.line.address()).collect();
        Self::with_schedulers(lines, &addresses, [daemons, seeds], layers).await
    }

    /// `addresses`: what daemons know of these schedulers.
    pub async fn with_schedulers(
        lines: Vec<Line>,
        addresses: &[SocketAddr],
        [daemons, seeds]: [usize; 2],
        layers: &[usize],
    ) -> Self {
        let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
        let layers: Vec<_> = layers.iter().map(|bytes| Layer::tar(*bytes)).collect();
        let image = Image::build(1, &layers).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let layers = image.layers.clone();
        let daemons_wanted = daemons;
        let mut fleet = Self { daemons: Vec::new(), schedulers: lines, registry, layers, http, stop, _dir: dir };
        for number in 0..daemons_wanted {
            let config = fleet.config(addresses, &format!("node-{number}"), number < seeds);
            fleet.daemons.push(Dfdaemon::start(config, fleet.stop.clone()).await.unwrap());
        }
        fleet.until_known().await;
        fleet
    }

    fn config(&self, schedulers: &[SocketAddr], name: &str, seed: bool) -> DaemonConfig {
        let mut config = DaemonConfig::default();
        config.host.hostname = name.to_owned();
        config.host.advertise_ip = "127.0.0.1".to_owned();
        let address = |address: &SocketAddr| NetAddr { kind: "tcp".to_owned(), addr: address.to_string() };
        config.scheduler.net_addrs = schedulers.iter().map(address).collect();
        config.scheduler.manager.seed_peer.enable = seed;
        config.proxy.listen = "127.0.0.1:0".parse().unwrap();
        config.upload.listen = "127.0.0.1:0".parse().unwrap();
        config.local.socket = Some("".into());
        config.storage.dir = self._dir.path().join(name);
        config.upstream.allow = vec![self.registry.base_url()];
        config
    }

    /// All schedulers that can be reached know all daemons.
    pub async fn until_known(&self) {
        for line in &self.schedulers {
            let known = async || {
                let url = format!("http://{}/v1/hosts", line.address);
                let hosts: Vec<serde_json::Value> = self.http.get(url).send().await?.json().await?;
                Ok((hosts.len() == self.daemons.len()).then_some(()))
            };
            if line.running.is_some() {
                until("a scheduler knows all daemons", STANDSTILL, known).await.unwrap();
            }
        }
    }

    /// Until this scheduler has been told that somebody has all of the layer.
    pub async fn until_held(&self, layer: &Blob) {
        for line in &self.schedulers {
            let url = format!("http://{}/v1/tasks/{}", line.address, layer.digest.trim_start_matches("sha256:"));
            let held = async || {
                let task: serde_json::Value = self.http.get(&url).send().await?.json().await?;
                let whole = |peer: &serde_json::Value| peer["state"] == "complete";
                Ok(task["peers"].as_array().is_some_and(|peers| peers.iter().any(whole)).then_some(()))
            };
            if line.running.is_some() {
                until("a scheduler knows who has a layer", STANDSTILL, held).await.unwrap();
            }
        }
    }

    pub async fn pull(&self, daemon: usize, layer: &Blob) {
        let (mirror, ns) = (self.daemons[daemon].local_addr, self.registry.address());
        let url = format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={ns}", layer.digest);
        let answer = tokio::time::timeout(STANDSTILL, self.http.get(url).send()).await.expect("an answer").unwrap();
        let body = read_whole(answer.error_for_status().unwrap()).await.unwrap();
        assert!(body == layer.bytes, "wrong bytes");
    }

    /// All layers, a few at once.
    pub async fn pull_all(&self, daemon: usize) {
        for some in self.layers.chunks(6) {
            futures_util::future::join_all(some.iter().map(|layer| self.pull(daemon, layer))).await;
        }
    }

    pub fn change(&self, layer: &Blob, change: impl FnOnce(Content) -> Content) {
        self.registry.origin().change(&blob_name(REPOSITORY, &layer.digest), change);
    }

    /// Body bytes that have left the registry.
    pub fn served_bytes(&self, layer: &Blob) -> u64 {
        self.registry.blob_stats(REPOSITORY, &layer.digest).bytes
    }

    /// How often the registry has sent each byte of these layers.
    pub fn times_sent<'a>(&self, layers: impl IntoIterator<Item = &'a Blob>) -> f64 {
        let (mut sent, mut size) = (0, 0);
        for layer in layers {
            sent += self.served_bytes(layer);
            size += layer.size_bytes();
        }
        sent as f64 / size as f64
    }

    /// Of one daemon, of one layer, of the origin.
    pub fn origin_bytes(&self, daemon: usize, layer: &Blob) -> u64 {
        received(&self.daemons[daemon], layer).origin_bytes
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
        self.schedulers.iter().filter_map(|line| line.running.as_ref()).for_each(|(stop, _)| stop.cancel());
    }
}

// === impl Line ===

impl Line {
    pub async fn start(config: scheduler::Config) -> Self {
        let listener = df_http::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = FaultProxy::start(address).await.unwrap();
        let mut started = Self { line, config, address, running: None };
        started.run(listener);
        started
    }

    fn run(&mut self, listener: tokio::net::TcpListener) {
        let app = scheduler::App::new(self.config.clone()).unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(scheduler::serve(app, listener, stop.clone()));
        self.running = Some((stop, serving));
    }

    /// From one moment to the next; it says nothing any more.
    pub async fn kill(&mut self) {
        self.line.set(Faults { refuse: true, ..Faults::default() }).await.unwrap();
        self.line.sever(df_testkit::Cut::Reset);
        let (stop, serving) = self.running.take().unwrap();
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    /// As [`Line::kill`]; a balancer that is still there says to everybody that it has nobody.
    /// Returns how often it has said so, by path.
    pub async fn kill_behind_a_balancer(&mut self) -> Arc<Mutex<HashMap<String, u32>>> {
        self.kill().await;
        let bound = async || Ok(df_http::serve::bind(self.address).await.ok());
        let listener = until("its port is free again", STANDSTILL, bound).await.unwrap();
        let asked = Arc::<Mutex<HashMap<String, u32>>>::default();
        let count = asked.clone();
        let nobody = axum::Router::new().fallback(async move |uri: Uri| {
            *count.lock().entry(uri.path().to_owned()).or_default() += 1;
            (StatusCode::SERVICE_UNAVAILABLE, "there is nobody")
        });
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, nobody).with_graceful_shutdown(stop.clone().cancelled_owned());
        self.running = Some((stop, tokio::spawn(async move { serving.await })));
        self.line.set(Faults::default()).await.unwrap();
        asked
    }

    /// At the same address, with nothing in its memory.
    pub async fn restart(&mut self) {
        let bound = async || Ok(df_http::serve::bind(self.address).await.ok());
        let listener = until("its port is free again", STANDSTILL, bound).await.unwrap();
        self.run(listener);
        self.line.set(Faults::default()).await.unwrap();
    }
}
