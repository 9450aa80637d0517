//! Clients that name the registry in the path: skopeo and podman (containers/image, as CRI-O), crane, oras, curl. They
//! pull from registries that everybody may read, with and without TLS, with and without tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_testkit::{Blob, Image, Layer, snippet, until};

use crate::command::{go_tool, installed, path_with, run};
use crate::lab::Lab;
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

pub(crate) const PUBLIC: &str = "library/tools";
const BOUND: Duration = Duration::from_secs(60);
/// Those that let in everybody, the last two of them only with a token.
const UPSTREAMS: [Upstream; 4] = [Upstream::Open, Upstream::Secure, Upstream::Token, Upstream::Hub];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    Skopeo,
    Podman,
    Crane,
    Oras,
    Curl,
}

/// One pull by a tool, on a node, into a folder of its own.
pub(crate) struct Pull<'a> {
    pub(crate) tool: Tool,
    pub(crate) node: &'a Node,
    pub(crate) upstream: Upstream,
    pub(crate) repository: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) image: &'a Image,
    pub(crate) folder: PathBuf,
    /// The authority that the machine trusts besides.
    pub(crate) ca: &'a Path,
    /// `user:password`, as docs/clients.md says where to put it.
    pub(crate) login: Option<&'a str>,
}

// === impl Tool ===

impl Tool {
    pub(crate) const ALL: [Self; 5] = [Self::Skopeo, Self::Podman, Self::Crane, Self::Oras, Self::Curl];

    /// No two have a blob in common; of a kind that the tool takes.
    fn image(self, seed: u64) -> anyhow::Result<Image> {
        let layers = [Layer::gzip(5 << 20), Layer::tar(70_000)];
        match self {
            Tool::Podman => Ok(Image::build(seed, &layers)?.in_docker_types().in_index()),
            Tool::Curl => Image::build(seed, &[&layers[..], &[Layer::zstd(100)]].concat()),
            // containerd refuses to ask for nothing; these do.
            _ => Ok(Image::build(seed, &[&layers[..], &[Layer::zstd(9000), Layer::empty()]].concat())?.in_index()),
        }
    }
}

// === impl Pull ===

