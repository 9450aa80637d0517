//! Where one row takes place: a network of its own, and a folder of its own, in memory when there is enough.
//!
//! **Invariant.** A row declares its programs after its ground, so that they end before their network does.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tests::cluster::{Home, Setting};
use tests::netns::{Namespace, Network};

use crate::options::Options;
use crate::reservoir::Reservoir;

const FOLDER_PREFIX: &str = "df-bench-";
const MEMORY: &str = "/dev/shm";
const DISK: &str = "/tmp";
/// What everything else on this machine shall keep.
const MEMORY_LEFT_MIB: u64 = 3 * 1024;
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

pub(crate) struct Ground {
    pub(crate) network: Network,
    folder: Folder,
    programs: PathBuf,
    reservoir: Arc<Reservoir>,
}

/// Removed when dropped, unless it shall be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

// === impl Ground ===

impl Ground {
    /// With so many nodes, and room for so many MiB.
    pub(crate) async fn prepare(options: &Options, nodes: u8, need_mib: u64) -> anyhow::Result<Self> {
        // First the network: making it ends what a former run left running in its folder.
        let network = Network::create(nodes).await?;
        let folder = Folder::create(&place(options, need_mib)?, options.keep)?;
        let wanted = congestion_control()?;
        for namespace in [network.ctl()].into_iter().chain(network.nodes()) {
            namespace.inside(move || Ok(std::fs::write(CONGESTION_CONTROL, wanted)?)).await?;
        }
        let reservoir = tokio::task::spawn_blocking(move || Reservoir::fill(need_mib)).await??;
        Ok(Self { network, folder, programs: options.programs()?, reservoir: Arc::new(reservoir) })
    }

    /// Before a sample: what the one before has freed is at hand again, for all sides alike.
    pub(crate) async fn refill(&self) -> anyhow::Result<()> {
        let reservoir = self.reservoir.clone();
        Ok(tokio::task::spawn_blocking(move || reservoir.refill()).await?)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    pub(crate) fn ctl(&self) -> &Namespace {
        self.network.ctl()
    }

    pub(crate) fn node(&self, number: usize) -> &Namespace {
        &self.network.nodes()[number]
    }

    /// Dragonfly on these nodes, with one origin, its stores in a subfolder.
    pub(crate) fn setting(&self, origin: SocketAddr, nodes: &[Namespace]) -> anyhow::Result<Setting> {
        let folder = self.folder().join("dragonfly");
        std::fs::create_dir_all(&folder)?;
        Ok(Setting {
            folder,
            programs: self.programs.clone(),
            ctl: self.ctl().clone(),
            home: Home::first(self.ctl()),
            seed: None,
            behind: Vec::new(),
            nodes: nodes.to_vec(),
            origins: vec![format!("http://{origin}")],
            ca_certs: Vec::new(),
            intercept: Vec::new(),
            verbose: false,
        })
    }
}

/// A port in a namespace, as others of the network reach it.
pub(crate) fn at(namespace: &Namespace, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(namespace.address), port)
}

/// cubic where a namespace may choose it, else reno, which is the same as long as nothing is lost; whatever this machine
/// has as its default: bbr paces, even on loopback.
pub(crate) fn congestion_control() -> anyhow::Result<&'static str> {
    let path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
    let allowed = std::fs::read_to_string(path).context("no congestion control")?;
    Ok(if allowed.split_whitespace().any(|name| name == "cubic") { "cubic" } else { "reno" })
}

/// In memory, so that no disk is measured; on disk where that would leave the machine too little.
pub(crate) fn place(options: &Options, need_mib: u64) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &options.folder {
        return Ok(folder.canonicalize()?);
    }
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    let available_mib = available.trim().trim_end_matches(" kB").parse::<u64>()? / 1024;
    let mount = rustix::fs::statvfs(MEMORY);
    let room_mib = mount.map(|mount| mount.f_bavail * mount.f_frsize / (1024 * 1024)).unwrap_or(0);
    if available_mib >= need_mib + MEMORY_LEFT_MIB && room_mib > need_mib {
        return Ok(MEMORY.into());
    }
    eprintln!("bench: {need_mib} MiB are too much for memory ({available_mib} MiB available): the data lies in {DISK}");
    Ok(DISK.into())
}

/// For a row that only reads: on a real file system, whose page cache a node reads from. tmpfs is another thing there:
/// it refuses `RWF_NOWAIT`, which sends every read of a hit to another thread.
pub(crate) fn on_disk(options: &Options) -> Options {
    Options { folder: options.folder.clone().or_else(|| Some(DISK.into())), ..options.clone() }
}

/// What kind of file system that is.
pub(crate) fn file_system(place: &Path) -> String {
    let kind = rustix::fs::statfs(place).map(|stat| stat.f_type as u64).unwrap_or(0);
    let known = [(0xef53, "ext4"), (0x0102_1994, "tmpfs"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs")];
    let name = known.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("file system {kind:#x}"))
}

// === impl Folder ===

impl Folder {
    fn create(parent: &Path, keep: bool) -> anyhow::Result<Self> {
        for place in [Path::new(MEMORY), Path::new(DISK), parent] {
            remove_leftovers(place)?;
        }
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        Ok(Self { path: tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?.keep(), keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("bench: kept {}, until another bench begins", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("bench: {} stays until the next run: {error}", self.path.display());
        }
    }
}

/// Folders of runs that are no more.
fn remove_leftovers(parent: &Path) -> anyhow::Result<()> {
    if !parent.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.split('-').next());
        if let Some(run) = run
            && !Path::new("/proc").join(run).exists()
        {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
