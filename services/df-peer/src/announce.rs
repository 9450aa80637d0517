//! Being there: for the manager as a seed peer; for each scheduler by one long poll, which also brings the duties.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::manager::SeedPeerLeaseRequest;
use df_api::scheduler::{Duty, HELD_MAX, HostReport, Work};
use df_client::{ClientError, ManagerClient, SchedulerClient, Transport};
use df_http::worker::{Worker, Workers};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::discovery::Discovery;
use crate::download::Start;
use crate::duties::JobDuty;
use crate::peer::Peer;

/// Where the manager is, and what opens its door.
#[derive(Clone)]
pub struct ManagerAccess {
    /// `http://host:port`
    pub url: String,
    pub join_token: Option<String>,
    /// Overrides scope matching.
    pub scheduler_cluster_id: Option<i64>,
}

/// After a change of what is stored: several are told at once, and what was completed before it has been heard of.
const SETTLING: Duration = Duration::from_secs(1);
/// A scheduler that has just started knows nobody, and is waited for by those who ask it meanwhile.
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// Many changes at once are one.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// A host's long poll at a scheduler. One that gets lost, and is given up five seconds later, is repeated within the lease.
const HOLD: Duration = Duration::from_secs(5);

/// Starts all that keeps the peer known. Returns at once: nothing waits for a manager.
pub fn start(peer: &Arc<Peer>, manager: Option<ManagerAccess>, workers: &Workers, stop: &CancellationToken) {
    if let Some(access) = manager {
        let http = df_client::http_client();
        if let Some(cluster_id) = peer.config().seed_peer_cluster_id {
            workers.spawn(SeedLease { peer: peer.clone(), access: access.clone(), http: http.clone(), cluster_id });
        }
        workers.spawn(Discovery::new(peer.clone(), access, http));
    }
    workers.spawn(Remembering { peer: peer.clone() });
    tokio::spawn(announce_everywhere(peer.clone(), stop.clone()));
}

pub fn manager_client(
    peer: &Peer,
    access: &ManagerAccess,
    http: &reqwest::Client,
) -> Result<ManagerClient, AnnounceError> {
    // The join token opens the door; where there is none, the credential of an earlier visit may.
    let bearer = access.join_token.clone().or_else(|| peer.gate().credential());
    client_showing(bearer, access, http)
}

/// As a member of its cluster, whom the manager tells what only that cluster may know.
pub fn member_client(
    peer: &Peer,
    access: &ManagerAccess,
    http: &reqwest::Client,
) -> Result<ManagerClient, AnnounceError> {
    client_showing(peer.gate().credential(), access, http)
}

fn client_showing(
    bearer: Option<String>,
    access: &ManagerAccess,
    http: &reqwest::Client,
) -> Result<ManagerClient, AnnounceError> {
    let transport = Transport::new(&access.url, http.clone())?;
    Ok(ManagerClient::new(transport.with_bearer(bearer)))
}

#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Url(#[from] df_client::InvalidUrl),
}

/// Keeps the manager's row of this seed peer alive.
struct SeedLease {
    peer: Arc<Peer>,
    access: ManagerAccess,
    http: reqwest::Client,
    cluster_id: i64,
}

impl Worker for SeedLease {
    const NAME: &'static str = "seed lease";
    type Error = AnnounceError;

    async fn round(&mut self) -> Result<Duration, AnnounceError> {
        let config = self.peer.config();
        let request = SeedPeerLeaseRequest {
            place: config.place.clone(),
            url: config.url.clone(),
            seed_peer_cluster_id: self.cluster_id,
        };
        let lease = manager_client(&self.peer, &self.access, &self.http)?.renew_seed_peer_lease(&request).await?;
        Ok(Duration::from_millis(lease.refresh_after_ms.max(500)))
    }
}

/// Writes down what is known of the cluster, whenever that changes.
struct Remembering {
    peer: Arc<Peer>,
}

impl Worker for Remembering {
    const NAME: &'static str = "remembering the cluster";
    type Error = io::Error;

    async fn round(&mut self) -> Result<Duration, io::Error> {
        self.peer.known().changes().await;
        let peer = self.peer.clone();
        tokio::task::spawn_blocking(move || peer.keep_known()).await??;
        Ok(WRITTEN_EVERY)
    }
}

