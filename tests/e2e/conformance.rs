//! The conformance suite of the OCI distribution specification, against the mirror in front of Debian's registry: what
//! it finds right at the registry itself, it finds right at the mirror.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use df_testkit::process::{Program, find_program};
use df_testkit::{DockerRegistry, Image, Layer, free_port, push_image, skip};

use crate::command::{BOUND, go_tool};
use crate::mirror::Mirror;

const REPOSITORY: &str = "conformance/one";
/// With nothing that is left out, and nothing that a mirror does not do.
const SETTINGS: [(&str, &str); 6] = [
    ("OCI_TLS", "disabled"),
    ("OCI_VERSION", "1.1"),
    ("OCI_REPO2", "conformance/two"),
    ("OCI_API_BLOBS_DELETE", "false"),
    ("OCI_API_MANIFESTS_DELETE", "false"),
    ("OCI_API_TAGS_DELETE", "false"),
];

/// What the suite has found.
struct Run {
    /// How many tests of each name pass: several may bear one, and the suite runs those in any order.
    passes: BTreeMap<String, usize>,
    /// What it says of those that fail.
    failures: String,
}

/// A registry and a mirror of it on loopback.
struct Pair {
    registry: DockerRegistry,
    mirror: Mirror,
    folder: tempfile::TempDir,
}

// === impl Pair ===

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let registry = DockerRegistry::start(folder.path(), loopback()?, None).await?;
        let mirror = Mirror::start(&folder.path().join("dfdaemon"), &registry.base_url()).await?;
        Ok(Self { registry, mirror, folder })
    }

    async fn run(&self, address: SocketAddr, repository: &str, more: &[(&str, &str)]) -> anyhow::Result<Run> {
        run_suite(self.folder.path(), address, repository, more).await
    }
}

fn loopback() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

async fn run_suite(folder: &Path, address: SocketAddr, repository: &str, more: &[(&str, &str)]) -> anyhow::Result<Run> {
    let suite = go_tool("conformance").await?.join("conformance");
    let mut command = tokio::process::Command::new(suite);
    command.envs(SETTINGS).envs(more.iter().copied()).env("OCI_REPO1", repository);
    command.env("OCI_REGISTRY", address.to_string()).env("OCI_RESULTS_DIR", folder.join("results"));
    // It fails where the registry does.
    let output = command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(BOUND, output).await.context("the suite does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut passes = BTreeMap::new();
    for line in said.lines() {
        let name = line.trim().strip_prefix("OCI Conformance Test/").and_then(|line| line.strip_suffix(": Pass"));
        if let Some(name) = name {
            // Tests are named after the repository, too.
            *passes.entry(name.replace(repository, REPOSITORY)).or_default() += 1;
        }
    }
    let failures = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!passes.is_empty(), "nothing passes: {said}{failures}");
    Ok(Run { passes, failures })
}

/// That of each name as many pass at the mirror, and `least` of all.
fn assert_no_worse(registry: &Run, mirror: &Run, least: usize) {
    let worse = registry.passes.iter().filter(|(name, passes)| mirror.passes.get(*name).unwrap_or(&0) < *passes);
    let worse: Vec<_> = worse.map(|(name, _)| name).collect();
    assert!(worse.is_empty(), "fewer pass than at the registry of {worse:?}: {}", mirror.failures);
    assert!(mirror.passes.values().sum::<usize>() >= least, "{:?}", mirror.passes);
}

/// Whoever reads is sent to the mirror, whoever writes to the registry, so that the suite pulls what it has pushed.
fn start_front(folder: &Path, pair: &Pair) -> anyhow::Result<(Program, SocketAddr)> {
    let address = loopback()?;
    let (registry, mirror) = (pair.registry.address(), pair.mirror.daemon.local_addr);
    let folder = folder.join("front");
    std::fs::create_dir(&folder)?;
    // One process: a worker would outlive a master that is killed, and hold what it has inherited.
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log; events {{}}\n\
         http {{ access_log off; client_max_body_size 0; client_body_temp_path body; proxy_temp_path proxy;\n\
         fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         map $request_method $by_method {{ GET {mirror}; HEAD {mirror}; default {registry}; }}\n\
         map $uri $to {{ ~/uploads/ {registry}; default $by_method; }}\n\
         server {{ listen {address}; proxy_http_version 1.1;\n\
         location / {{ proxy_set_header Host $http_host; proxy_pass http://$to; }} }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
    Ok((Program::start("nginx", &mut command, &folder.join("error.log"))?, address))
}

fn missing() -> bool {
    let missing = ["docker-registry", "nginx"].into_iter().find(|program| find_program(program).is_none());
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed: `just setup test`"));
    }
    missing.is_some()
}

/// Its own content: sha512, layers of no bytes, nested indexes, artifacts, media types nobody knows, large manifests.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_suite_pushes_is_pulled_through_the_mirror_as_from_the_registry() {
    if missing() {
        return;
    }
    let pair = Pair::start().await.unwrap();
    let (mut front, address) = start_front(pair.folder.path(), &pair).unwrap();
    front.wait_for_port(address, std::time::Duration::from_secs(20)).await.unwrap();
    let at_registry = pair.run(pair.registry.address(), "conformance/direct", &[]).await.unwrap();
    let at_mirror = pair.run(address, REPOSITORY, &[]).await.unwrap();
    assert_no_worse(&at_registry, &at_mirror, 200);
    pair.mirror.end().await;
}

/// As a registry that nobody writes to, for clients that know no `ns`.
#[tokio::test(flavor = "multi_thread")]
async fn the_read_only_suite_passes_by_default_registry_and_by_path() {
    if missing() {
        return;
    }
    let pair = Pair::start().await.unwrap();
    let image = Image::build(7, &[Layer::gzip(5 << 20), Layer::zstd(9000), Layer::empty()]).unwrap().in_index();
    push_image(&pair.registry.base_url(), REPOSITORY, "v1", &image).await.unwrap();
    let digests = |blobs: &mut dyn Iterator<Item = &df_testkit::Blob>| {
        blobs.map(|blob| blob.digest.as_str()).collect::<Vec<_>>().join(" ")
    };
    let (manifests, blobs) = (digests(&mut image.manifests()), digests(&mut image.all_blobs()));
    let data = [
        ("OCI_API_PUSH", "false"),
        ("OCI_RO_DATA_TAGS", "v1"),
        ("OCI_RO_DATA_MANIFESTS", &manifests),
        ("OCI_RO_DATA_BLOBS", &blobs),
    ];
    let at_registry = pair.run(pair.registry.address(), REPOSITORY, &data).await.unwrap();
    let in_path = format!("{}/{REPOSITORY}", pair.registry.address().to_string().replace(':', "_"));
    for repository in [REPOSITORY, &in_path] {
        let at_mirror = pair.run(pair.mirror.daemon.local_addr, repository, &data).await.unwrap();
        assert_no_worse(&at_registry, &at_mirror, 14);
    }
    pair.mirror.end().await;
}
