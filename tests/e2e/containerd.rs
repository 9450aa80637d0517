//! A containerd of a node's own: its root, state, socket and `certs.d` are in the node's folder, and it pulls only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use df_testkit::{Program, command_in, snippet, until};
use tests::cluster::only_environment;

use crate::command::go_tool;
use crate::crictl::Crictl;
use crate::upstreams::CA_FILE;

const START_BOUND: Duration = Duration::from_secs(30);
const STOP_BOUND: Duration = Duration::from_secs(10);

/// Which containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// 1.6, of Debian 12.
    Debian,
    V1_7,
    V2_1,
    /// Asks for 1 MiB of a layer at a time, four times at once.
    V2_1Parallel,
    V2_3,
    /// These two cancel a pull that stands still for 20 s.
    V1_7Impatient,
    V2_1Impatient,
}

/// Ends when dropped. Its mounts are in the mount namespace of `ip netns exec` and go with it.
#[derive(Debug)]
pub(crate) struct Containerd {
    /// Absent while it is stopped.
    program: Option<Program>,
    /// Where `containerd` and `ctr` are; as on `PATH` without.
    programs: Option<PathBuf>,
    dir: PathBuf,
    netns: String,
}

// === impl Release ===

impl Release {
    fn tool(self) -> Option<&'static str> {
        match self {
            Release::Debian => None,
            Release::V1_7 | Release::V1_7Impatient => Some("containerd-1.7"),
            Release::V2_1 | Release::V2_1Parallel | Release::V2_1Impatient => Some("containerd-2.1"),
            Release::V2_3 => Some("containerd-2.3"),
        }
    }

    /// What docs/clients.md says, and paths of our own: by default some lie in `/opt` and `/run`.
    fn configuration(self, dir: &Path, snapshotter: &str) -> anyhow::Result<String> {
        let shown = dir.join("certs.d").display().to_string();
        let certs = ("/etc/containerd/certs.d", shown.as_str());
        let dir = dir.display();
        let head = format!("root = \"{dir}/root\"\nstate = \"{dir}/state\"\n");
        let ours = format!(
            "[grpc]\n  address = \"{dir}/containerd.sock\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{dir}/opt\"\n"
        );
        let patience = match self {
            Release::V1_7Impatient | Release::V2_1Impatient => "image_pull_progress_timeout = \"20s\"",
            _ => "",
        };
        Ok(match self {
            Release::Debian | Release::V1_7 | Release::V1_7Impatient => format!(
                r#"{head}{told}{ours}
[plugins."io.containerd.grpc.v1.cri"]
  {patience}
  sandbox_image = "registry.test/never-pulled"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni"
    conf_dir = "{dir}/cni"
"#,
                told = snippet("containerd-1", &[certs])?
            ),
            Release::V2_1 | Release::V2_1Parallel | Release::V2_1Impatient | Release::V2_3 => format!(
                r#"{head}{told}{parallel}{ours}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  {patience}
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "registry.test/never-pulled"
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{dir}/cni"]
  conf_dir = "{dir}/cni"
"#,
                told = snippet("containerd-2", &[certs])?,
                parallel = match self {
                    Release::V2_1Parallel => snippet("containerd-parallel", &[])?,
                    _ => String::new(),
                }
            ),
        })
    }
}

// === impl Containerd ===

impl Containerd {
    pub(crate) async fn start(dir: &Path, netns: &str, release: Release, crictl: &Crictl) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("certs.d"))?;
        let snapshotter = if overlay_works(dir)? { "overlayfs" } else { "native" };
        std::fs::write(dir.join("containerd.toml"), release.configuration(dir, snapshotter)?)?;
        let programs = match release.tool() {
            Some(tool) => Some(go_tool(tool).await?),
            None => None,
        };
        let mut containerd = Self { program: None, programs, dir: dir.to_owned(), netns: netns.to_owned() };
        containerd.run(crictl).await?;
        Ok(containerd)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// What `hosts.toml` files are in.
    pub(crate) fn certs_d(&self) -> PathBuf {
        self.dir.join("certs.d")
    }

    /// `containerd` or `ctr` of this release.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.as_ref().map_or_else(|| name.into(), |folder| folder.join(name))
    }

    /// containerd reads it anew at every pull.
    pub(crate) fn set_hosts(&self, registry: &str, hosts_toml: &str) -> anyhow::Result<()> {
        let folder = self.certs_d().join(registry);
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
        let mut command = command_in(Some(&self.netns), self.program("containerd"));
        command.arg("--config").arg(self.dir.join("containerd.toml"));
        // For token services: what `hosts.toml` says of a registry's authority is not for those of the mirror.
        let ca = self.dir.with_file_name(CA_FILE).display().to_string();
        only_environment(&mut command, &[("SSL_CERT_FILE", &ca)]);
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
