//! Everything a test needs, started and taken down together: network, registry, nodes, and Dragonfly when wanted.
//!
//! **Invariant:** fields are dropped from the top; what runs in the network ends before the network does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use df_api::manager::SignInRequest;
use df_client::{ManagerClient, Transport, http_client};
use df_testkit::{DockerRegistry, Image, Layer, push_image, skip};
use tests::cluster::{Cluster, Home, MANAGER_PORT, Setting};
use tests::netns::{Namespace, Network};
use tokio::sync::{Mutex, MutexGuard};

use crate::containerd::Release;
use crate::crictl::Crictl;
use crate::faults::Faults;
use crate::node::{MIRROR, Node};
use crate::requirements;
use crate::upstreams::{Upstream, Upstreams};

const NODES: u8 = 2;
const FOLDER_PREFIX: &str = "df-e2e-";
const MIB: usize = 1 << 20;

/// Labs take turns: two would share neither names nor addresses, but two processors.
static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Debug)]
pub(crate) struct Lab {
    /// Absent in the lab of [`Lab::start`].
    pub(crate) cluster: Option<Cluster>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) registry: DockerRegistry,
    upstreams: Option<Upstreams>,
    pub(crate) faults: Option<Faults>,
    pub(crate) network: Network,
    folder: Folder,
    crictl: Crictl,
    _turn: MutexGuard<'static, ()>,
}

/// Of one lab; removed when dropped, unless `E2E_KEEP` is set.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

// === impl Lab ===

impl Lab {
    /// Registry and nodes; `None` where the machine cannot do it, with the reason printed.
    pub(crate) async fn start() -> anyhow::Result<Option<Self>> {
        Self::start_on(NODES, 0).await
    }

    /// As [`Lab::start`], with so many nodes, and so many namespaces without containerd behind them.
    pub(crate) async fn start_on(nodes: u8, others: u8) -> anyhow::Result<Option<Self>> {
        if let Some(missing) = requirements::missing() {
            skip(&missing);
            return Ok(None);
        }
        let crictl = match Crictl::find().await {
            Ok(crictl) => crictl,
            Err(reason) => {
                skip(&format!("{reason:#}"));
                return Ok(None);
            }
        };
        let turn = TURN.lock().await;
        // First the network: making it ends what a former run left running in its folder.
        let network = Network::create(nodes + others).await?;
        let folder = Folder::create()?;
        let address = SocketAddr::from((network.ctl().address, Upstream::Open.port()));
        let registry = DockerRegistry::start(&folder.path, address, Some(&network.ctl().name)).await?;
        let (upstreams, faults) = (None, None);
        let mut lab = Self {
            cluster: None,
            nodes: Vec::new(),
            registry,
            upstreams,
            faults,
            network,
            folder,
            crictl,
            _turn: turn,
        };
        for number in 0..usize::from(nodes) {
            let node = lab.start_node(number, Release::Debian).await?;
            lab.nodes.push(node);
        }
        Ok(Some(lab))
    }

