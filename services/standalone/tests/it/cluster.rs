//! A platform with two peers, and a fake registry as its upstream.

use std::path::Path;

use df_api::TaskId;
use df_api::dfdaemon::{CreateTaskRequest, ReceivedBytes, TaskStatus};
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Blob, Content, FakeRegistry, Image, Layer, STANDSTILL, read_whole};
use dfdaemon::Dfdaemon;
use reqwest::{Client, RequestBuilder};
use standalone::{Options, Standalone};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const REPOSITORY: &str = "team/app";

pub struct Cluster {
    pub platform: Standalone,
    pub registry: FakeRegistry,
    pub image: Image,
    pub http: Client,
    stop: CancellationToken,
    dir: TempDir,
}

impl Cluster {
    pub async fn start(layer_bytes: usize) -> Self {
        Self::with(RegistryAccess::Open, layer_bytes).await
    }

    pub async fn with(access: RegistryAccess, layer_bytes: usize) -> Self {
        Self::changed(access, layer_bytes, |_| {}).await
    }

    pub async fn changed(access: RegistryAccess, layer_bytes: usize, change: impl FnOnce(&mut Options)) -> Self {
        let registry = FakeRegistry::start(access).await.unwrap();
        let image = Image::build(1, &[Layer::tar(layer_bytes), Layer::gzip(2000)]).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.allow = vec![registry.base_url()];
        change(&mut options);
        let stop = CancellationToken::new();
        let platform = Standalone::start(options, stop.clone()).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { platform, registry, image, http, stop, dir }
    }

    pub fn peer(&self, number: usize) -> &Dfdaemon {
        &self.platform.peers[number - 1]
    }

    /// With a folder for every daemon, of its name.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn layer(&self) -> &Blob {
        &self.image.layers[0]
    }

    /// A blob through the mirror of a peer.
    pub fn get(&self, peer: usize, blob: &Blob) -> RequestBuilder {
        let (mirror, ns) = (self.peer(peer).local_addr, self.registry.address());
        self.http.get(format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={ns}", blob.digest))
    }

    pub async fn pull(&self, peer: usize, blob: &Blob) -> bytes::Bytes {
        self.try_pull(peer, blob).await.unwrap()
    }

    /// An error also when it stands still.
    pub async fn try_pull(&self, peer: usize, blob: &Blob) -> anyhow::Result<bytes::Bytes> {
        let answer = tokio::time::timeout(STANDSTILL, self.get(peer, blob).send()).await??;
        read_whole(answer.error_for_status()?).await
    }

    /// As a runtime does: the tag, then the digest it stands for.
    pub async fn pull_manifest(&self, peer: usize) {
        let (mirror, ns) = (self.peer(peer).local_addr, self.registry.address());
        for reference in ["v1", &self.image.top().digest] {
            let url = format!("http://{mirror}/v2/{REPOSITORY}/manifests/{reference}?ns={ns}");
            let answer = self.http.get(url).send().await.unwrap();
            assert_eq!(answer.bytes().await.unwrap(), self.image.top().bytes);
        }
    }

    pub fn change(&self, blob: &Blob, change: impl FnOnce(Content) -> Content) {
        self.registry.origin().change(&blob_name(REPOSITORY, &blob.digest), change);
    }

    pub fn release(&self, blob: &Blob) {
        self.registry.origin().release(&blob_name(REPOSITORY, &blob.digest));
    }

    /// Body bytes the registry has sent of a blob.
    pub fn served_bytes(&self, blob: &Blob) -> u64 {
        self.registry.blob_stats(REPOSITORY, &blob.digest).bytes
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A file through the daemon's own listener, the dfget way.
pub async fn fetch_file(daemon: &Dfdaemon, url: String) -> (Result<bytes::Bytes, String>, TaskStatus) {
    let transport = Transport::new(&format!("http://{}", daemon.local_addr), http_client()).unwrap();
    let daemon = DfdaemonClient::new(transport);
    let request = CreateTaskRequest { tag: Some("t".to_owned()), ..CreateTaskRequest::new(url) };
    let id = daemon.create_task(&request).await.unwrap().id;
    let body = match daemon.get_task_content(&id, None).await {
        Ok(answer) => answer.bytes().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    (body, daemon.get_task(&id).await.unwrap())
}

pub fn task_id(blob: &Blob) -> TaskId {
    blob.digest.trim_start_matches("sha256:").parse().unwrap()
}

pub fn received(daemon: &Dfdaemon, blob: &Blob) -> ReceivedBytes {
    received_of(daemon, &task_id(blob))
}

pub fn received_of(daemon: &Dfdaemon, id: &TaskId) -> ReceivedBytes {
    daemon.peer.task(id).map(|task| task.received()).unwrap_or_default()
}
