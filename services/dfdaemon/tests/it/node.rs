//! A dfdaemon without manager and scheduler, before one fake registry.

use std::time::Duration;

use df_api::TaskId;
use df_api::dfdaemon::{CreateTaskRequest, ReceivedBytes};
use df_client::{ClientError, DfdaemonClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Blob, FakeRegistry, Image, Layer, STANDSTILL, read_whole, until};
use dfdaemon::{Config, Dfdaemon};
use reqwest::{Client, RequestBuilder};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const REPOSITORY: &str = "team/app";
/// Long enough for any machine; a test that waits so long has failed.
const WAIT: Duration = Duration::from_secs(60);

/// Panics, naming `what`, when it does not become true.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    until(what, WAIT, async || Ok(condition().then_some(()))).await.unwrap();
}

pub struct Node {
    pub daemon: Dfdaemon,
    pub registry: FakeRegistry,
    pub image: Image,
    pub http: Client,
    pub dir: TempDir,
    pub stop: CancellationToken,
}

pub fn config(dir: &TempDir, registry: &FakeRegistry) -> Config {
    let mut config = Config::default();
    config.host.hostname = "node".to_owned();
    config.proxy.listen = "127.0.0.1:0".parse().unwrap();
    config.upload.listen = "127.0.0.1:0".parse().unwrap();
    config.local.socket = Some("".into());
    config.storage.dir = dir.path().to_owned();
    config.upstream.allow = vec![registry.base_url()];
    // Every question reaches the registry, as if it were asked later.
    config.proxy.tag_window_ms = 0;
    config
}

impl Node {
    pub async fn start(access: RegistryAccess) -> Self {
        Self::with(access, |_| {}).await
    }

    pub async fn with(access: RegistryAccess, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_registry(access, |config, _| change(config)).await
    }

    pub async fn with_registry(access: RegistryAccess, change: impl FnOnce(&mut Config, &FakeRegistry)) -> Self {
        let registry = FakeRegistry::start(access).await.unwrap();
        let image = Image::build(1, &[Layer::tar(3_000_000), Layer::gzip(500)]).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir, &registry);
        change(&mut config, &registry);
        let stop = CancellationToken::new();
        let daemon = Dfdaemon::start(config, stop.clone()).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { daemon, registry, image, http, dir, stop }
    }

    pub fn client(&self) -> DfdaemonClient {
        let base = format!("http://{}", self.daemon.local_addr);
        DfdaemonClient::new(Transport::new(&base, http_client()).unwrap())
    }

    /// A task of what the registry's origin has under `name`.
    pub async fn create(&self, name: &str) -> Result<TaskId, ClientError> {
        self.create_url(&self.registry.origin().url(name), None).await
    }

    async fn create_url(&self, url: &str, authorization: Option<&str>) -> Result<TaskId, ClientError> {
        let authorization = authorization.map(str::to_owned);
        let request = CreateTaskRequest { authorization, ..CreateTaskRequest::new(url) };
        Ok(self.client().create_task(&request).await?.id)
    }

    pub async fn fetch(&self, name: &str) -> Result<bytes::Bytes, String> {
        self.fetch_with(name, None).await
    }

    pub async fn fetch_with(&self, name: &str, authorization: Option<&str>) -> Result<bytes::Bytes, String> {
        self.fetch_url(&self.registry.origin().url(name), authorization).await
    }

    pub async fn fetch_url(&self, url: &str, authorization: Option<&str>) -> Result<bytes::Bytes, String> {
        let id = self.create_url(url, authorization).await.map_err(|error| error.to_string())?;
        let client = self.client();
        let answer = tokio::time::timeout(STANDSTILL, client.get_task_content(&id, None)).await.expect("an answer");
        let answer = answer.map_err(|error| error.to_string())?;
        read_whole(answer).await.map_err(|error| format!("{error:#}"))
    }

    /// Where the bytes of what is under `name` came from.
    pub async fn received(&self, name: &str) -> ReceivedBytes {
        let id = self.create(name).await.unwrap();
        self.client().get_task(&id).await.unwrap().received
    }

    /// A request to the mirror, meant for the fake registry.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub fn head(&self, path: &str) -> RequestBuilder {
        self.http.head(self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}?ns={}", self.daemon.local_addr, self.registry.address())
    }

    /// Tasks that have something on the disk.
    pub fn task_folders(&self) -> usize {
        let shelves = std::fs::read_dir(self.dir.path().join("tasks")).unwrap().map(Result::unwrap);
        shelves.flat_map(|shelf| std::fs::read_dir(shelf.path()).unwrap()).count()
    }

    pub fn layer(&self) -> &Blob {
        &self.image.layers[0]
    }

    pub fn blob_path(&self, blob: &Blob) -> String {
        format!("{REPOSITORY}/blobs/{}", blob.digest)
    }

    pub fn task_id(&self, blob: &Blob) -> TaskId {
        blob.digest.trim_start_matches("sha256:").parse().unwrap()
    }

    /// Bytes and GETs the registry has seen for a blob.
    pub fn served(&self, blob: &Blob) -> (u64, u64) {
        let stats = self.registry.blob_stats(REPOSITORY, &blob.digest);
        (stats.requests - stats.heads, stats.bytes)
    }
}
