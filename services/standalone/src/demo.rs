//! `dragonfly demo`: one image, pulled twice, and where its bytes came from.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use df_api::TaskId;
use df_api::dfdaemon::ReceivedBytes;
use df_testkit::{DockerRegistry, Image, Layer, push_image};
use dfdaemon::Dfdaemon;
use standalone::{Options, Standalone};
use tokio_util::sync::CancellationToken;

use crate::pull::{Pulled, Puller, Reference};
use crate::table;

/// The image of the project's walk.
const IMAGE: &str = "ghcr.io/dragonflyoss/dragonfly2/scheduler:v2.0.5";
const MIB: usize = 1024 * 1024;
/// Made on the spot where the internet cannot be reached: 84 MiB that do not compress.
const LAYER_BYTES: [usize; 5] = [48 * MIB, 24 * MIB, 8 * MIB, 3 * MIB, MIB];

/// The console's usual address.
const CONSOLE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

pub struct Demo {
    /// End after the table.
    pub exit: bool,
    pub image: Option<String>,
}

/// Where the image comes from; a local registry lives as long as this.
struct Source {
    reference: Reference,
    registry: Option<DockerRegistry>,
}

/// One line of the table.
pub struct Row {
    pub who: String,
    pub received: ReceivedBytes,
    pub took: Option<Duration>,
    pub verified: bool,
}

// === impl Demo ===

impl Demo {
    /// `Ok` only when every digest matched, the origin sent each blob once, and the second pull took nothing from it.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let dir = tempfile::Builder::new().prefix("dragonfly-demo-").tempdir()?;
        let source = Source::find(dir.path(), self.image.as_deref()).await?;
        let mut options = Options::new(dir.path().join("platform"));
        options.manager_listen = console_address().await;
        if let Some(registry) = &source.registry {
            options.allow = vec![registry.base_url()];
        }
        let platform = Standalone::start(options, stop.clone()).await?;
        println!("Console   http://localhost:{}  (root / dragonfly)", platform.manager_addr.port());
        source.fill().await?;
        println!("Image     {}\n", source.reference);
        let outcome = pull_twice(&platform, &source).await;
        if !self.exit && outcome.is_ok() {
            println!("\nThe console is running: http://localhost:{}", platform.manager_addr.port());
            println!("Mirror of peer 1: http://{}    Ctrl-C ends it.", platform.peers[0].local_addr);
            stop.cancelled().await;
        }
        stop.cancel();
        platform.stopped().await;
        outcome
    }
}

async fn pull_twice(platform: &Standalone, source: &Source) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut blobs = Vec::new();
    for (number, peer) in platform.peers.iter().take(2).enumerate() {
        let puller = Puller::new(format!("http://{}", peer.local_addr), source.reference.clone())?;
        let Pulled { blobs: pulled, took } = puller.pull().await?;
        let what = ["cold", "hit"][number];
        let received = received(peer, &pulled)?;
        rows.push(Row { who: format!("peer {} ({what})", number + 1), received, took: Some(took), verified: true });
        blobs = pulled;
    }
    let seed = received(&platform.seed, &blobs)?;
    rows.push(Row { who: "seed peer".to_owned(), received: seed, took: None, verified: true });
    let total: u64 = blobs.iter().map(|(_, length)| length).sum();
    table::print(&rows, blobs.len(), total);

    let from_origin: u64 = rows.iter().map(|row| row.received.origin_bytes).sum();
    ensure!(from_origin == total, "the origin sent {from_origin} bytes for {total} bytes of blobs");
    ensure!(rows[1].received.origin_bytes == 0, "the second pull took bytes from the origin");
    source.check(&blobs)?;
    println!(
        "\nEvery digest matched; the origin sent each blob once; the second pull took none of it from the origin."
    );
    Ok(())
}

/// What a daemon received for these blobs, by source.
fn received(daemon: &Dfdaemon, blobs: &[(String, u64)]) -> anyhow::Result<ReceivedBytes> {
    let mut sum = ReceivedBytes::default();
    for (digest, _) in blobs {
        let id: TaskId = digest.trim_start_matches("sha256:").parse()?;
        let Some(task) = daemon.peer.task(&id) else { continue };
        let received = task.received();
        sum.origin_bytes += received.origin_bytes;
        sum.seed_bytes += received.seed_bytes;
        sum.peer_bytes += received.peer_bytes;
    }
    Ok(sum)
}

/// 8080 where it is free.
async fn console_address() -> SocketAddr {
    match tokio::net::TcpListener::bind(CONSOLE).await {
        Ok(_) => CONSOLE,
        Err(_) => SocketAddr::new(CONSOLE.ip(), 0),
    }
}

// === impl Source ===

impl Source {
    async fn find(dir: &Path, image: Option<&str>) -> anyhow::Result<Self> {
        let reference = Reference::parse(image.unwrap_or(IMAGE))?;
        if image.is_some() || reachable(&reference.registry).await {
            return Ok(Self { reference, registry: None });
        }
        println!(
            "{} cannot be reached from here: using a local registry with an image made on the spot.",
            reference.registry
        );
        DockerRegistry::program_path().context(
            "docker-registry is missing: `just setup demo` installs it (Debian: apt-get install docker-registry)",
        )?;
        let address = SocketAddr::from(([127, 0, 0, 1], df_testkit::free_port()?));
        let registry = DockerRegistry::start(dir, address, None).await?;
        let reference = Reference {
            registry: registry.address().to_string(),
            repository: "demo/image".to_owned(),
            tag: "v1".to_owned(),
        };
        Ok(Self { reference, registry: Some(registry) })
    }

    /// Puts the image into the local registry.
    async fn fill(&self) -> anyhow::Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let image = tokio::task::spawn_blocking(|| Image::build(1, &LAYER_BYTES.map(Layer::tar))).await??;
        push_image(&registry.base_url(), &self.reference.repository, &self.reference.tag, &image).await
    }

    /// The local registry's own log must agree: each blob's bytes once.
    fn check(&self, blobs: &[(String, u64)]) -> anyhow::Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let accesses = registry.accesses()?;
        for (digest, length) in blobs {
            let of_blob = |access: &&df_testkit::docker_registry::Access| {
                access.method == "GET" && access.path.ends_with(&format!("/blobs/{digest}"))
            };
            let sent: u64 = accesses.iter().filter(of_blob).map(|access| access.bytes).sum();
            ensure!(sent == *length, "the registry's log has {sent} bytes sent of {digest}, which has {length}");
        }
        Ok(())
    }
}

async fn reachable(registry: &str) -> bool {
    let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(3));
    let Ok(client) = client.build() else { return false };
    client
        .get(format!("https://{registry}/v2/"))
        .send()
        .await
        .is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 401))
}
