//! `crictl`, which speaks CRI to containerd as the kubelet does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{finish, go_tool};

#[derive(Clone, Debug)]
pub(crate) struct Crictl {
    program: PathBuf,
}

// === impl Crictl ===

impl Crictl {
    pub(crate) async fn find() -> anyhow::Result<Self> {
        Ok(Self { program: go_tool("crictl").await?.join("crictl") })
    }

    /// Does CRI answer?
    pub(crate) async fn is_ready(&self, socket: &Path) -> bool {
        self.run(socket, &["images", "--quiet"]).await.is_ok()
    }

    /// `login` is `user:password`.
    pub(crate) async fn pull(&self, socket: &Path, image: &str, login: Option<&str>) -> anyhow::Result<()> {
        let login = login.map(|login| ["--creds", login]);
        let arguments: Vec<&str> = ["pull"].into_iter().chain(login.into_iter().flatten()).chain([image]).collect();
        self.run(socket, &arguments).await.map(drop)
    }

    /// What CRI knows of an image it holds.
    pub(crate) async fn inspect(&self, socket: &Path, image: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.run(socket, &["inspecti", "--output", "json", image]).await?)?)
    }

    pub(crate) async fn remove(&self, socket: &Path, image: &str) -> anyhow::Result<()> {
        self.run(socket, &["rmi", image]).await.map(drop)
    }

    async fn run(&self, socket: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let endpoint = format!("unix://{}", socket.display());
        let mut command = Command::new(&self.program);
        // A configuration of the machine's own runtime must not answer for ours.
        command.args(["--config", "/dev/null", "--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
        Ok(finish(command.args(arguments)).await?.out)
    }
}