impl Pull<'_> {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        match self.tool {
            Tool::Skopeo => self.skopeo().await,
            Tool::Podman => self.podman().await,
            Tool::Crane => self.shell(["crane", "crane-login"], &go_tool("crane").await?).await,
            Tool::Oras => self.shell(["oras", "oras-login"], &go_tool("oras").await?).await,
            Tool::Curl => self.curl().await,
        }
    }

    fn reference(&self) -> String {
        format!("{}/{}:{}", self.upstream.name(), self.repository, self.tag)
    }

    fn registries_conf(&self) -> anyhow::Result<String> {
        let told = format!("location = \"{}\"", self.upstream.name());
        let mirror = format!("127.0.0.1:65001/{}", self.upstream.path_name());
        let replaced =
            [("location = \"registry.example\"", told.as_str()), ("127.0.0.1:65001/registry.example", &mirror)];
        let file = self.folder.join("registries.conf");
        std::fs::write(&file, snippet("registries-conf", &replaced)?)?;
        Ok(file.display().to_string())
    }

    /// The option that names the auth file of docs/clients.md.
    fn authentication(&self, option: &str) -> anyhow::Result<Vec<String>> {
        let Some(login) = self.login else { return Ok(Vec::new()) };
        let (mirror, login) = (format!("127.0.0.1:65001/{}", self.upstream.path_name()), STANDARD.encode(login));
        let replaced = [("127.0.0.1:65001/registry.example", mirror.as_str()), ("dXNlcjpwYXNzd29yZA==", &login)];
        let file = self.folder.join("auth.json");
        std::fs::write(&file, snippet("containers-auth", &replaced)?)?;
        Ok(vec![option.to_owned(), file.display().to_string()])
    }

    async fn skopeo(&self) -> anyhow::Result<()> {
        let login = self.authentication("--src-authfile")?;
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        let conf = self.registries_conf()?;
        let target = self.folder.join("image");
        let (from, to) = (format!("docker://{}", self.reference()), format!("dir:{}", target.display()));
        let arguments = [&["--registries-conf", &conf, "copy", "--quiet"], &login[..], &[&from, &to]].concat();
        run(&self.node.namespace, installed("skopeo")?, &arguments, &[]).await?;
        holds_blobs(self.image.blobs(), |_, hex| target.join(hex))
    }

    async fn podman(&self) -> anyhow::Result<()> {
        let login = self.authentication("--authfile")?;
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        let conf = self.registries_conf()?;
        let folder = self.folder.display().to_string();
        let (root, state) = (format!("{folder}/root"), format!("{folder}/state"));
        let ours = ["--root", &root, "--runroot", &state, "--tmpdir", &state, "--storage-driver", "vfs"];
        let environment = [("CONTAINERS_REGISTRIES_CONF", conf.as_str()), ("HOME", &folder)];
        let podman = async |arguments: &[&str]| {
            run(&self.node.namespace, installed("podman")?, &[&ours, arguments].concat(), &environment).await
        };
        podman(&[&["pull", "--quiet"], &login[..], &[&self.reference()]].concat()).await?;
        let known = podman(&["image", "inspect", "--format", "sha256:{{.Id}}", &self.reference()]).await?;
        ensure!(known.out.trim() == self.image.config.digest, "podman has another image: {}", known.out);
        Ok(())
    }

    /// What the document says to type, without a login or with one, which leaves an OCI layout in `app`.
    async fn shell(&self, [open, private]: [&str; 2], programs: &Path) -> anyhow::Result<()> {
        let host = format!("127.0.0.1:65001/{}/", self.upstream.path_name());
        let image = format!("{}:{}", self.repository, self.tag);
        let replaced = [("127.0.0.1:65001/registry.example/", host.as_str()), ("team/app:v1", &image)];
        self.type_in(if self.login.is_some() { private } else { open }, &replaced, &path_with(programs)).await?;
        holds_blobs(self.image.all_blobs(), |algorithm, hex| self.folder.join("app/blobs").join(algorithm).join(hex))
    }

    async fn curl(&self) -> anyhow::Result<()> {
        let layer = self.image.layers.first().context("an image without layers")?;
        let read = |name: &str| std::fs::read(self.folder.join(name)).with_context(|| format!("no {name}"));
        let blob = format!("{}/blobs/{}", self.repository, layer.digest);
        let path = path_with(Path::new("/usr/bin"));
        if self.login.is_some() {
            let scope = format!("{}/{}:pull", self.upstream.path_name(), self.repository);
            let in_path = format!("{}/{blob}", self.upstream.path_name());
            let replaced = [
                ("registry.example/team/app:pull", scope.as_str()),
                ("registry.example/team/app/blobs/sha256:…", &in_path),
            ];
            self.type_in("curl-login", &replaced, &path).await?;
            ensure!(read("blob")? == layer.bytes, "curl got other bytes");
            return Ok(());
        }
        let replaced = [("registry.example", self.upstream.name()), ("team/app/blobs/sha256:…", &blob)];
        self.type_in("curl", &replaced, &path).await?;
        ensure!(read("blob")? == layer.bytes, "curl got other bytes");
        ensure!(read("part")? == layer.bytes[1000..2000], "curl got another part");
        ensure!(read("resumed")? == layer.bytes, "curl resumed with other bytes");
        // The others are read too, so that every blob is asked for.
        for blob in self.image.blobs() {
            let (repository, ns) = (self.repository, self.upstream.name());
            let url = format!("http://127.0.0.1:65001/v2/{repository}/blobs/{}?ns={ns}", blob.digest);
            let file = self.folder.join("other");
            let arguments = ["-fsS", &url, "-o", &file.display().to_string()];
            run(&self.node.namespace, "curl", &arguments, &[]).await?;
            ensure!(std::fs::read(&file)? == blob.bytes, "curl got other bytes of {}", blob.digest);
        }
        Ok(())
    }

    /// A block of docs/clients.md.
    async fn type_in(&self, block: &str, replaced: &[(&str, &str)], path: &str) -> anyhow::Result<()> {
        let login = self.login.and_then(|login| login.split_once(':'));
        let login = login.map(|(user, password)| format!("user={user} password={password}"));
        let mut replaced = replaced.to_vec();
        replaced.extend(login.iter().map(|login| ("user=user password=password", login.as_str())));
        let folder = self.folder.display().to_string();
        let script = format!("set -eu\ncd {folder}\n{}", snippet(block, &replaced)?);
        let ca = self.ca.display().to_string();
        let environment = [("PATH", path), ("HOME", &folder), ("SSL_CERT_FILE", &ca)];
        run(&self.node.namespace, "sh", &["-c", &script], &environment).await.map(drop)
    }
}