    /// With manager, scheduler, seed peer, and on every node a dfdaemon that containerd asks first.
    pub(crate) async fn start_with_dragonfly() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Self::start().await? else { return Ok(None) };
        lab.start_dragonfly(Some(lab.network.ctl().clone())).await?;
        Ok(Some(lab))
    }

    /// As [`Lab::start_with_dragonfly`], where nodes ask the registry themselves: what is large is stored once less.
    pub(crate) async fn start_without_seed() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Self::start().await? else { return Ok(None) };
        lab.start_dragonfly(None).await?;
        Ok(Some(lab))
    }

    /// As [`Lab::start_with_dragonfly`], with registries that want TLS and credentials besides the open one.
    pub(crate) async fn start_with_upstreams() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Self::start().await? else { return Ok(None) };
        lab.upstreams = Some(Upstreams::start(&lab.folder.path, &lab.network).await?);
        lab.start_dragonfly(Some(lab.network.ctl().clone())).await?;
        for node in &lab.nodes {
            lab.use_mirror(node)?;
        }
        Ok(Some(lab))
    }

    /// As [`Lab::start_with_dragonfly`], with registries and lines that fail as they are told.
    pub(crate) async fn start_with_faults() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Self::start().await? else { return Ok(None) };
        lab.faults = Some(Faults::start(&lab.network).await?);
        lab.start_dragonfly(Some(lab.network.ctl().clone())).await?;
        for node in &lab.nodes {
            lab.use_mirror(node)?;
        }
        Ok(Some(lab))
    }

    async fn start_dragonfly(&mut self, seed: Option<Namespace>) -> anyhow::Result<()> {
        self.cluster = Some(Cluster::start(Setting { seed, ..self.setting()? }).await?);
        for node in &self.nodes {
            node.use_mirror(Upstream::Open, None)?;
        }
        Ok(())
    }

    /// Cluster 1 on all nodes, without a seed peer.
    pub(crate) fn setting(&self) -> anyhow::Result<Setting> {
        let open = [Upstream::Open.url()].into_iter();
        Ok(Setting {
            folder: self.folder.path.clone(),
            programs: requirements::programs()?,
            ctl: self.network.ctl().clone(),
            home: Home::first(self.network.ctl()),
            seed: None,
            behind: self.faults.iter().flat_map(Faults::lines).collect(),
            nodes: self.nodes.iter().map(|node| node.namespace.clone()).collect(),
            origins: open
                .chain(self.upstreams.iter().flat_map(Upstreams::origins))
                .chain(self.faults.iter().flat_map(Faults::origins))
                .collect(),
            intercept: self.upstreams.iter().flat_map(|_| Upstreams::tls_hosts()).map(str::to_owned).collect(),
            ca_certs: self.upstreams.iter().map(|upstreams| upstreams.ca.clone()).collect(),
            verbose: true,
        })
    }

    /// Another containerd on a node that has one already; both have the same dfdaemon.
    pub(crate) async fn start_node(&self, number: usize, release: Release) -> anyhow::Result<Node> {
        let dir = self.folder.path.join(format!("node{}-{release:?}", number + 1));
        std::fs::create_dir(&dir)?;
        let node = Node::start(&dir, &self.network.nodes()[number], release, &self.crictl).await;
        node.with_context(|| format!("{} does not start", dir.display()))
    }

    /// Another of each other release than Debian's, on the first node.
    pub(crate) async fn start_releases(&self) -> anyhow::Result<Vec<(Release, Node)>> {
        let mut nodes = Vec::new();
        for release in [Release::V1_7, Release::V2_1, Release::V2_3] {
            nodes.push((release, self.start_node(0, release).await?));
        }
        Ok(nodes)
    }

    /// One of this release on each node; Debian's are there from the start, and are no longer in `nodes`.
    pub(crate) async fn take_nodes(&mut self, release: Release) -> anyhow::Result<Vec<Node>> {
        if release == Release::Debian {
            return Ok(std::mem::take(&mut self.nodes));
        }
        let mut nodes = Vec::new();
        for number in 0..self.network.nodes().len() {
            nodes.push(self.start_node(number, release).await?);
        }
        Ok(nodes)
    }

    /// For every registry of this lab.
    pub(crate) fn use_mirror(&self, node: &Node) -> anyhow::Result<()> {
        self.use_mirror_at(MIRROR, node)
    }

    /// As [`Lab::use_mirror`], with something before dfdaemon.
    pub(crate) fn use_mirror_at(&self, mirror: &str, node: &Node) -> anyhow::Result<()> {
        let ca = self.upstreams.as_ref().map(|upstreams| &*upstreams.ca);
        let doors = Upstream::WITH_A_DOOR.into_iter().filter(|_| ca.is_some());
        let ours = [Upstream::Faulty, Upstream::Closed].into_iter().filter(|_| self.faults.is_some());
        let all = [Upstream::Open].into_iter().chain(doors).chain(ours);
        all.into_iter().try_for_each(|upstream| node.use_mirror_at(mirror, upstream, ca))
    }

    /// The open one, after it was killed, with what it had.
    pub(crate) async fn restart_registry(&mut self) -> anyhow::Result<()> {
        let (address, netns) = (self.registry.address(), self.network.ctl().name.clone());
        self.registry = DockerRegistry::start(&self.folder.path, address, Some(&netns)).await?;
        Ok(())
    }

    pub(crate) fn upstreams(&self) -> anyhow::Result<&Upstreams> {
        self.upstreams.as_ref().context("this lab has the open registry only")
    }

    pub(crate) fn faults(&self) -> anyhow::Result<&Faults> {
        self.faults.as_ref().context("this lab has no registries of ours")
    }

    pub(crate) fn registry(&self, upstream: Upstream) -> anyhow::Result<&DockerRegistry> {
        match upstream {
            Upstream::Open => Ok(&self.registry),
            _ => self.upstreams()?.registry(upstream).context("no such registry"),
        }
    }

    /// For what tests make in it, beside all logs, configurations and stores.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Puts `image` into the registries as `name` (`repository:tag`).
    pub(crate) async fn push(&self, name: &str, image: &Image) -> anyhow::Result<()> {
        let (repository, tag) = name.split_once(':').context("an image without a tag")?;
        push_image(&self.registry.base_url(), repository, tag, image).await
    }

    /// As [`Lab::push`], and into the faulty registry.
    pub(crate) async fn push_faulty(&self, name: &str, image: &Image) -> anyhow::Result<()> {
        let (repository, tag) = name.split_once(':').context("an image without a tag")?;
        self.faults()?.registry.add(repository, tag, image);
        self.push(name, image).await
    }

    /// The manager, by the one who may do everything.
    pub(crate) async fn root(&self) -> anyhow::Result<ManagerClient> {
        let url = format!("http://{}:{MANAGER_PORT}", self.network.ctl().address);
        let transport = Transport::new(&url, http_client())?;
        let request = SignInRequest { name: "root".to_owned(), password: "dragonfly".to_owned() };
        let token = ManagerClient::new(transport.clone()).sign_in(&request).await?.token;
        Ok(ManagerClient::new(transport.with_bearer(Some(token))))
    }

    pub(crate) fn cluster_ref(&self) -> anyhow::Result<&Cluster> {
        self.cluster.as_ref().context("this lab has no Dragonfly")
    }

    pub(crate) fn cluster(&mut self) -> anyhow::Result<&mut Cluster> {
        self.cluster.as_mut().context("this lab has no Dragonfly")
    }
}

