//! A server with a core of its own. Ended when dropped.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::Duration;

use df_testkit::{Program, free_port};

use crate::options::Options;

pub(crate) struct Pinned {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

const START_BOUND: Duration = Duration::from_secs(30);

// === impl Pinned ===

impl Pinned {
    /// This program itself, as one that does next to nothing: see `nothing.rs`.
    pub(crate) async fn nothing(what: &str) -> anyhow::Result<Self> {
        let address = loopback()?;
        let own = std::env::current_exe()?;
        let listen = address.to_string();
        Self::start(tempfile::tempdir()?, address, &[own.as_os_str(), what.as_ref(), listen.as_ref()], "/").await
    }

    /// A program of ours, with this configuration.
    pub(crate) async fn ours(
        options: &Options,
        name: &str,
        config: impl FnOnce(&tempfile::TempDir, SocketAddr) -> serde_json::Value,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = loopback()?;
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config(&folder, address).to_string())?;
        let path = tests::program(&options.programs()?, name)?;
        Self::start(folder, address, &[path.as_os_str(), "--config".as_ref(), file.as_os_str()], "/readyz").await
    }

    async fn start(
        folder: tempfile::TempDir,
        address: SocketAddr,
        command: &[&OsStr],
        ready: &str,
    ) -> anyhow::Result<Self> {
        let mut pinned = std::process::Command::new("taskset");
        tests::cluster::only_environment(&mut pinned, &[]);
        pinned.args(["--cpu-list", "0"]).args(command);
        let mut program = Program::start("server", &mut pinned, &folder.path().join("log"))?;
        program.wait_for_url(&format!("http://{address}{ready}"), START_BOUND).await?;
        Ok(Self { program, address, _folder: folder })
    }
}

fn loopback() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}