/// Each of these is in the file of its digest, and right.
pub(crate) fn holds_blobs<'a>(
    blobs: impl Iterator<Item = &'a Blob>,
    file: impl Fn(&str, &str) -> PathBuf,
) -> anyhow::Result<()> {
    for blob in blobs {
        let (algorithm, hex) = blob.digest.split_once(':').context("no digest")?;
        let file = file(algorithm, hex);
        let bytes = std::fs::read(&file).with_context(|| format!("{} was not pulled", blob.digest))?;
        ensure!(bytes == blob.bytes, "{} has other bytes", file.display());
    }
    Ok(())
}

#[tokio::test]
async fn tools_that_name_the_registry_in_the_path_pull_what_is_public() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let mut seed = 300;
    for (tool, upstream) in Tool::ALL.into_iter().flat_map(|tool| UPSTREAMS.map(|upstream| (tool, upstream))) {
        seed += 1;
        let image = tool.image(seed)?;
        let tag = format!("v{seed}");
        lab.push(&format!("{PUBLIC}:{tag}"), &image).await?;
        let registry = lab.registry(upstream)?;
        let mark = Mark::now(registry).await?;
        for (number, node) in lab.nodes.iter().enumerate() {
            let folder = lab.folder().join(format!("{tool:?}-{upstream:?}-{number}"));
            let (repository, image, tag, login) = (PUBLIC, &image, tag.as_str(), None);
            let ca = &lab.upstreams()?.ca;
            let pull = Pull { tool, node, upstream, repository, tag, image, folder, ca, login };
            pull.run().await.with_context(|| format!("{tool:?} from {upstream:?} on node {number}"))?;
        }
        let traffic = Traffic::since(mark, registry).await?;
        for node in &lab.nodes {
            assert_eq!(traffic.bytes_to(node.address()), 0, "{tool:?} from {upstream:?}: {traffic:#?}");
        }
        match tool {
            Tool::Crane | Tool::Oras => traffic.assert_each_blob_of_all_platforms_once(&image),
            _ => traffic.assert_each_blob_once(&image),
        }
    }
    Ok(())
}

/// Nobody has the layer yet, and two of these tools do not resume.
#[tokio::test]
async fn tools_do_not_notice_a_seed_peer_that_dies_in_the_middle() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let folder = lab.folder().to_owned();
    let Lab { cluster: Some(cluster), faults: Some(faults), nodes, .. } = &mut lab else { bail!("no Dragonfly") };
    let image = Image::build(840, &[Layer::gzip(24 << 20), Layer::gzip(70_000)])?.in_docker_types().in_index();
    let layer = &image.layers[0];
    faults.registry.add(PUBLIC, "v840", &image);
    faults.change(PUBLIC, &layer.digest, |blob| blob.rate(12 << 20));
    let pull = async |tool, number: usize| {
        let folder = folder.join(format!("{tool:?}-faulty"));
        let (node, upstream, ca) = (&nodes[number], Upstream::Faulty, Path::new("/dev/null"));
        let (repository, tag, image, login) = (PUBLIC, "v840", &image, None);
        let pull = Pull { tool, node, upstream, repository, tag, image, folder, ca, login };
        pull.run().await.with_context(|| format!("{tool:?}"))
    };
    let sent = || faults.registry.blob_stats(PUBLIC, &layer.digest).bytes;
    let death = async {
        let third = layer.size_bytes() / 3;
        until("the seed peer has a third", BOUND, async || Ok((sent() > third).then_some(()))).await?;
        cluster.seed_peer.as_mut().context("no seed peer")?.kill();
        anyhow::Ok(())
    };
    let pulls =
        async { tokio::join!(pull(Tool::Skopeo, 0), pull(Tool::Crane, 0), pull(Tool::Podman, 1), pull(Tool::Oras, 1)) };
    let ((skopeo, crane, podman, oras), dead) = tokio::join!(pulls, death);
    dead.and(skopeo).and(crane).and(podman).and(oras)?;
    println!("the seed peer died: the registry sent {:.2} of the layer", sent() as f64 / layer.size_bytes() as f64);
    // None of them went to the registry itself.
    for name in faults.registry.origin().names() {
        let seen = faults.registry.origin().stats(&name);
        let daemon = |headers: &http::HeaderMap| headers["user-agent"].as_bytes().starts_with(b"dragonfly/");
        assert!(seen.headers.iter().all(daemon), "{name}: {seen:#?}");
    }
    Ok(())
}
