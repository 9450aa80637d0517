//! Clients that name the registry in the path: skopeo and podman (containers/image, as CRI-O), crane, oras, curl. They
//! pull from registries that everybody may read, with and without TLS, with and without tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use df_testkit::{Image, Layer, snippet};

use crate::command::{go_tool, installed, path_with, run};
use crate::lab::Lab;
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const REPOSITORY: &str = "library/tools";
/// Those that let in everybody, the last two of them only with a token.
const UPSTREAMS: [Upstream; 4] = [Upstream::Open, Upstream::Secure, Upstream::Token, Upstream::Hub];

#[derive(Clone, Copy, Debug)]
enum Tool {
    Skopeo,
    Podman,
    Crane,
    Oras,
    Curl,
}

/// One pull by a tool, on a node, into a folder of its own.
struct Pull<'a> {
    tool: Tool,
    node: &'a Node,
    upstream: Upstream,
    tag: &'a str,
    image: &'a Image,
    folder: PathBuf,
}

// === impl Tool ===

impl Tool {
    const ALL: [Self; 5] = [Self::Skopeo, Self::Podman, Self::Crane, Self::Oras, Self::Curl];

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
    async fn run(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        match self.tool {
            Tool::Skopeo => self.skopeo().await,
            Tool::Podman => self.podman().await,
            Tool::Crane => self.shell("crane", &go_tool("crane").await?).await,
            Tool::Oras => self.shell("oras", &go_tool("oras").await?).await,
            Tool::Curl => self.curl().await,
        }
    }

    fn reference(&self) -> String {
        format!("{}/{REPOSITORY}:{}", self.upstream.name(), self.tag)
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

    async fn skopeo(&self) -> anyhow::Result<()> {
        let conf = self.registries_conf()?;
        let target = self.folder.join("image");
        let (from, to) = (format!("docker://{}", self.reference()), format!("dir:{}", target.display()));
        let arguments = ["--registries-conf", &conf, "copy", "--quiet", &from, &to];
        run(&self.node.namespace, installed("skopeo")?, &arguments, &[]).await?;
        holds_blobs(&target, self.image)
    }

    async fn podman(&self) -> anyhow::Result<()> {
        let conf = self.registries_conf()?;
        let folder = self.folder.display().to_string();
        let (root, state) = (format!("{folder}/root"), format!("{folder}/state"));
        let ours = ["--root", &root, "--runroot", &state, "--tmpdir", &state, "--storage-driver", "vfs"];
        let environment = [("CONTAINERS_REGISTRIES_CONF", conf.as_str()), ("HOME", &folder)];
        let podman = async |arguments: &[&str]| {
            run(&self.node.namespace, installed("podman")?, &[&ours, arguments].concat(), &environment).await
        };
        podman(&["pull", "--quiet", &self.reference()]).await?;
        let known = podman(&["image", "inspect", "--format", "sha256:{{.Id}}", &self.reference()]).await?;
        ensure!(known.out.trim() == self.image.config.digest, "podman has another image: {}", known.out);
        Ok(())
    }

    /// What the document says to type, which leaves an OCI layout in `app`.
    async fn shell(&self, name: &str, programs: &Path) -> anyhow::Result<()> {
        let host = format!("127.0.0.1:65001/{}/", self.upstream.path_name());
        let image = format!("{REPOSITORY}:{}", self.tag);
        let replaced = [("127.0.0.1:65001/registry.example/", host.as_str()), ("team/app:v1", &image)];
        self.type_in(&snippet(name, &replaced)?, &path_with(programs)).await?;
        holds_blobs(&self.folder.join("app/blobs/sha256"), self.image)
    }

    async fn curl(&self) -> anyhow::Result<()> {
        let layer = self.image.layers.first().context("an image without layers")?;
        let blob = format!("{REPOSITORY}/blobs/{}", layer.digest);
        let replaced = [("registry.example", self.upstream.name()), ("team/app/blobs/sha256:…", &blob)];
        self.type_in(&snippet("curl", &replaced)?, &path_with(Path::new("/usr/bin"))).await?;
        let read = |name: &str| std::fs::read(self.folder.join(name)).with_context(|| format!("no {name}"));
        ensure!(read("blob")? == layer.bytes, "curl got other bytes");
        ensure!(read("part")? == layer.bytes[1000..2000], "curl got another part");
        ensure!(read("resumed")? == layer.bytes, "curl resumed with other bytes");
        // The others are read too, so that every blob is asked for.
        for blob in self.image.blobs() {
            let url =
                format!("http://127.0.0.1:65001/v2/{REPOSITORY}/blobs/{}?ns={}", blob.digest, self.upstream.name());
            let file = self.folder.join("other");
            let arguments = ["-fsS", &url, "-o", &file.display().to_string()];
            run(&self.node.namespace, "curl", &arguments, &[]).await?;
            ensure!(std::fs::read(&file)? == blob.bytes, "curl got other bytes of {}", blob.digest);
        }
        Ok(())
    }

    async fn type_in(&self, script: &str, path: &str) -> anyhow::Result<()> {
        let folder = self.folder.display().to_string();
        let script = format!("set -eu\ncd {folder}\n{script}");
        run(&self.node.namespace, "sh", &["-c", &script], &[("PATH", path), ("HOME", &folder)]).await.map(drop)
    }
}

/// Every blob of `image` is in `folder` under its hex digits, and right.
fn holds_blobs(folder: &Path, image: &Image) -> anyhow::Result<()> {
    for blob in image.blobs() {
        let file = folder.join(blob.digest.trim_start_matches("sha256:"));
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
        lab.push(&format!("{REPOSITORY}:{tag}"), &image).await?;
        let registry = lab.registry(upstream)?;
        let mark = Mark::now(registry).await?;
        for (number, node) in lab.nodes.iter().enumerate() {
            let folder = lab.folder().join(format!("{tool:?}-{upstream:?}-{number}"));
            let pull = Pull { tool, node, upstream, tag: &tag, image: &image, folder };
            pull.run().await.with_context(|| format!("{tool:?} from {upstream:?} on node {number}"))?;
        }
        let traffic = Traffic::since(mark, registry).await?;
        for node in &lab.nodes {
            assert_eq!(traffic.bytes_to(node.address()), 0, "{tool:?} from {upstream:?}: {traffic:#?}");
        }
        traffic.assert_each_blob_once(&image);
    }
    Ok(())
}
