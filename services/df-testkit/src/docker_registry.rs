//! Debian's `docker-registry`: the real upstream, and what it served according to its own access log.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::process::{Program, command_in, find_program};
use crate::token_server::{self, TokenServer};

/// Whom a registry with Basic authentication knows.
pub const BASIC_USER: &str = "root";
pub const BASIC_PASSWORD: &str = "secret";
/// bcrypt of the above.
const HTPASSWD: &str = "root:$2a$05$r78.4ekWOADyvVTNq7zRceH7eG5nTtMGrVNFOEYu5t8hXOY2yts7q\n";
const START_BOUND: Duration = Duration::from_secs(20);

/// Debian's `docker-registry` (2.8) over plain HTTP; ends when dropped, its data stays with the folder.
#[derive(Debug)]
pub struct DockerRegistry {
    program: Program,
    address: SocketAddr,
    access_log: PathBuf,
    tls: bool,
}

/// How a registry is to be, besides open to everybody over plain HTTP.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions<'a> {
    pub netns: Option<&'a str>,
    pub auth: RegistryAuth<'a>,
    /// Certificate and key, as PEM.
    pub tls: Option<(String, String)>,
}

/// Whom it lets in.
#[derive(Clone, Copy, Debug, Default)]
pub enum RegistryAuth<'a> {
    #[default]
    Open,
    /// [`BASIC_USER`] with [`BASIC_PASSWORD`].
    Basic,
    /// Whoever has a token of this server, which clients find at this URL.
    Token { server: &'a TokenServer, realm: &'a str },
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
    /// `User-Agent`.
    pub agent: String,
}

// === impl DockerRegistry ===

impl DockerRegistry {
    /// Is it installed?
    pub fn program_path() -> Option<PathBuf> {
        find_program("docker-registry")
    }

    /// Open to everybody; keeps images, configuration and logs in `dir`; in the network namespace `netns` when given.
    pub async fn start(dir: &Path, address: SocketAddr, netns: Option<&str>) -> anyhow::Result<Self> {
        Self::start_with(dir, address, RegistryOptions { netns, ..RegistryOptions::default() }).await
    }

    /// As [`DockerRegistry::start`], for [`BASIC_USER`] with [`BASIC_PASSWORD`] only.
    pub async fn start_private(dir: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(dir, address, RegistryOptions { auth: RegistryAuth::Basic, ..RegistryOptions::default() })
            .await
    }

    /// Several in one `dir` share their images.
    pub async fn start_with(dir: &Path, address: SocketAddr, options: RegistryOptions<'_>) -> anyhow::Result<Self> {
        let file = |end: &str| dir.join(format!("docker-registry-{}.{end}", address.port()));
        let (config, access_log, log) = (file("yaml"), file("access.log"), file("log"));
        let data = dir.join("docker-registry");
        std::fs::create_dir_all(&data)?;
        let mut http = json!({ "addr": address.to_string(), "secret": "df-testkit" });
        if let Some((certificate, key)) = &options.tls {
            std::fs::write(file("cert.pem"), certificate)?;
            std::fs::write(file("key.pem"), key)?;
            http["tls"] = json!({ "certificate": file("cert.pem"), "key": file("key.pem") });
        }
        let text = json!({
            "version": "0.1",
            "log": { "level": "warn", "accesslog": { "disabled": false } },
            "storage": {
                "filesystem": { "rootdirectory": data },
                "cache": { "blobdescriptor": "inmemory" },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "auth": options.auth.settings(&file("auth"))?,
            "http": http,
        });
        std::fs::write(&config, text.to_string())?;
        // The access log is standard output, everything else standard error.
        let mut command = command_in(options.netns, "docker-registry");
        command.arg("serve").arg(&config);
        command.stdout(File::create(&access_log)?).stderr(File::options().create(true).append(true).open(&log)?);
        let mut program = Program::start_with("docker-registry", &mut command, &log)?;
        program.wait_for_port(address, START_BOUND).await?;
        Ok(Self { program, address, access_log, tls: options.tls.is_some() })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
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

// === impl RegistryAuth ===

impl RegistryAuth<'_> {
    /// What the configuration says; `file` is for what it refers to.
    fn settings(&self, file: &Path) -> anyhow::Result<Value> {
        Ok(match self {
            RegistryAuth::Open => json!({}),
            RegistryAuth::Basic => {
                std::fs::write(file, HTPASSWD)?;
                json!({ "htpasswd": { "realm": "df-testkit", "path": file } })
            }
            RegistryAuth::Token { server, realm } => {
                std::fs::write(file, server.certificate_pem())?;
                let (service, issuer) = (token_server::SERVICE, token_server::ISSUER);
                json!({ "token": { "realm": realm, "service": service, "issuer": issuer, "rootcertbundle": file } })
            }
        })
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
        // Behind the quoted referrer.
        agent: quoted.nth(2).unwrap_or_default().to_owned(),
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
        assert_eq!((access.status, access.bytes, &*access.agent), (206, 90, "c/1"));
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
        let client = reqwest::Client::builder().no_proxy().user_agent("test").build().unwrap();
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
            agent: "test".to_owned(),
        };
        assert_eq!(logged.await.unwrap(), expected);
        let manifest = client.get(format!("{}/v2/team/app/manifests/v1", registry.base_url()));
        let manifest = manifest.header("accept", crate::image::INDEX_TYPE).send().await.unwrap();
        assert_eq!(manifest.headers()["docker-content-digest"], image.top().digest);
    }
}
