//! Docker: dockerd with its own store of layers (Debian's 20.10), which knows a mirror of Docker Hub only, and with
//! containerd's (28.5), which reads `hosts.toml` for every other registry.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_testkit::docker_registry::{Access, BASIC_PASSWORD, BASIC_USER};
use df_testkit::tls::Authority;
use df_testkit::{DockerRegistry, Image, Layer, Program, RegistryOptions, snippet, until};
use serde_json::json;
use tests::cluster::only_environment;
use tests::netns::Namespace;

use crate::command::{go_tool, installed, path_with, run};
use crate::lab::Lab;
use crate::node::{MIRROR, Node};
use crate::recorder::Recorder;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login};

const START_BOUND: Duration = Duration::from_secs(60);
/// As `docker login` calls it.
const HUB: &str = "https://index.docker.io/v1/";

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
    /// Where its client looks for logins.
    home: PathBuf,
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
    /// As docs/clients.md says.
    async fn start(dir: &Path, node: &Node, store: Store, ca: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, node, (store, &trusting(ca)), MIRROR, &hosts(node)?).await
    }

    /// Everything it writes is in `dir`; what it reads in /etc is ours too, `hosts` included.
    async fn start_with(
        dir: &Path,
        node: &Node,
        (store, environment): (Store, &[(String, String)]),
        mirror: &str,
        hosts: &str,
    ) -> anyhow::Result<Self> {
        let certs = dir.join("etc/certs.d").join(Upstream::Open.host());
        std::fs::create_dir_all(&certs)?;
        let url = Upstream::Open.url();
        std::fs::write(certs.join("hosts.toml"), snippet("containerd-hosts", &[("https://registry.example", &url)])?)?;
        std::fs::write(dir.join("hosts"), hosts)?;
        let config = dir.join("daemon.json");
        std::fs::write(&config, snippet(store.snippet(), &[(MIRROR, mirror)])?)?;
        let socket = dir.join("docker.sock").display().to_string();
        let (dockerd, path) = store.programs().await?;
        // The mounts of `ip netns exec` would leave no control groups in /sys, without which dockerd does not start.
        let mut command = Command::new("unshare");
        let namespace = &node.namespace.name;
        let script = "mount --bind \"$1/hosts\" /etc/hosts && mkdir -p /etc/docker && \
             mount --bind \"$1/etc\" /etc/docker && shift && exec nsenter --net=\"/run/netns/$0\" \"$@\"";
        command.args(["--mount", "sh", "-c", script, namespace]).arg(dir).arg(dockerd);
        command.arg("--config-file").arg(&config).args(["--host", &format!("unix://{socket}")]);
        for (option, name) in [("--data-root", "root"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(dir.join(name));
        }
        // It pulls and runs nothing: no network of its own.
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]);
        let given = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        only_environment(&mut command, &[("PATH", path.as_str())].into_iter().chain(given).collect::<Vec<_>>());
        let mut program = Program::start("dockerd", &mut command, &dir.join("dockerd.log"))?;
        let ready = until("dockerd answers", START_BOUND, async || {
            ensure!(program.exited().is_none(), "dockerd ended:\n{}", program.log_tail());
            Ok(docker(&node.namespace, &socket, dir, &["version"]).await.is_ok().then_some(()))
        });
        ready.await?;
        Ok(Self { program, socket, namespace: node.namespace.clone(), home: dir.to_owned() })
    }

    /// As `docker login` leaves it; `login` is `user:password`.
    fn log_in(&self, registry: &str, login: &str) -> anyhow::Result<()> {
        let logins = json!({ "auths": { registry: { "auth": STANDARD.encode(login) } } });
        std::fs::create_dir_all(self.home.join(".docker"))?;
        Ok(std::fs::write(self.home.join(".docker/config.json"), logins.to_string())?)
    }

    async fn pull(&self, reference: &str, id: &str) -> anyhow::Result<()> {
        let docker = async |arguments: &[&str]| docker(&self.namespace, &self.socket, &self.home, arguments).await;
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

/// What the node's /etc/hosts says.
fn hosts(node: &Node) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(Path::new("/etc/netns").join(&node.namespace.name).join("hosts"))?)
}

fn trusting(ca: &Path) -> [(String, String); 1] {
    [("SSL_CERT_FILE".to_owned(), ca.display().to_string())]
}

/// Docker's client, in the namespace of the dockerd behind `socket`.
async fn docker(namespace: &Namespace, socket: &str, home: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let (host, home) = (format!("unix://{socket}"), home.display().to_string());
    let all = [&["--host", &host], arguments].concat();
    Ok(run(namespace, installed("docker")?, &all, &[("HOME", &home)]).await?.out)
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

/// Docker shows the mirror what it would show Docker Hub.
#[tokio::test]
async fn docker_that_is_logged_in_to_hub_pulls_private_images_through_the_mirror() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (image, registry) = (Store::Layers.image(510)?, lab.registry(Upstream::Hub)?);
    lab.push("red/docker:v510", &image).await?;
    let mark = Mark::now(registry).await?;
    for (number, node) in lab.nodes.iter().enumerate() {
        let dir = lab.folder().join(format!("docker-510-{number}"));
        let dockerd = Dockerd::start(&dir, node, Store::Layers, &lab.upstreams()?.ca).await?;
        for wrong in [None, Some(login("blue"))] {
            wrong.as_ref().map_or(Ok(()), |login| dockerd.log_in(HUB, login))?;
            if dockerd.pull("docker.io/red/docker:v510", &image.config.digest).await.is_ok() {
                bail!("{wrong:?} has read what is red's");
            }
        }
        dockerd.log_in(HUB, &login("red"))?;
        dockerd.pull("docker.io/red/docker:v510", &image.config.digest).await?;
        dockerd.stop().await?;
    }
    let traffic = Traffic::since(mark, registry).await?;
    for node in &lab.nodes {
        assert_eq!(traffic.bytes_to(node.address()), 0, "{traffic:#?}");
    }
    traffic.assert_each_blob_once(&image);
    Ok(())
}

