//! `crictl`, which speaks CRI to containerd as the kubelet does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

/// For one pull; crictl itself waits for ever.
const PULL_BOUND: Duration = Duration::from_secs(300);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/scripts/crictl.sh");

#[derive(Clone, Debug)]
pub(crate) struct Crictl {
    program: PathBuf,
}

// === impl Crictl ===

impl Crictl {
    /// Builds it when it is not there yet; the error is the script's reason why it cannot.
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let output = Command::new(SCRIPT).output().await.context("cannot run infra/scripts/crictl.sh")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(Self { program: String::from_utf8(output.stdout)?.trim().into() })
    }

    /// Does CRI answer?
    pub(crate) async fn is_ready(&self, socket: &Path) -> bool {
        self.run(socket, &["images", "--quiet"]).await.is_ok()
    }

    pub(crate) async fn pull(&self, socket: &Path, image: &str) -> anyhow::Result<()> {
        let pulled = tokio::time::timeout(PULL_BOUND, self.run(socket, &["pull", image])).await;
        pulled.with_context(|| format!("crictl pull {image} took more than {PULL_BOUND:?}"))??;
        Ok(())
    }

    /// What CRI knows of an image it holds.
    pub(crate) async fn inspect(&self, socket: &Path, image: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.run(socket, &["inspecti", "--output", "json", image]).await?)?)
    }

    async fn run(&self, socket: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let endpoint = format!("unix://{}", socket.display());
        let mut command = Command::new(&self.program);
        // A configuration of the machine's own runtime must not answer for ours.
        command.args(["--config", "/dev/null", "--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
        let output = command.args(arguments).kill_on_drop(true).output().await.context("cannot start crictl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "crictl {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}
