//! A dfdaemon in this process, on loopback: a mirror of one registry, without a cluster.

use std::path::Path;

use dfdaemon::{Config, Dfdaemon};
use tokio_util::sync::CancellationToken;

pub(crate) struct Mirror {
    pub(crate) daemon: Dfdaemon,
    stop: CancellationToken,
}

// === impl Mirror ===

impl Mirror {
    /// Of `registry_url`, which it also takes when a request names none.
    pub(crate) async fn start(dir: &Path, registry_url: &str) -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.proxy.listen = "127.0.0.1:0".parse()?;
        config.upload.listen = "127.0.0.1:0".parse()?;
        config.local.socket = Some("".into());
        config.storage.dir = dir.to_owned();
        config.upstream.allow = vec![registry_url.to_owned()];
        config.proxy.default_registry = registry_url.to_owned();
        // Who moves a tag looks at once.
        config.proxy.tag_window_ms = 0;
        let stop = CancellationToken::new();
        Ok(Self { daemon: Dfdaemon::start(config, stop.clone()).await?, stop })
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.daemon.stopped().await;
    }
}
