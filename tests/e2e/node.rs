//! A node: a namespace, its containerd, and what its `hosts.toml` says of the registry.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::ensure;
use df_testkit::Image;
use tests::netns::Namespace;

use crate::containerd::Containerd;
use crate::crictl::Crictl;
use crate::lab::REGISTRY;

/// Where a node's dfdaemon serves containerd.
const MIRROR: &str = "http://127.0.0.1:65001";

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    containerd: Containerd,
    crictl: Crictl,
}

// === impl Node ===

impl Node {
    /// Pulls straight from the registry until [`Node::use_mirror`].
    pub(crate) async fn start(dir: &Path, namespace: &Namespace, crictl: &Crictl) -> anyhow::Result<Self> {
        let containerd = Containerd::start(dir, &namespace.name, crictl).await?;
        let node = Self { namespace: namespace.clone(), containerd, crictl: crictl.clone() };
        // containerd before 1.7.32 ignores a file that names a server only.
        let host = format!("[host.\"http://{REGISTRY}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        node.containerd.set_hosts(REGISTRY, &format!("server = \"http://{REGISTRY}\"\n{host}"))?;
        Ok(node)
    }

    /// As `infra` installs it on a node: dfdaemon first, the registry when that fails.
    pub(crate) fn use_mirror(&self) -> anyhow::Result<()> {
        let host = format!("[host.\"{MIRROR}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"1s\"\n");
        self.containerd.set_hosts(REGISTRY, &format!("server = \"http://{REGISTRY}\"\n{host}"))
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.namespace.address
    }

    /// Returns when containerd has unpacked `image` and says that it is the one it should be.
    pub(crate) async fn pull(&self, name: &str, image: &Image) -> anyhow::Result<()> {
        let reference = format!("{REGISTRY}/{name}");
        self.crictl.pull(&self.containerd.socket(), &reference).await?;
        let known = self.crictl.inspect(&self.containerd.socket(), &reference).await?;
        // CRI calls an image by the digest of its configuration.
        ensure!(known["status"]["id"] == image.config.digest.as_str(), "{reference} is another image: {known}");
        Ok(())
    }

    /// As on a new machine: containerd has nothing, what dfdaemon holds stays.
    pub(crate) async fn wipe_images(&mut self) -> anyhow::Result<()> {
        self.containerd.wipe(&self.crictl).await
    }
}
