//! Registries of ours beside the real ones, for faults that those do not produce, and lines to the first node's parents
//! that can be made bad.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use df_testkit::registry::blob_name;
use df_testkit::{Content, FakeOrigin, FakeRegistry, FaultProxy, Image, RegistryAccess};
use tests::cluster::PEER_PORT;
use tests::netns::Network;

use crate::upstreams::{Upstream, password};

const STORE: &str = "store.test:5007";
/// Who may read what the closed one has.
pub(crate) const TENANT: &str = "red";

/// End when dropped.
#[derive(Debug)]
pub(crate) struct Faults {
    /// For everybody, as [`Upstream::Faulty`].
    pub(crate) registry: FakeRegistry,
    /// For those with a token, as [`Upstream::Closed`].
    pub(crate) closed: FakeRegistry,
    /// Where a registry may send for its blobs.
    pub(crate) store: FakeOrigin,
    /// Nodes ask the seed peer through it.
    pub(crate) seed_line: FaultProxy,
    /// And the second node through this one.
    pub(crate) other_line: FaultProxy,
    /// From which address to which.
    lines: [(Ipv4Addr, Ipv4Addr); 2],
}

// === impl Faults ===

impl Faults {
    pub(crate) async fn start(network: &Network) -> anyhow::Result<Self> {
        let test = network.test_address();
        let names = [Upstream::Faulty.host(), Upstream::Closed.host(), STORE];
        network.name(test, &names.map(|host| host.split(':').next().unwrap_or_default()))?;
        let at = |port| SocketAddr::from((test, port));
        let access = RegistryAccess::Token { user: TENANT.to_owned(), password: password(TENANT) };
        let store_port = STORE.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;
        let lines = [(network.ctl().address, test), (network.nodes()[1].address, network.add_test_address()?)];
        let line = async |(own, advertised)| {
            FaultProxy::start_at(SocketAddr::from((advertised, PEER_PORT)), SocketAddr::from((own, PEER_PORT))).await
        };
        Ok(Self {
            registry: FakeRegistry::start_at(at(Upstream::Faulty.port()), RegistryAccess::Open).await?,
            closed: FakeRegistry::start_at(at(Upstream::Closed.port()), access).await?,
            store: FakeOrigin::start_at(at(store_port)).await?,
            seed_line: line(lines[0]).await?,
            other_line: line(lines[1]).await?,
            lines,
        })
    }

    /// Daemons, and where they are reached.
    pub(crate) fn lines(&self) -> [(Ipv4Addr, Ipv4Addr); 2] {
        self.lines
    }

    /// What a daemon must be allowed to ask, since none of it is public.
    pub(crate) fn origins(&self) -> Vec<String> {
        let realm = self.closed.base_url();
        vec![Upstream::Faulty.url(), Upstream::Closed.url(), realm, format!("http://{STORE}")]
    }

    /// A blob as it is served from now on.
    pub(crate) fn change(&self, repository: &str, digest: &str, change: impl FnOnce(Content) -> Content) {
        self.registry.origin().change(&blob_name(repository, digest), change);
    }

    /// The closed registry sends for the layers of `image` to the store.
    pub(crate) fn redirect(&self, repository: &str, image: &Image) {
        for layer in &image.layers {
            self.store.put(&layer.digest, Content::new(layer.bytes.clone()));
            let location = format!("http://{STORE}/{}", layer.digest);
            self.closed.origin().change(&blob_name(repository, &layer.digest), |blob| blob.redirect_to(&location));
        }
    }
}