/// One announcement loop per scheduler; the set follows discovery.
async fn announce_everywhere(peer: Arc<Peer>, stop: CancellationToken) {
    let mut urls = peer.schedulers().subscribe();
    let mut loops: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let current = urls.borrow_and_update().clone();
        loops.retain(|url, running| {
            let stays = current.contains(url);
            if !stays {
                running.cancel();
            }
            stays
        });
        for url in current {
            loops.entry(url.clone()).or_insert_with(|| {
                let running = stop.child_token();
                tokio::spawn(announce_at(peer.clone(), url, running.clone()));
                running
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = urls.changed() => if changed.is_err() { return },
        }
    }
}

async fn announce_at(peer: Arc<Peer>, url: String, stop: CancellationToken) {
    let workers = Workers::new(stop.clone());
    let (changes, doubts) = (peer.store().changes(), peer.schedulers().doubts());
    let last = Arc::new(Mutex::new(None));
    workers.spawn(HostAnnouncement {
        peer: peer.clone(),
        url,
        last: last.clone(),
        full: true,
        told: false,
        changes,
        doubts,
        duties_taken: Vec::new(),
        hosts_known: 0,
    });
    stop.cancelled().await;
    workers.stopped().await;
    // Leaving is immediate; without this the lease would have to run out. In a new cluster, with the credential of the old.
    let client: Option<SchedulerClient> = last.lock().take();
    if let Some(client) = client
        && let Ok(Err(error)) =
            tokio::time::timeout(Duration::from_secs(2), client.delete_host(peer.host_id(), peer.numbers.next())).await
    {
        tracing::debug!(%error, "a scheduler was not told that this host leaves");
    }
}

/// "I am here, and hold this": the long poll on which duties arrive.
struct HostAnnouncement {
    peer: Arc<Peer>,
    url: String,
    /// As it was asked last.
    last: Arc<Mutex<Option<SchedulerClient>>>,
    full: bool,
    /// It has been told once what this host holds.
    told: bool,
    /// Of what is stored: a change makes the long poll end, and everything be told anew.
    changes: watch::Receiver<u64>,
    /// Somebody has found a scheduler silent: it may be this one.
    doubts: watch::Receiver<()>,
    duties_taken: Vec<u64>,
    /// The version of the list of hosts.
    hosts_known: u64,
}

impl Worker for HostAnnouncement {
    const NAME: &'static str = "host announcement";
    type Error = ClientError;
    const RETRY_MAX: Duration = AGAIN_MAX;

    async fn round(&mut self) -> Result<Duration, ClientError> {
        let Some(client) = self.peer.scheduler_client(&self.url) else { return Ok(HOLD) };
        *self.last.lock() = Some(client.clone());
        let (config, store) = (self.peer.config(), self.peer.store());
        self.full |= self.changes.has_changed().unwrap_or(false);
        self.changes.borrow_and_update();
        self.doubts.borrow_and_update();
        let report = HostReport {
            seq: self.peer.numbers.next(),
            place: config.place.clone(),
            url: config.url.clone(),
            seed: config.seed_peer_cluster_id.is_some(),
            sharing_off: config.sharing_off,
            upload_slots: config.upload_slots,
            sent_bytes_per_s: self.peer.sent().bytes_per_s(),
            sent_bytes_per_s_max: config.sent_bytes_per_s_max,
            storing: store.is_storing(),
            // Half a list would make the scheduler forget the other half.
            tasks: (self.full && store.is_surveyed()).then(|| store.held().into_iter().take(HELD_MAX).collect()),
            duties_taken: self.duties_taken.clone(),
            hosts_known: self.hosts_known,
        };
        // The first answer comes at once, so that the host is known before it is needed.
        let doubted = self.peer.schedulers().is_passed_over(&self.url);
        let hold = if self.full || doubted { Duration::ZERO } else { HOLD };
        let asked = Instant::now();
        let decision = tokio::select! {
            answered = client.report_host(self.peer.host_id(), &report, hold) => answered,
            Ok(()) = self.changes.changed() => {
                self.full = true;
                return Ok(if self.told { SETTLING } else { Duration::ZERO });
            }
            Ok(()) = self.doubts.changed(), if !doubted => return Ok(Duration::ZERO),
        };
        let decision = decision.inspect_err(|error| self.unheard(error))?;
        self.peer.numbers.go_on_from(decision.seq);
        self.peer.schedulers().has_answered(&self.url);
        if let Some(told) = decision.hosts {
            self.hosts_known = told.version;
            self.peer.meet(told.hosts);
        }
        self.duties_taken.clear();
        self.peer.set_asks_first(decision.ask_first);
        self.told |= report.tasks.is_some();
        // What cannot be told yet is told when the store has looked at all of it.
        self.full = decision.resend_tasks && report.tasks.is_some();
        // A scheduler that does not hold the answer back must not be asked in a tight loop.
        let hasty = decision.duties.is_empty() && !hold.is_zero() && asked.elapsed() < Duration::from_secs(1);
        for duty in decision.duties {
            if let Some(taken) = self.take(duty) {
                self.duties_taken.push(taken);
            }
        }
        Ok(if hasty { Duration::from_secs(1) } else { Duration::ZERO })
    }
}

impl HostAnnouncement {
    /// Its number, unless it is to be sent again.
    fn take(&self, Duty { id, work }: Duty) -> Option<u64> {
        match work {
            Work::Fetch(task) if !task.is_consistent() => {
                tracing::warn!(task = %task.id, "a duty is not taken up: it describes another content");
            }
            Work::Fetch(task) => {
                if let Err(error) = self.peer.start(*task, Start::Duty) {
                    tracing::error!(%error, "a duty cannot be taken up");
                }
            }
            work => return self.peer.assign(JobDuty { scheduler: self.url.clone(), id, work }).then_some(id),
        }
        Some(id)
    }

    /// It may be another that answers next time: it is told everything. One that cannot take a host now, because it has not
    /// got its manager yet, say, has no advice for that host either.
    fn unheard(&mut self, error: &ClientError) {
        self.full = true;
        if error.is_silence() || error.status() == Some(503) {
            self.peer.schedulers().set_silent(&self.url);
        }
    }
}
