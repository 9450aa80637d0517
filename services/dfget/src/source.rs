//! Where dfget reads from: the daemon of this node, or a peer in this process where there is none.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::dfdaemon::{
    CloneTaskRequest, CreateTaskRequest, DEFAULT_SOCKET, ListObjectsRequest, ObjectEntry, TaskStatus,
};
use df_api::range::{RangeSpec, Requested};
use df_api::task::StorageAccess;
use df_api::{ByteRange, TaskId};
use df_client::{DfdaemonClient, Transport};
use df_peer::download::Start;
use df_peer::{Delivery, DownloadConfig, Peer, PeerConfig, PeerTlsConfig, ReadError, S3Error, UpstreamConfig};
use df_store::Trust;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tempfile::TempDir;
use url::Url;

use crate::error::FetchError;

pub enum Source {
    Daemon {
        client: DfdaemonClient,
        /// Over its socket, so that it can be known whose file is whose.
        by_socket: bool,
    },
    /// The folder of its store goes with it.
    InProcess { peer: Arc<Peer>, _folder: TempDir },
}

/// Length, if known, and the bytes.
pub type Content = (Option<u64>, BoxStream<'static, Result<Bytes, FetchError>>);

const DEFAULT_ADDRESS: &str = "http://127.0.0.1:65001";

/// Nobody waits longer than this for a first byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that has not said a word by then is not there.
const DAEMON_PATIENCE: Duration = Duration::from_secs(2);

/// A request of which the daemon waits for the end of a download; then it is asked again.
const CLONE_WAIT: Duration = Duration::from_secs(10);

/// The daemon of this node, when nobody says which: its socket, if this user may connect to it, else its port.
pub fn default_daemon() -> String {
    match std::os::unix::net::UnixStream::connect(DEFAULT_SOCKET) {
        Ok(_) => format!("unix:{DEFAULT_SOCKET}"),
        Err(_) => DEFAULT_ADDRESS.to_owned(),
    }
}

// === impl Source ===

impl Source {
    /// A daemon that is there is used, whatever it answers; only its absence starts a peer here.
    pub async fn open(
        daemon: &str,
        urls: &[&str],
        storage: Option<&StorageAccess>,
        quiet: bool,
    ) -> Result<Self, FetchError> {
        if let Some(source) = Self::daemon(daemon).await? {
            return Ok(source);
        }
        if !quiet {
            eprintln!("dfget: no daemon at {daemon}; fetching without one");
        }
        let folder = tempfile::Builder::new().prefix("dfget-").tempdir();
        let folder = folder.map_err(|error| FetchError::Other(format!("no temporary folder: {error}")))?;
        let peer = Peer::open(peer_config(&folder, allowed(urls, storage))?)
            .map_err(|error| FetchError::Other(error.to_string()))?;
        Ok(Self::InProcess { peer, _folder: folder })
    }

    /// `None` when there is none.
    pub async fn daemon(daemon: &str) -> Result<Option<Self>, FetchError> {
        let transport = Transport::open(daemon).map_err(|error| FetchError::Usage(format!("--daemon: {error}")))?;
        let answers = transport.answers(DAEMON_PATIENCE).await;
        let by_socket = daemon.starts_with("unix:");
        Ok(answers.then(|| Self::Daemon { client: DfdaemonClient::new(transport), by_socket }))
    }

    pub async fn start(&self, request: CreateTaskRequest) -> Result<TaskId, FetchError> {
        match self {
            Self::Daemon { client, .. } => Ok(client.create_task(&request).await?.id),
            Self::InProcess { peer, .. } => {
                let start = request.range.map_or(Start::Ask, Start::AskPart);
                let spec = request.into_spec().map_err(|error| FetchError::Refused(error.to_string()))?;
                let id = spec.id.clone();
                peer.start(spec, start).map_err(|error| FetchError::Other(format!("cannot store it: {error}")))?;
                Ok(id)
            }
        }
    }

    /// All objects below a prefix.
    pub async fn list(&self, request: ListObjectsRequest) -> Result<Vec<ObjectEntry>, FetchError> {
        match self {
            Self::Daemon { client, .. } => Ok(client.list_objects(&request).await?.objects),
            Self::InProcess { peer, .. } => {
                let ListObjectsRequest { url, storage, max_objects } = request;
                let place = storage.as_ref().map_or_else(|| url.clone(), |storage| storage.place(&url));
                let url = Url::parse(&place).map_err(|error| FetchError::Usage(format!("{url}: {error}")))?;
                let listed = peer.upstream().list_objects(&url, storage.as_ref(), max_objects as usize).await;
                listed.map_err(|error| match error {
                    S3Error::Unreachable(_) => FetchError::Unanswered(error.to_string()),
                    _ => FetchError::Refused(error.to_string()),
                })
            }
        }
    }

    pub async fn content(&self, id: &TaskId, range: Option<ByteRange>) -> Result<Content, FetchError> {
        match self {
            Self::Daemon { client, .. } => {
                let response = client.get_task_content(id, range).await?;
                let broken = |error: reqwest::Error| FetchError::Unanswered(format!("the daemon broke off: {error}"));
                Ok((response.content_length(), response.bytes_stream().map_err(broken).boxed()))
            }
            Self::InProcess { peer, .. } => {
                let task = peer.task(id).ok_or_else(|| FetchError::Other(format!("task {id} is gone")))?;
                let requested = range.map_or(Requested::Whole, |range| {
                    Requested::One(RangeSpec::Bounded { start: range.start, last: range.end - 1 })
                });
                let content = task.open(peer, requested, Trust::HoldLast, PATIENCE).await?;
                let length = content.slice.and_then(|slice| match range {
                    Some(_) => slice.range.map(ByteRange::length),
                    None => slice.total,
                });
                let broken = |error: std::io::Error| match error.downcast::<ReadError>() {
                    Ok(error) => error.into(),
                    Err(error) => FetchError::Other(error.to_string()),
                };
                Ok((length, content.stream(Delivery::default()).map_err(broken).boxed()))
            }
        }
    }

    /// What is known of it by now.
    pub async fn status(&self, id: &TaskId) -> Option<TaskStatus> {
        match self {
            Self::Daemon { client, .. } => client.get_task(id).await.ok(),
            Self::InProcess { peer, .. } => peer.task(id).map(|task| task.status()),
        }
    }

    /// Makes `empty` share the bytes of the daemon's store. `None` where that cannot be: then they have to be read.
    pub async fn share(&self, id: &TaskId, empty: BorrowedFd<'_>) -> Option<Result<(), FetchError>> {
        let Self::Daemon { client, by_socket: true } = self else { return None };
        let request = CloneTaskRequest { descriptor: empty.as_raw_fd().cast_unsigned() };
        loop {
            match client.clone_task(id, &request, CLONE_WAIT).await {
                Ok(result) if result.cloned => return Some(Ok(())),
                Ok(_) => {}
                Err(error) if error.status() == Some(409) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// Gives nothing to others: it will be gone in a moment. What the user typed may be asked, private or not.
fn peer_config(folder: &TempDir, allow: Vec<String>) -> Result<PeerConfig, FetchError> {
    let host_id = format!("dfget-{}", std::process::id());
    Ok(PeerConfig {
        host_id: host_id.parse().map_err(|error| FetchError::Other(format!("{error}")))?,
        place: df_api::cluster::Place::default(),
        url: String::new(),
        seed_peer_cluster_id: None,
        sharing_off: true,
        upload_slots: 0,
        sent_bytes_per_s_max: None,
        storage_dir: folder.path().to_owned(),
        storage_policy: df_store::Policy::default(),
        upstream: UpstreamConfig { allow, ..UpstreamConfig::default() },
        download: DownloadConfig::default(),
        manager_url: None,
        scheduler_cluster_id: None,
        schedulers: Vec::new(),
        join_open: true,
        peer_tls: PeerTlsConfig::default(),
        about: None,
    })
}

/// The hosts that were typed, and the store's.
fn allowed(urls: &[&str], storage: Option<&StorageAccess>) -> Vec<String> {
    let environment = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().filter_map(|name| std::env::var(name).ok());
    let stores = storage.and_then(|storage| storage.endpoint.clone()).into_iter().chain(environment);
    let entry = |url: String| {
        let url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{}{port}", url.scheme(), url.host_str()?))
    };
    urls.iter().map(ToString::to_string).chain(stores).filter_map(entry).collect()
}
