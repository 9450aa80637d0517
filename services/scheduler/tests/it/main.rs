//! The scheduler as its peers meet it: over HTTP, on a port of its own, through the client they use.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy takes only functions marked #[test] for tests"
)]

mod access;
mod bad_input;
mod batch;
mod document;
mod fake_manager;
mod jobs;
mod one_url;
mod order;
mod ruled;
mod sync;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use df_api::scheduler::{Duty, HeldTask, HostReport, PeerDecision, PeerReport, PeerState, Work};
use df_api::task::{Origin, TaskSpec};
use df_api::{HostId, PeerId, TaskId};
use df_client::{SchedulerClient, Transport, http_client};
use scheduler::{App, Config};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes, and below the time for which polls are held.
const SOON: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(20);

/// A scheduler that runs; it stops when dropped.
struct Running {
    url: String,
    client: SchedulerClient,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.host.advertise_ip = Some([127, 0, 0, 1].into());
        config.learning_ms = 0;
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let app = App::new(config).unwrap();
        let served = tokio::spawn(scheduler::serve(app, listener, stop.clone()));
        Self { client: client(&url, None), url, stop, served }
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, &mut self.served).await.unwrap().unwrap().unwrap();
    }

    async fn announce(&self, name: &str) {
        self.client.report_host(&host(name), &host_report(name), Duration::ZERO).await.unwrap();
    }

    async fn ask(&self, name: &str) -> PeerDecision {
        self.report(&peer_report(name), Duration::ZERO).await
    }

    async fn report(&self, report: &PeerReport, wait: Duration) -> PeerDecision {
        self.client.report_peer(&task(), &peer(report.host_id.as_str()), report, wait).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn client(url: &str, bearer: Option<&str>) -> SchedulerClient {
    SchedulerClient::new(Transport::new(url, http_client()).unwrap().with_bearer(bearer.map(str::to_owned)))
}

fn task() -> TaskId {
    "ab".repeat(32).parse().unwrap()
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

/// Each is newer than all before.
fn seq() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A seed when its name starts with `seed`; it holds nothing.
fn host_report(name: &str) -> HostReport {
    HostReport {
        seq: seq(),
        place: Default::default(),
        url: format!("http://{name}:4001"),
        seed: name.starts_with("seed"),
        sharing_off: false,
        storing: true,
        upload_slots: 50,
        sent_bytes_per_s: 0,
        sent_bytes_per_s_max: None,
        tasks: Some(Vec::new()),
        duties_taken: Vec::new(),
        hosts_known: 0,
    }
}

fn holding(name: &str) -> HostReport {
    let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18, imported: false };
    HostReport { tasks: Some(vec![held]), ..host_report(name) }
}

/// What a seed is sent for.
fn fetched(duty: &Duty) -> &TaskSpec {
    match &duty.work {
        Work::Fetch(task) => task,
        other => panic!("{other:?}"),
    }
}

fn peer_report(name: &str) -> PeerReport {
    PeerReport {
        host_id: host(name),
        seq: seq(),
        state: PeerState::Running,
        origin: Origin::new("http://origin.example/blob"),
        digest: None,
        length: None,
        piece_length: None,
        pieces: Default::default(),
        received_bytes: 0,
        complaints: Vec::new(),
        at_origin: false,
        known: None,
        row: None,
        wants: Default::default(),
    }
}

/// What a peer reports after it has been told.
fn obeying(report: &PeerReport, told: &PeerDecision) -> PeerReport {
    PeerReport {
        seq: seq(),
        at_origin: told.decision == df_api::scheduler::Decision::Origin,
        known: Some(told.version),
        row: told.row,
        length: told.task.length.or(report.length),
        piece_length: told.task.piece_length.or(report.piece_length),
        digest: told.task.digest.clone().or(report.digest.clone()),
        ..report.clone()
    }
}

fn names(decision: &PeerDecision) -> Vec<&str> {
    decision.parents.iter().map(|parent| parent.peer_id.as_str()).collect()
}
