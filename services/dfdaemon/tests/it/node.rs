//! A dfdaemon without manager and scheduler, before one fake registry.

use df_api::TaskId;
use df_testkit::registry::RegistryAccess;
use df_testkit::{Blob, FakeRegistry, Image, Layer};
use dfdaemon::{Config, Dfdaemon};
use reqwest::{Client, RequestBuilder};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const REPOSITORY: &str = "team/app";

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
    config.storage.dir = dir.path().to_owned();
    config.upstream.allow = vec![registry.base_url()];
    config
}

impl Node {
    pub async fn start(access: RegistryAccess) -> Self {
        Self::with(access, |_| {}).await
    }

    pub async fn with(access: RegistryAccess, change: impl FnOnce(&mut Config)) -> Self {
        let registry = FakeRegistry::start(access).await.unwrap();
        let image = Image::build(1, &[Layer::tar(3_000_000), Layer::gzip(500)]).unwrap();
        registry.add(REPOSITORY, "v1", &image);
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir, &registry);
        change(&mut config);
        let stop = CancellationToken::new();
        let daemon = Dfdaemon::start(config, stop.clone()).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { daemon, registry, image, http, dir, stop }
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
