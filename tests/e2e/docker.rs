//! Docker: dockerd with its own store of layers (Debian's 20.10), which knows a mirror of Docker Hub only, and with
//! containerd's (28.5), which reads `hosts.toml` for every other registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use df_testkit::{Image, Layer, Program, snippet, until};
use tests::cluster::only_environment;
use tests::netns::Namespace;

use crate::command::{go_tool, installed, path_with, run};
use crate::lab::Lab;
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const START_BOUND: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// Docker's own.
    Layers,
    Containerd,
}

/// Ends when dropped, and the containerd that it starts with it.
struct Dockerd {
    program: Program,
    socket: String,
    namespace: Namespace,
}

// === impl Store ===

impl Store {
    fn snippet(self) -> &'static str {
        match self {
            Store::Layers => "docker-daemon",
            Store::Containerd => "docker-daemon-store",
        }
    }

    /// dockerd, and where it looks for containerd.
    async fn programs(self) -> anyhow::Result<(PathBuf, String)> {
        Ok(match self {
            Store::Layers => (installed("dockerd")?, path_with(Path::new("/usr/sbin"))),
            Store::Containerd => {
                (go_tool("dockerd").await?.join("dockerd"), path_with(&go_tool("containerd-2.1").await?))
            }
        })
    }

    /// What `docker image inspect` calls `image`.
    fn id(self, image: &Image) -> &str {
        match self {
            Store::Layers => &image.config.digest,
            Store::Containerd => &image.top().digest,
        }
    }

    /// Docker's own knows no zstd before 23.
    fn image(self, seed: u64) -> anyhow::Result<Image> {
        let layers = [Layer::gzip(5 << 20), Layer::gzip(70_000)];
        Ok(match self {
            Store::Layers => Image::build(seed, &layers)?.in_docker_types().in_index(),
            Store::Containerd => Image::build(seed, &[&layers[..], &[Layer::zstd(9000)]].concat())?.in_index(),
        })
    }
}

// === impl Dockerd ===

impl Dockerd {
    /// As docs/clients.md says. Everything it writes is in `dir`; what it reads in /etc is ours too.
    async fn start(dir: &Path, node: &Node, store: Store, ca: &Path) -> anyhow::Result<Self> {
        let certs = dir.join("etc/certs.d").join(Upstream::Open.host());
        std::fs::create_dir_all(&certs)?;
        let url = Upstream::Open.url();
        std::fs::write(certs.join("hosts.toml"), snippet("containerd-hosts", &[("https://registry.example", &url)])?)?;
        let config = dir.join("daemon.json");
        std::fs::write(&config, snippet(store.snippet(), &[])?)?;
        let socket = dir.join("docker.sock").display().to_string();
        let (dockerd, path) = store.programs().await?;
        // The mounts of `ip netns exec` would leave no control groups in /sys, without which dockerd does not start.
        let mut command = Command::new("unshare");
        let namespace = &node.namespace.name;
        let script = "mount --bind \"/etc/netns/$0/hosts\" /etc/hosts && mkdir -p /etc/docker && \
             mount --bind \"$1/etc\" /etc/docker && shift && exec nsenter --net=\"/run/netns/$0\" \"$@\"";
        command.args(["--mount", "sh", "-c", script, namespace]).arg(dir).arg(dockerd);
        command.arg("--config-file").arg(&config).args(["--host", &format!("unix://{socket}")]);
        for (option, name) in [("--data-root", "root"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(dir.join(name));
        }
        // It pulls and runs nothing: no network of its own.
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]);
        let ca = ca.display().to_string();
        only_environment(&mut command, &[("PATH", &path), ("SSL_CERT_FILE", &ca)]);
        let mut program = Program::start("dockerd", &mut command, &dir.join("dockerd.log"))?;
        let ready = until("dockerd answers", START_BOUND, async || {
            ensure!(program.exited().is_none(), "dockerd ended:\n{}", program.log_tail());
            Ok(docker(&node.namespace, &socket, &["version"]).await.is_ok().then_some(()))
        });
        ready.await?;
        Ok(Self { program, socket, namespace: node.namespace.clone() })
    }

    async fn pull(&self, reference: &str, id: &str) -> anyhow::Result<()> {
        let docker = async |arguments: &[&str]| docker(&self.namespace, &self.socket, arguments).await;
        let pulled = docker(&["pull", "--quiet", reference]).await;
        pulled.with_context(|| format!("dockerd's log ends with:\n{}", self.program.log_tail()))?;
        let known = docker(&["image", "inspect", "--format", "{{.Id}}", reference]).await?;
        ensure!(known.trim() == id, "docker has another image than {id}: {known}");
        Ok(())
    }

    /// Ends with a signal that it passes on to its containerd.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.program.terminate(START_BOUND).await.map(drop)
    }
}

/// Docker's client, in the namespace of the dockerd behind `socket`.
async fn docker(namespace: &Namespace, socket: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let host = format!("unix://{socket}");
    let all = [&["--host", &host], arguments].concat();
    Ok(run(namespace, installed("docker")?, &all, &[("HOME", "/nonexistent")]).await?.out)
}

#[tokio::test]
async fn docker_pulls_through_the_mirror_with_either_store() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let both =
        [(Store::Layers, Upstream::Hub), (Store::Containerd, Upstream::Hub), (Store::Containerd, Upstream::Open)];
    for (seed, (store, upstream)) in (500..).zip(both) {
        let image = store.image(seed)?;
        let name = format!("library/docker:v{seed}");
        lab.push(&name, &image).await?;
        let registry = lab.registry(upstream)?;
        let mark = Mark::now(registry).await?;
        for (number, node) in lab.nodes.iter().enumerate() {
            let dir = lab.folder().join(format!("docker-{seed}-{number}"));
            let dockerd = Dockerd::start(&dir, node, store, &lab.upstreams()?.ca).await?;
            let reference = format!("{}/{name}", upstream.name());
            let pulled = dockerd.pull(&reference, store.id(&image)).await;
            pulled.with_context(|| format!("{store:?} from {upstream:?} on node {number}"))?;
            dockerd.stop().await?;
        }
        let traffic = Traffic::since(mark, registry).await?;
        for node in &lab.nodes {
            assert_eq!(traffic.bytes_to(node.address()), 0, "{store:?} from {upstream:?}: {traffic:#?}");
        }
        traffic.assert_each_blob_once(&image);
    }
    Ok(())
}