/// As issue 2 wants it: several layers, one under 4 MiB, one over 100 MiB.
pub(crate) fn large_image() -> anyhow::Result<&'static Image> {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let layers =
        [Layer::gzip(MIB), Layer::gzip(101 * MIB), Layer::tar(4 * MIB + 1), Layer::gzip(9 * MIB), Layer::tar(512)];
    let image = Image::build(1, &layers)?.in_index();
    Ok(IMAGE.get_or_init(|| image))
}

/// Shares no blob with the others.
pub(crate) fn small_image() -> anyhow::Result<Image> {
    Image::build(2, &[Layer::gzip(6 * MIB), Layer::tar(70_000)])
}

/// Shares no blob with the others.
pub(crate) fn other_small_image() -> anyhow::Result<Image> {
    Image::build(3, &[Layer::gzip(5 * MIB), Layer::tar(60_000)])
}

// === impl Folder ===

impl Folder {
    fn create() -> anyhow::Result<Self> {
        remove_leftovers()?;
        // In /tmp, because the path of a socket in it is at most 107 bytes long.
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        Ok(Self { path: tempfile::Builder::new().prefix(&prefix).tempdir_in("/tmp")?.keep() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let gone = match std::env::var_os("E2E_KEEP") {
            None => std::fs::remove_dir_all(&self.path),
            Some(_) => {
                let kept = format!("/tmp/kept-{}", self.path.file_name().unwrap_or_default().display());
                println!("kept: {kept}");
                std::fs::rename(&self.path, kept)
            }
        };
        // What cannot be removed stays until the next run.
        drop(gone);
    }
}

/// Folders of test runs that are no more.
fn remove_leftovers() -> anyhow::Result<()> {
    for entry in std::fs::read_dir("/tmp")? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.split('-').next());
        if let Some(run) = run
            && !PathBuf::from("/proc").join(run).exists()
        {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
