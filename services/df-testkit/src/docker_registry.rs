//! Debian's `docker-registry`: the real upstream, and what it served according to its own access log.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::process::{Program, command_in, find_program};

const START_BOUND: Duration = Duration::from_secs(20);

/// Debian's `docker-registry` (2.8) over plain HTTP; ends when dropped, its data stays with the folder.
#[derive(Debug)]
pub struct DockerRegistry {
    program: Program,
    address: SocketAddr,
    access_log: PathBuf,
}

/// One answer of the registry, from its access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The client's address without port.
    pub client: String,
    pub method: String,
    /// Without the query.
    pub path: String,
    pub status: u16,
    /// Of the body, as far as the kernel took them.
    pub bytes: u64,
}

// === impl DockerRegistry ===

impl DockerRegistry {
    /// Is it installed?
    pub fn program_path() -> Option<PathBuf> {
        find_program("docker-registry")
    }

    /// Keeps images, configuration and logs in `dir`; in the network namespace `netns` when given.
    pub async fn start(dir: &Path, address: SocketAddr, netns: Option<&str>) -> anyhow::Result<Self> {
        Self::start_with(dir, address, netns, serde_json::json!({})).await
    }

    /// As [`DockerRegistry::start`], for `root` with the password `secret` only.
    pub async fn start_private(dir: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let passwords = dir.join("htpasswd");
        std::fs::write(&passwords, "root:$2a$05$r78.4ekWOADyvVTNq7zRceH7eG5nTtMGrVNFOEYu5t8hXOY2yts7q\n")?;
        let auth = serde_json::json!({ "htpasswd": { "realm": "df-testkit", "path": passwords } });
        Self::start_with(dir, address, None, auth).await
    }

    async fn start_with(
        dir: &Path,
        address: SocketAddr,
        netns: Option<&str>,
        auth: serde_json::Value,
    ) -> anyhow::Result<Self> {
        let config = dir.join("docker-registry.yaml");
        let access_log = dir.join("docker-registry.access.log");
        let log = dir.join("docker-registry.log");
        let data = dir.join("docker-registry");
        std::fs::create_dir_all(&data)?;
        let text = serde_json::json!({
            "version": "0.1",
            "log": { "level": "warn", "accesslog": { "disabled": false } },
            "storage": {
                "filesystem": { "rootdirectory": data },
                "cache": { "blobdescriptor": "inmemory" },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "auth": auth,
            "http": { "addr": address.to_string(), "secret": "df-testkit" },
        });
        std::fs::write(&config, text.to_string())?;
        // The access log is standard output, everything else standard error.
        let mut command = command_in(netns, "docker-registry");
        command.arg("serve").arg(&config);
        command.stdout(File::create(&access_log)?).stderr(File::options().create(true).append(true).open(&log)?);
        let mut program = Program::start_with("docker-registry", &mut command, &log)?;
        program.wait_for_port(address, START_BOUND).await?;
        Ok(Self { program, address, access_log })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// All answers since the start, without those still being sent.
    pub fn accesses(&self) -> anyhow::Result<Vec<Access>> {
        let log = std::fs::read_to_string(&self.access_log).context("the registry has no access log")?;
        Ok(log.lines().filter_map(parse_access).collect())
    }
}

/// `10.77.1.2 - - [time] "GET /v2/a/blobs/sha256:… HTTP/1.1" 200 1234 "" "containerd/1.6"` (Apache's combined log).
fn parse_access(line: &str) -> Option<Access> {
    let mut quoted = line.split('"');
    let (client, request, answer) = (quoted.next()?, quoted.next()?, quoted.next()?);
    let mut request = request.split(' ');
    let (method, target) = (request.next()?, request.next()?);
    let mut answer = answer.split_whitespace();
    Some(Access {
        client: client.split_whitespace().next()?.to_owned(),
        method: method.to_owned(),
        path: target.split('?').next()?.to_owned(),
        status: answer.next()?.parse().ok()?,
        bytes: answer.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, Layer};
    use crate::process::free_port;
    use crate::push::push_image;
    use crate::wait::until;

    #[test]
    fn a_line_of_the_access_log_is_read() {
        let line =
            r#"10.77.1.2 - - [21/Nov/2026:18:29:58 +0000] "GET /v2/a/b/blobs/sha256:83?ns=x HTTP/1.1" 206 90 "" "c/1""#;
        let access = parse_access(line).unwrap();
        assert_eq!((&*access.client, &*access.method, &*access.path), ("10.77.1.2", "GET", "/v2/a/b/blobs/sha256:83"));
        assert_eq!((access.status, access.bytes), (206, 90));
        assert_eq!(parse_access("nonsense"), None);
    }

    #[tokio::test]
    async fn a_real_registry_serves_what_was_pushed_and_logs_it() {
        if DockerRegistry::program_path().is_none() {
            crate::skip("docker-registry is missing (infra/scripts/setup.sh test)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let registry = DockerRegistry::start(dir.path(), address, None).await.unwrap();
        let image = Image::build(1, &[Layer::gzip(50_000), Layer::tar(10)]).unwrap().in_index();
        for _ in 0..2 {
            push_image(&registry.base_url(), "team/app", "v1", &image).await.unwrap();
        }
        let layer = &image.layers[0];
        let path = format!("/v2/team/app/blobs/{}", layer.digest);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(registry.base_url() + &path).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), layer.bytes);
        let logged = until("the GET is in the access log", Duration::from_secs(10), async || {
            Ok(registry.accesses()?.into_iter().find(|access| access.method == "GET"))
        });
        let expected = Access {
            client: "127.0.0.1".to_owned(),
            method: "GET".to_owned(),
            path,
            status: 200,
            bytes: layer.size_bytes(),
        };
        assert_eq!(logged.await.unwrap(), expected);
        let manifest = client.get(format!("{}/v2/team/app/manifests/v1", registry.base_url()));
        let manifest = manifest.header("accept", crate::image::INDEX_TYPE).send().await.unwrap();
        assert_eq!(manifest.headers()["docker-content-digest"], image.top().digest);
    }
}
