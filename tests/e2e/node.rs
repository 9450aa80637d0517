//! A node: a namespace, its containerd, and what its `hosts.toml` says of each registry.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::ensure;
use df_testkit::{Image, snippet};
use tests::netns::Namespace;

use crate::command::{Said, run};
use crate::containerd::{Containerd, Release};
use crate::crictl::Crictl;
use crate::upstreams::Upstream;

/// Where a node's dfdaemon serves clients.
pub(crate) const MIRROR: &str = "http://127.0.0.1:65001";

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    pub(crate) containerd: Containerd,
    crictl: Crictl,
}

// === impl Node ===

impl Node {
    /// Pulls straight from the open registry until [`Node::use_mirror`].
    pub(crate) async fn start(
        dir: &Path,
        namespace: &Namespace,
        release: Release,
        crictl: &Crictl,
    ) -> anyhow::Result<Self> {
        let containerd = Containerd::start(dir, &namespace.name, release, crictl).await?;
        let node = Self { namespace: namespace.clone(), containerd, crictl: crictl.clone() };
        let url = Upstream::Open.url();
        // containerd before 1.7.32 ignores a file that names a server only.
        let host = format!("[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        node.containerd.set_hosts(Upstream::Open.host(), &format!("server = \"{url}\"\n{host}"))?;
        Ok(node)
    }

    /// As docs/clients.md says: dfdaemon first, the registry when that fails.
    pub(crate) fn use_mirror(&self, upstream: Upstream, ca: Option<&Path>) -> anyhow::Result<()> {
        self.use_mirror_at(MIRROR, upstream, ca)
    }

    /// As [`Node::use_mirror`], with something else where dfdaemon should be.
    pub(crate) fn use_mirror_at(&self, mirror: &str, upstream: Upstream, ca: Option<&Path>) -> anyhow::Result<()> {
        let url = upstream.next_url();
        let Some(ca) = ca.filter(|_| upstream.has_tls()) else { return self.use_hosts(mirror, &url, upstream) };
        let ca = ca.display().to_string();
        let replaced =
            [("https://registry.example", url.as_str()), (MIRROR, mirror), ("/etc/ssl/registry-ca.pem", &ca)];
        self.containerd.set_hosts(upstream.name(), &snippet("containerd-hosts-ca", &replaced)?)
    }

    /// As [`Node::use_mirror_at`], with something else where the registry should be.
    pub(crate) fn use_hosts(&self, mirror: &str, registry: &str, upstream: Upstream) -> anyhow::Result<()> {
        let addresses = [("https://registry.example", registry), (MIRROR, mirror)];
        self.containerd.set_hosts(upstream.name(), &snippet("containerd-hosts", &addresses)?)
    }

    /// After [`Node::use_mirror`]: what docs/clients.md advises against, of the mirror.
    pub(crate) fn skip_verify(&self, upstream: Upstream) -> anyhow::Result<()> {
        let hosts = self.containerd.certs_d().join(upstream.name()).join("hosts.toml");
        let told = std::fs::read_to_string(&hosts)?;
        Ok(std::fs::write(&hosts, format!("{told}  skip_verify = true\n"))?)
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.namespace.address
    }

    /// From the open registry; returns when containerd has unpacked `image` and says that it is the one it should be.
    pub(crate) async fn pull(&self, name: &str, image: &Image) -> anyhow::Result<()> {
        self.pull_from(Upstream::Open, name, image, None).await
    }

    /// `login` is `user:password`, the pod's pull secret.
    pub(crate) async fn pull_from(
        &self,
        upstream: Upstream,
        name: &str,
        image: &Image,
        login: Option<&str>,
    ) -> anyhow::Result<()> {
        let reference = format!("{}/{name}", upstream.name());
        self.crictl.pull(&self.containerd.socket(), &reference, login).await?;
        let known = self.crictl.inspect(&self.containerd.socket(), &reference).await?;
        // CRI calls an image by the digest of its configuration.
        ensure!(known["status"]["id"] == image.config.digest.as_str(), "{reference} is another image: {known}");
        Ok(())
    }

    /// `ctr` of its containerd, in the namespace of images that CRI does not see.
    pub(crate) async fn ctr(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let socket = self.containerd.socket().display().to_string();
        let all = [&["--address", &socket, "--namespace", "e2e"], arguments].concat();
        run(&self.namespace, self.containerd.program("ctr"), &all, &[]).await
    }

    /// containerd has nothing of it any more, blobs included, unless another image has them.
    pub(crate) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.crictl.remove(&self.containerd.socket(), &format!("{}/{name}", Upstream::Open.name())).await
    }

    /// As on a new machine: containerd has nothing, what dfdaemon holds stays.
    pub(crate) async fn wipe_images(&mut self) -> anyhow::Result<()> {
        self.containerd.wipe(&self.crictl).await
    }
}
