//! The peer: store, tasks, upstream, schedulers and membership put together. One per dfdaemon.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use df_api::cluster::Place;
use df_api::manager::DaemonInfo;
use df_api::scheduler::Parent;
use df_api::task::{Origin, TaskSpec};
use df_api::{HostId, PeerId, TaskId};
use df_client::{DfdaemonClient, SchedulerClient, Transport};
use df_http::credential::Gate;
use df_store::{Policy, Store, StoreError, StoredTask};
use http::header::{AUTHORIZATION, RANGE};
use http::{HeaderValue, Uri};
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::connections::{Answer, AskError, Connections};
use crate::download::{self, Start};
use crate::duties::{Duties, JobDuty};
use crate::from_origin;
use crate::intake::Intake;
use crate::known::{self, Known};
use crate::limits::{DownloadConfig, Limits};
use crate::numbers::Numbers;
use crate::parent::Ask;
use crate::peer_tls::{PeerTlsConfig, PeerTlsError};
use crate::reporter::{Reporter, Reporters};
use crate::schedulers::Schedulers;
use crate::tags;
use crate::task::Task;
use crate::uploads::Meter;
use crate::upstream::{Upstream, UpstreamConfig, UpstreamError};

/// What a peer is told about itself.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub host_id: HostId,
    pub place: Place,
    /// Where others read from it, `http://host:port`, or `https://…` with TLS.
    pub url: String,
    /// The seed peer cluster it is a seed peer of.
    pub seed_peer_cluster_id: Option<i64>,
    pub sharing_off: bool,
    /// Children served at once.
    pub upload_slots: u32,
    /// To all children together, in bytes per second, if that is known: its limit, or its link.
    pub sent_bytes_per_s_max: Option<u64>,
    pub storage_dir: PathBuf,
    pub storage_policy: Policy,
    pub upstream: UpstreamConfig,
    pub download: DownloadConfig,
    /// The manager, and the cluster that is asked for there whatever the scopes say.
    pub manager_url: Option<String>,
    pub scheduler_cluster_id: Option<i64>,
    /// Known without a manager.
    pub schedulers: Vec<String>,
    /// Accept peers without a credential.
    pub join_open: bool,
    pub peer_tls: PeerTlsConfig,
    /// What the manager shows of it; nothing for one that is soon gone.
    pub about: Option<DaemonInfo>,
}

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Store(#[from] df_store::OpenError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Tls(#[from] PeerTlsError),
    #[error("cannot start the threads for downloads")]
    Intake(#[source] io::Error),
}

/// Shared by listeners, workers and downloads.
pub struct Peer {
    config: PeerConfig,
    store: Store,
    upstream: Upstream,
    limits: Arc<Limits>,
    sent: Arc<Meter>,
    pub(crate) intake: Intake,
    /// For schedulers.
    http: reqwest::Client,
    /// For parents, what is not bytes of pieces.
    peer_http: reqwest::Client,
    connections: Arc<Connections>,
    gate: Gate,
    schedulers: Schedulers,
    /// Of what this host tells schedulers.
    pub(crate) numbers: Numbers,
    reporters: Reporters,
    /// What is left when neither manager nor schedulers answer.
    known: Known,
    /// Hosts that did not answer a moment ago.
    pub(crate) silent_hosts: Cache<String, ()>,
    asks_first: AtomicBool,
    tasks: Mutex<HashMap<TaskId, Arc<Task>>>,
    /// Tasks whose parents delivered a whole that was wrong. When they are known to have lied, or it was not the first
    /// time, the next attempt asks the origin.
    wrong_wholes: Mutex<HashMap<TaskId, u32>>,
    duties: Duties,
    /// Counts started tasks, to wake who waits for one.
    started: watch::Sender<u64>,
}

/// How long a task that nobody asks for stays in memory.
const IDLE_KEPT: Duration = Duration::from_secs(300);
/// How long a disk may take to write what is still in memory when the process ends.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);
/// So often parents may deliver a whole that is wrong.
const DISTRUSTED: u32 = 2;
/// How long a task that failed can be asked why.
const FAILURE_KEPT: Duration = Duration::from_secs(10);

// === impl Peer ===

impl Peer {
    pub fn open(config: PeerConfig) -> Result<Arc<Self>, PeerError> {
        let store = Store::open(&config.storage_dir, config.storage_policy)?;
        let upstream = Upstream::new(&config.upstream)?;
        let tls = Arc::new(config.peer_tls.load()?);
        let gate = if config.join_open { Gate::open() } else { Gate::closed() };
        let (known, schedulers) = known::recall(&config, &gate);
        Ok(Arc::new(Self {
            schedulers: Schedulers::new(schedulers),
            known,
            store,
            upstream,
            limits: Arc::new(Limits::new(&config.download)),
            sent: Arc::default(),
            intake: Intake::start().map_err(PeerError::Intake)?,
            http: df_client::http_client(),
            peer_http: config.peer_tls.client(&tls)?,
            connections: Connections::new(tls),
            gate,
            numbers: Numbers::start(),
            reporters: Reporters::default(),
            silent_hosts: Cache::builder().max_capacity(1000).time_to_live(tags::SILENT_FOR).build(),
            asks_first: AtomicBool::new(false),
            tasks: Mutex::default(),
            wrong_wholes: Mutex::default(),
            duties: Duties::new(),
            started: watch::Sender::new(0),
            config,
        }))
    }

    pub fn config(&self) -> &PeerConfig {
        &self.config
    }

    pub fn host_id(&self) -> &HostId {
        &self.config.host_id
    }

    /// A host has one peer per task, spelled like the host.
    pub fn peer_id(&self) -> PeerId {
        self.config.host_id.peer()
    }

    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What its children take.
    pub fn sent(&self) -> &Arc<Meter> {
        &self.sent
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    pub fn schedulers(&self) -> &Schedulers {
        &self.schedulers
    }

    /// Rules of the cluster say who may download what: nothing is read of anybody before a scheduler has answered.
    pub fn asks_first(&self) -> bool {
        self.asks_first.load(Ordering::Relaxed)
    }

    pub(crate) fn set_asks_first(&self, asks_first: bool) {
        self.asks_first.store(asks_first, Ordering::Relaxed);
    }

    /// Parts of jobs, for whoever does them; once.
    pub fn duties(&self) -> Option<mpsc::Receiver<JobDuty>> {
        self.duties.take()
    }

    /// Whether there was room for it.
    pub(crate) fn assign(&self, duty: JobDuty) -> bool {
        self.duties.give(duty)
    }

    // --- tasks ---

    /// The task if this host has any of it, from this process or an earlier one.
    pub fn task(&self, id: &TaskId) -> Option<Arc<Task>> {
        let known = self.tasks.lock().get(id).filter(|task| !task.is_evicted()).cloned();
        if let Some(task) = known {
            task.touch();
            return Some(task);
        }
        // Without the lock: a record may have to be read.
        let stored = self.store.get(id)?;
        let digest = stored.meta().and_then(|meta| meta.digest);
        Some(self.adopt(stored, TaskSpec { id: id.clone(), origin: Origin::new(""), digest }))
    }

    /// As [`Peer::task`], for the programs of this node: what was evicted since they asked for it is started again.
    pub fn task_for_programs(self: &Arc<Self>, id: &TaskId) -> Option<Arc<Task>> {
        if let Some(task) = self.task(id) {
            return Some(task).filter(|task| task.is_for_programs());
        }
        let evicted = self.tasks.lock().get(id).filter(|task| task.is_for_programs()).cloned()?;
        self.start(evicted.spec(), Start::Ask).ok()
    }

    fn adopt(&self, stored: Arc<StoredTask>, spec: TaskSpec) -> Arc<Task> {
        let mut tasks = self.tasks.lock();
        if let Some(task) = tasks.get(&spec.id).filter(|task| !task.is_discarded() && !task.is_evicted()) {
            return task.clone();
        }
        let id = spec.id.clone();
        let task = Arc::new(Task::new(stored, spec));
        let before = tasks.insert(id, task.clone()).filter(|before| before.is_evicted());
        drop(tasks);
        // Nothing of it is stored, so this does not block.
        if let Some(label) = before.and_then(|before| before.stored().label()) {
            task.stored().set_label(label);
        }
        task
    }

    /// As [`Peer::task`], waiting for one that is about to start: a child may be faster than the duty.
    pub async fn task_soon(&self, id: &TaskId, patience: Duration) -> Option<Arc<Task>> {
        let mut started = self.started.subscribe();
        let found = async {
            loop {
                started.borrow_and_update();
                if let Some(task) = self.task(id) {
                    return Some(task);
                }
                started.changed().await.ok()?;
            }
        };
        tokio::time::timeout(patience, found).await.ok().flatten()
    }

    /// Whether somebody goes on with a task that stands still, within `patience`: a child may be faster than the duty.
    pub async fn goes_on_soon(&self, task: &Task, patience: Duration) -> bool {
        let mut started = self.started.subscribe();
        let running = async {
            loop {
                started.borrow_and_update();
                if task.is_running() || task.stored().is_complete() || started.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(patience, running).await.is_ok()
    }

    /// The task, complete or being downloaded: started now when it is neither.
    pub fn start(self: &Arc<Self>, spec: TaskSpec, start: Start) -> Result<Arc<Task>, StoreError> {
        let task = self.get_or_create(&spec)?;
        if task.claim(spec, start) {
            let span = tracing::info_span!("download", task = %task.id(), ?start, otel.kind = "internal");
            let running = self.intake.spawn(download::run(self.clone(), task.clone(), start).instrument(span));
            tokio::spawn(end_after_panic(running, task.clone()));
            self.started.send_modify(|count| *count += 1);
        }
        Ok(task)
    }

    pub(crate) fn get_or_create(&self, spec: &TaskSpec) -> Result<Arc<Task>, StoreError> {
        if let Some(task) = self.task(&spec.id).filter(|task| !task.is_discarded()) {
            return Ok(task);
        }
        Ok(self.adopt(self.store.get_or_create(&spec.id)?, spec.clone()))
    }

    /// Out of the map of tasks; whoever holds it reads on.
    pub(crate) fn forget(&self, task: &Arc<Task>) {
        self.tasks.lock().retain(|_, known| !Arc::ptr_eq(known, task));
    }

    /// What nobody has asked for in a while is forgotten here; what is stored of it is found again. Of what was evicted and
    /// nobody reads, the room goes at once, and it is only known what it was. Blocks: files are closed.
    pub(crate) fn drop_idle_tasks(&self) {
        let (mut unread, mut idle) = (Vec::new(), Vec::new());
        self.tasks.lock().retain(|_, task| {
            let unused = Arc::strong_count(task) == 1 && task.is_idle(Duration::ZERO);
            if unused && task.is_evicted() {
                unread.push(task.clone());
            }
            let forgotten = unused && task.is_idle(IDLE_KEPT);
            if forgotten {
                idle.push(task.clone());
            }
            !forgotten
        });
        // Without the lock.
        unread.iter().for_each(|task| task.stored().let_go());
        drop(idle);
    }

    /// The clean end, after everything else has stopped: what is stored reaches the disk, and what is known of the cluster.
    pub async fn close(self: &Arc<Self>) {
        self.intake.end();
        let peer = self.clone();
        let close = move || {
            if peer.known.has_changed()
                && let Err(error) = peer.keep_known()
            {
                tracing::warn!(%error, "what is new of the cluster is forgotten at the next start");
            }
            peer.store.close(SYNC_PATIENCE)
        };
        if let Err(panic) = tokio::task::spawn_blocking(close).await {
            tracing::error!(%panic, "the store was not closed");
        }
    }

    /// Drops what is stored of a task, because nothing of it is worth keeping. Why it failed is told a little longer, to
    /// those who come with the next request; whoever starts it again gets a new one.
    pub(crate) fn discard(self: &Arc<Self>, task: &Arc<Task>) {
        task.set_useless();
        // In this order: whoever starts it anew must not find the old files.
        let removed = self.store.remove(task.stored());
        task.set_discarded();
        let id = task.id().clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = removed.and_then(|path| path.map_or(Ok(()), std::fs::remove_dir_all)) {
                tracing::warn!(%error, task = %id, "a dropped task's files are still there");
            }
        });
        let (peer, task) = (self.clone(), task.clone());
        tokio::spawn(async move {
            tokio::time::sleep(FAILURE_KEPT).await;
            peer.forget(&task);
        });
    }

    pub(crate) fn doubt_parents_of(&self, id: &TaskId) {
        *self.wrong_wholes.lock().entry(id.clone()).or_default() += 1;
    }

    pub(crate) fn distrust_parents_of(&self, id: &TaskId) {
        self.wrong_wholes.lock().insert(id.clone(), DISTRUSTED);
    }

    pub(crate) fn trust_parents_of(&self, id: &TaskId) {
        self.wrong_wholes.lock().remove(id);
    }

    pub(crate) fn distrusts_parents_of(&self, id: &TaskId) -> bool {
        self.wrong_wholes.lock().get(id).is_some_and(|times| *times >= DISTRUSTED)
    }

    // --- others of the cluster ---

    fn transport(&self, url: &str, http: &reqwest::Client) -> Option<Transport> {
        match Transport::new(url, http.clone()) {
            Ok(transport) => Some(transport.with_bearer(self.gate.credential())),
            Err(error) => {
                tracing::warn!(%error, "an address given by the cluster cannot be used");
                None
            }
        }
    }

    /// Whether a scheduler is there at all.
    pub(crate) async fn answers(&self, scheduler: &str, within: Duration) -> bool {
        match self.transport(scheduler, &self.http) {
            Some(transport) => transport.answers(within).await,
            None => false,
        }
    }

    pub fn scheduler_client(&self, url: &str) -> Option<SchedulerClient> {
        self.transport(url, &self.http).map(SchedulerClient::new)
    }

    pub(crate) fn schedulers_of(&self, task: &TaskId) -> Vec<SchedulerClient> {
        self.schedulers.for_task(task).iter().filter_map(|url| self.scheduler_client(url)).collect()
    }

    /// Through which this peer reports its part in a task, in the order to ask.
    pub(crate) fn reporters_of(&self, task: &TaskId) -> Vec<Arc<Reporter>> {
        self.schedulers.for_task(task).iter().map(|url| self.reporters.at(url)).collect()
    }

    pub(crate) fn parent_client(&self, parent: &Parent) -> Option<DfdaemonClient> {
        self.transport(&parent.url, &self.peer_http).map(DfdaemonClient::new)
    }

    /// Bytes of a task, of a parent.
    pub(crate) async fn ask_for_content(&self, parent: &Parent, task: &TaskId, ask: Ask) -> Result<Answer, AskError> {
        let Ask { range, checked } = ask;
        let query = if checked { "?checked=true" } else { "" };
        let url = format!("{}/v1/tasks/{task}/content{query}", parent.url.trim_end_matches('/'));
        let url: Uri = url.parse().map_err(|_| AskError::Malformed("its address is not one"))?;
        let mut headers = df_client::trace_headers();
        let bearer = self.gate.credential().map(|token| format!("Bearer {token}"));
        for (name, value) in [(RANGE, Some(range.to_header())), (AUTHORIZATION, bearer)] {
            let Some(value) = value else { continue };
            let mut value = HeaderValue::try_from(value).map_err(|_| AskError::Malformed("a header that cannot be"))?;
            value.set_sensitive(name == AUTHORIZATION);
            headers.insert(name, value);
        }
        self.connections.get(&url, &headers, range).await
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Whether nobody has to ask the origin for it: all of it is here, or at a seed peer.
    pub async fn is_cached(&self, task: &TaskId) -> bool {
        if self.task(task).is_some_and(|task| task.stored().is_complete()) {
            return true;
        }
        self.seeds_holding(task).await.iter().any(|(_, list)| list.complete)
    }
}

/// A download that panics, or is cancelled at the end, must not leave its task running for ever.
async fn end_after_panic(running: Option<JoinHandle<()>>, task: Arc<Task>) {
    let ended = match running {
        Some(running) => running.await.map_err(io::Error::other),
        None => Err(io::Error::other("this peer has ended")),
    };
    if let Err(error) = ended {
        task.ended(Some(from_origin::storage(error)));
    }
}
