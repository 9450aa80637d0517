//! A containerd of a node's own: its root, state, socket and `certs.d` are in the node's folder, and it pulls only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use df_testkit::{Program, command_in, until};
use tests::cluster::only_environment;

use crate::crictl::Crictl;

const START_BOUND: Duration = Duration::from_secs(30);
const STOP_BOUND: Duration = Duration::from_secs(10);

/// Ends when dropped. Its mounts are in the mount namespace of `ip netns exec` and go with it.
#[derive(Debug)]
pub(crate) struct Containerd {
    /// Absent while it is stopped.
    program: Option<Program>,
    dir: PathBuf,
    netns: String,
}

// === impl Containerd ===

impl Containerd {
    pub(crate) async fn start(dir: &Path, netns: &str, crictl: &Crictl) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("certs.d"))?;
        let snapshotter = if overlay_works(dir)? { "overlayfs" } else { "native" };
        std::fs::write(dir.join("containerd.toml"), configuration(dir, snapshotter))?;
        let mut containerd = Self { program: None, dir: dir.to_owned(), netns: netns.to_owned() };
        containerd.run(crictl).await?;
        Ok(containerd)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// containerd reads it anew at every pull.
    pub(crate) fn set_hosts(&self, registry: &str, hosts_toml: &str) -> anyhow::Result<()> {
        let folder = self.dir.join("certs.d").join(registry);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("hosts.toml"), hosts_toml)?)
    }

    /// A fresh disk: no image, no blob, no lease.
    pub(crate) async fn wipe(&mut self, crictl: &Crictl) -> anyhow::Result<()> {
        if let Some(program) = &mut self.program {
            program.terminate(STOP_BOUND).await?;
        }
        self.program = None;
        for folder in ["root", "state"] {
            std::fs::remove_dir_all(self.dir.join(folder))?;
        }
        self.run(crictl).await
    }

    async fn run(&mut self, crictl: &Crictl) -> anyhow::Result<()> {
        let mut command = command_in(Some(&self.netns), "containerd");
        command.arg("--config").arg(self.dir.join("containerd.toml"));
        only_environment(&mut command, &[]);
        let program = Program::start("containerd", &mut command, &self.dir.join("containerd.log"))?;
        let program = self.program.insert(program);
        let socket = self.dir.join("containerd.sock");
        let ready = until("containerd answers CRI", START_BOUND, async || {
            anyhow::ensure!(program.exited().is_none(), "containerd ended:\n{}", program.log_tail());
            Ok(crictl.is_ready(&socket).await.then_some(()))
        });
        ready.await
    }
}

/// In a container on overlayfs the kernel refuses another one on top; then whole copies must do.
fn overlay_works(dir: &Path) -> anyhow::Result<bool> {
    let probe = dir.join("overlay-probe");
    for folder in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir_all(probe.join(folder))?;
    }
    let mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged 2>/dev/null";
    let status = Command::new("unshare").args(["--mount", "sh", "-c", mount]).current_dir(&probe).status()?;
    std::fs::remove_dir_all(&probe)?;
    Ok(status.success())
}

/// Configuration version 2, which 1.6 to 2.x read. All paths are ours: by default some lie in `/opt` and `/run`.
fn configuration(dir: &Path, snapshotter: &str) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"

[grpc]
  address = "{dir}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/never-pulled"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{dir}/certs.d"
"#
    )
}
