//! Everything a test needs, started and taken down together: network, registry, nodes, and Dragonfly when wanted.
//!
//! **Invariant:** fields are dropped from the top; what runs in the network ends before the network does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context;
use df_testkit::{DockerRegistry, Image, Layer, push_image, skip};
use tests::cluster::{Cluster, Setting};
use tests::netns::Network;
use tokio::sync::{Mutex, MutexGuard};

use crate::crictl::Crictl;
use crate::node::Node;
use crate::requirements;

/// What images are called by; `server` and mirror are its `hosts.toml`'s matter.
pub(crate) const REGISTRY: &str = "registry.test:5000";
const REGISTRY_PORT: u16 = 5000;
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
    _network: Network,
    _folder: Folder,
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
        let network = Network::create(NODES).await?;
        let folder = Folder::create()?;
        let address = SocketAddr::from((network.ctl().address, REGISTRY_PORT));
        let registry = DockerRegistry::start(&folder.path, address, Some(&network.ctl().name)).await?;
        let mut nodes = Vec::new();
        for (number, namespace) in (1..).zip(network.nodes()) {
            let dir = folder.path.join(format!("node{number}"));
            std::fs::create_dir(&dir)?;
            let node = Node::start(&dir, namespace, &crictl).await;
            nodes.push(node.with_context(|| format!("node{number} does not start"))?);
        }
        Ok(Some(Self { cluster: None, nodes, registry, _network: network, _folder: folder, _turn: turn }))
    }

    /// With manager, scheduler, seed peer, and on every node a dfdaemon that containerd asks first.
    pub(crate) async fn start_with_dragonfly() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Self::start().await? else { return Ok(None) };
        let setting = Setting {
            folder: lab._folder.path.clone(),
            programs: requirements::programs()?,
            ctl: lab._network.ctl().clone(),
            seed: Some(lab._network.ctl().clone()),
            nodes: lab._network.nodes().to_vec(),
            origins: vec![format!("http://{REGISTRY}")],
            verbose: true,
        };
        lab.cluster = Some(Cluster::start(setting).await?);
        for node in &lab.nodes {
            node.use_mirror()?;
        }
        Ok(Some(lab))
    }

    /// Puts `image` into the registry as `name` (`repository:tag`).
    pub(crate) async fn push(&self, name: &str, image: &Image) -> anyhow::Result<()> {
        let (repository, tag) = name.split_once(':').context("an image without a tag")?;
        push_image(&self.registry.base_url(), repository, tag, image).await
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