/// No mirror is shown the login of another registry than Docker Hub.
#[tokio::test]
async fn docker_pulls_private_images_of_any_registry_through_the_forward_proxy() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (upstream, right) = (Upstream::Basic, format!("{BASIC_USER}:{BASIC_PASSWORD}"));
    for (seed, store) in (530..).zip([Store::Layers, Store::Containerd]) {
        let image = store.image(seed)?;
        lab.push(&format!("red/docker:v{seed}"), &image).await?;
        let reference = format!("{}/red/docker:v{seed}", upstream.name());
        let mark = Mark::now(lab.registry(upstream)?).await?;
        for (number, node) in lab.nodes.iter().enumerate() {
            let ca = lab.cluster_ref()?.store_of(number).join("proxy-ca/ca.pem").display().to_string();
            let told = snippet("docker-proxy", &[("/var/lib/dragonfly/proxy-ca/ca.pem", &ca)])?;
            let lines = told.lines().filter_map(|line| line.split_once('='));
            let environment: Vec<_> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let dir = lab.folder().join(format!("docker-{seed}-{number}"));
            let dockerd = Dockerd::start_with(&dir, node, (store, &environment), MIRROR, &hosts(node)?).await?;
            for wrong in [None, Some("red:wrong")] {
                wrong.map_or(Ok(()), |login| dockerd.log_in(upstream.name(), login))?;
                if dockerd.pull(&reference, store.id(&image)).await.is_ok() {
                    bail!("{wrong:?} has read what is private");
                }
            }
            dockerd.log_in(upstream.name(), &right)?;
            let pulled = dockerd.pull(&reference, store.id(&image)).await;
            pulled.with_context(|| format!("{store:?} on node {number}"))?;
            dockerd.stop().await?;
        }
        let traffic = Traffic::since(mark, lab.registry(upstream)?).await?;
        assert_eq!(traffic.bytes_to(lab.nodes[1].address()), 0, "{store:?}: {traffic:#?}");
        traffic.assert_each_blob_once(&image);
    }
    Ok(())
}

/// The registry behind dfdaemon has lost a layer; Docker Hub, as dockerd reaches it, has all of the image.
#[tokio::test]
async fn a_layer_that_the_mirror_does_not_have_comes_from_hub_at_once() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (image, registry, node) = (Store::Layers.image(520)?, lab.registry(Upstream::Hub)?, &lab.nodes[0]);
    lab.push("library/docker:v520", &image).await?;
    let (hub, missing) = (tempfile::tempdir_in(lab.folder())?, &image.layers[0]);
    let data = lab.folder().join("docker-registry").display().to_string();
    run(&node.namespace, "cp", &["-r", &data, &hub.path().display().to_string()], &[]).await?;
    let hex = missing.digest.strip_prefix("sha256:").context("another digest")?;
    let link = format!("{data}/docker/registry/v2/repositories/library/docker/_layers/sha256/{hex}");
    std::fs::remove_dir_all(&link).with_context(|| format!("no {link}"))?;
    let (authority, address) = (Authority::new()?, SocketAddr::from((lab.network.test_address(), 443)));
    let tls = Some(authority.issue_for(&[Upstream::Hub.host()])?);
    let hub =
        DockerRegistry::start_with(hub.path(), address, RegistryOptions { tls, ..RegistryOptions::default() }).await?;

    let recorder = Recorder::start(&node.namespace).await?;
    let dir = lab.folder().join("docker-520");
    std::fs::create_dir(&dir)?;
    let ca = dir.join("hub-ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let others = hosts(node)?.replace(Upstream::Hub.host(), "");
    let known = format!("{others}\n{} {}\n", address.ip(), Upstream::Hub.host());
    let dockerd = Dockerd::start_with(&dir, node, (Store::Layers, &trusting(&ca)), Recorder::URL, &known).await?;
    let (before, mark) = (registry.accesses()?.len(), Mark::now(&hub).await?);
    dockerd.pull("docker.io/library/docker:v520", &image.config.digest).await?;
    dockerd.stop().await?;
    let seen = recorder.blobs();
    // Docker asks twice, back to back, before it pauses for seconds or goes to Hub: it does not pause.
    let asked: Vec<_> = seen.iter().filter(|blob| blob.path.ends_with(&missing.digest)).collect();
    assert!((1..=2).contains(&asked.len()) && asked.iter().all(|blob| blob.status == 404), "{seen:#?}");
    let lost = |access: &Access| access.path.ends_with(&missing.digest) && access.status == 404;
    Mark::now(registry).await?;
    assert!(registry.accesses()?.iter().skip(before).any(lost), "dfdaemon has not asked for it");
    assert_eq!(Traffic::since(mark, &hub).await?.bytes_of(&missing.digest), missing.size_bytes());
    Ok(())
}
