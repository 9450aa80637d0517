//! One child before parents whose lines can be broken one by one: a scheduler, daemons that hold a layer, a fault proxy
//! in front of each, and a daemon that has nothing yet. The test announces the parents, so that the child meets the proxies.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use df_api::cluster::Place;
use df_api::dfdaemon::ReceivedBytes;
use df_api::scheduler::{HeldTask, HostReport};
use df_api::task::piece_length;
use df_client::{SchedulerClient, Transport, http_client};
use df_testkit::{Blob, FakeRegistry, FaultProxy, Image, Layer, RegistryAccess, STANDSTILL, read_whole};
use dfdaemon::Dfdaemon;
use dfdaemon::config::{Config as DaemonConfig, NetAddr};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::cluster::{REPOSITORY, task_id};

/// No step of a pull may take longer.
pub const PATIENCE: Duration = STANDSTILL;

pub struct Lab {
    pub child: Dfdaemon,
    pub parents: Vec<Parent>,
    pub registry: FakeRegistry,
    pub layer: Blob,
    pub scheduler: SchedulerClient,
    pub scheduler_stop: CancellationToken,
    stop: CancellationToken,
    _dir: TempDir,
}

pub struct Parent {
    pub line: FaultProxy,
    _daemon: Dfdaemon,
}

impl Lab {
    /// Every parent has the whole layer.
    pub async fn start(parents: usize, layer_bytes: usize) -> Self {
        Self::with(parents, layer_bytes, |_| {}).await
    }

    /// With another child.
    pub async fn with(parents: usize, layer_bytes: usize, change: impl FnOnce(&mut DaemonConfig)) -> Self {
        let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
        let image = Image::build(1, &[Layer::tar(layer_bytes)]).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let scheduler_stop = stop.child_token();
        let scheduler_addr = start_scheduler(scheduler_stop.clone()).await;
        let transport = Transport::new(&format!("http://{scheduler_addr}"), http_client()).unwrap();
        let scheduler = SchedulerClient::new(transport);
        let config = |name: &str| {
            let mut config = DaemonConfig::default();
            config.host.hostname = name.to_owned();
            config.host.advertise_ip = "127.0.0.1".to_owned();
            config.proxy.listen = "127.0.0.1:0".parse().unwrap();
            config.upload.listen = "127.0.0.1:0".parse().unwrap();
            config.local.socket = Some("".into());
            config.storage.dir = dir.path().join(name);
            config.upstream.allow = vec![registry.base_url()];
            config
        };
        let mut own = config("child");
        own.scheduler.net_addrs = vec![NetAddr { kind: "tcp".to_owned(), addr: scheduler_addr.to_string() }];
        change(&mut own);
        let child = Dfdaemon::start(own, stop.clone()).await.unwrap();
        let configs: Vec<_> = (1..=parents).map(|number| config(&format!("parent-{number}"))).collect();
        let layer = image.layers[0].clone();
        let mut lab = Self { child, parents: Vec::new(), registry, layer, scheduler, scheduler_stop, stop, _dir: dir };
        for config in configs {
            let name = config.host.hostname.clone();
            let daemon = Dfdaemon::start(config, lab.stop.clone()).await.unwrap();
            assert_eq!(lab.pull(&daemon).await.0, lab.layer.bytes);
            let line = FaultProxy::start(daemon.peer_addr).await.unwrap();
            lab.announce(&name, &line.base_url(), false).await;
            lab.parents.push(Parent { line, _daemon: daemon });
        }
        lab
    }

    /// A host that says it has all of the layer, at this address.
    pub async fn announce(&self, name: &str, url: &str, seed: bool) {
        let length = self.layer.size_bytes();
        let held =
            HeldTask { id: task_id(&self.layer), length, piece_length: piece_length(Some(length)), imported: false };
        let report = HostReport {
            seq: 1,
            place: Place { hostname: name.to_owned(), ip: "127.0.0.1".to_owned(), ..Place::default() },
            url: url.to_owned(),
            seed,
            sharing_off: false,
            storing: true,
            upload_slots: 100,
            sent_bytes_per_s: 0,
            sent_bytes_per_s_max: None,
            tasks: Some(vec![held]),
            duties_taken: Vec::new(),
            hosts_known: 0,
        };
        self.scheduler.report_host(&name.parse().unwrap(), &report, Duration::ZERO).await.unwrap();
    }

    /// The layer through the mirror of a daemon, and how long it took. Fails when it stands still.
    pub async fn pull(&self, daemon: &Dfdaemon) -> (bytes::Bytes, Duration) {
        let (mirror, ns) = (daemon.local_addr, self.registry.address());
        let url = format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={ns}", self.layer.digest);
        let started = Instant::now();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = tokio::time::timeout(PATIENCE, client.get(url).send()).await.expect("an answer").unwrap();
        assert_eq!(answer.status(), 200);
        (read_whole(answer).await.unwrap(), started.elapsed())
    }

    /// What the child has received of the layer by now.
    pub fn received(&self) -> ReceivedBytes {
        let task = self.child.peer.task(&task_id(&self.layer));
        task.map(|task| task.received()).unwrap_or_default()
    }

    /// Waits until the child has this many bytes.
    pub async fn until_received(&self, bytes: u64) {
        let has = async || {
            let received = self.received();
            Ok((received.peer_bytes + received.seed_bytes >= bytes).then_some(()))
        };
        df_testkit::until("the child has some of it", PATIENCE, has).await.unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start_scheduler(stop: CancellationToken) -> SocketAddr {
    let mut config = scheduler::Config { listen: "127.0.0.1:0".parse().unwrap(), ..scheduler::Config::default() };
    config.host_lease_ms = 120_000;
    let listener = df_http::serve::bind(config.listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(scheduler::serve(scheduler::App::new(config).unwrap(), listener, stop));
    address
}
