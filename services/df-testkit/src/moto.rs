//! moto, which acts like Amazon's S3: another's understanding of the protocol than ours and that of the SDK.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, Response};
use tempfile::TempDir;

use crate::process::Program;
use crate::root::root;
use crate::wait::until;

/// A running moto; ends when dropped.
pub struct MotoServer {
    endpoint: String,
    http: Client,
    program: Program,
    _dir: TempDir,
}

const TOOLS: &str = "infra/scripts/py-tools.sh";
/// Python loads for seconds, on a machine that tests keep busy.
const START_BOUND: Duration = Duration::from_secs(60);

// === impl MotoServer ===

impl MotoServer {
    /// Where moto is, installed now if it was not; the error is why it cannot be.
    pub async fn folder() -> anyhow::Result<PathBuf> {
        let run = || Command::new(root().join(TOOLS)).arg("moto").output();
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await?.context(TOOLS)?;
        ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr).trim());
        Ok(String::from_utf8(stdout)?.trim().into())
    }

    /// On 127.0.0.1, any free port. It takes any key until [`MotoServer::demand_keys`].
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("python3");
        command.arg(folder.join("bin/moto_server")).args(["-H", "127.0.0.1", "-p", "0"]);
        command.env("PYTHONPATH", folder).env("PYTHONUNBUFFERED", "1").env_remove("PYTHONHOME");
        let mut program = Program::start("moto", &mut command, &dir.path().join("log"))?;
        let endpoint = until("moto says where it listens", START_BOUND, async || {
            ensure!(program.exited().is_none(), "moto has ended:\n{}", program.log_tail());
            let log = std::fs::read_to_string(program.log())?;
            let told = log.split_once("Running on ").and_then(|(_, rest)| rest.split_once('\n'));
            Ok(told.map(|(url, _)| url.trim().to_owned()))
        })
        .await?;
        let http = Client::builder().no_proxy().build()?;
        Ok(Self { endpoint, http, program, _dir: dir })
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where an object is, for a client without keys.
    pub fn url(&self, bucket: &str, key: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        format!("{}/{bucket}/{}", self.endpoint, key.bytes().map(escaped).collect::<String>())
    }

    pub async fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        good(self.http.put(format!("{}/{bucket}", self.endpoint)).send().await?)
    }

    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<reqwest::Body>) -> anyhow::Result<()> {
        good(self.http.put(self.url(bucket, key)).body(body).send().await?)
    }

    /// From now on only keys that its IAM knows are good, which are none.
    pub async fn demand_keys(&self) -> anyhow::Result<()> {
        good(self.http.post(format!("{}/moto-api/reset-auth", self.endpoint)).body("0").send().await?)
    }

    /// Request lines so far, with their queries.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = std::fs::read_to_string(self.program.log())?;
        Ok(log.lines().filter_map(|line| line.split('"').nth(1)).map(uncoloured).collect())
    }
}

/// Where Python finds colorama, moto's log has colours.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

fn good(answer: Response) -> anyhow::Result<()> {
    ensure!(answer.status().is_success(), "moto answered {} to {}", answer.status(), answer.url());
    Ok(())
}
