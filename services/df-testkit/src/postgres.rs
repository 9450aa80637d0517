//! Debian's PostgreSQL: a server of its own for a test, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{Program, find_program, free_port};
use crate::wait::until;

/// A server on loopback whose user `postgres` needs no password; ends when dropped, with its data.
#[derive(Debug)]
pub struct Postgres {
    program: Option<Program>,
    port: u16,
    dir: TempDir,
}

const START_BOUND: Duration = Duration::from_secs(30);
/// Debian's server starts as no other; where the tests do not run as root, it is started as who they are.
const USER: &str = "postgres";

// === impl Postgres ===

impl Postgres {
    /// Is it installed?
    pub fn program_path() -> Option<PathBuf> {
        program("postgres")
    }

    pub async fn start() -> anyhow::Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        if rustix::process::geteuid().is_root() {
            let owned = Command::new("chown").arg(USER).arg(dir.path()).status()?;
            ensure!(owned.success(), "chown {USER}: {owned}");
        }
        let made = server_command("initdb")?
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(data(dir.path()))
            .output()
            .context("initdb does not start")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { program: None, port, dir };
        server.resume().await?;
        Ok(server)
    }

    /// `postgres://…`, of the database that every server has.
    pub fn url(&self) -> String {
        format!("{}/postgres", self.server_url())
    }

    /// `postgres://…` up to the name of the database.
    pub fn server_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    pub(crate) fn id_and_folder(&self) -> Option<(u32, &Path)> {
        Some((self.program.as_ref()?.id(), self.dir.path()))
    }

    /// Answers nobody until [`Postgres::thaw`], and keeps its connections.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.program.as_ref().context("it does not run")?.freeze()
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.program.as_ref().context("it does not run")?.thaw()
    }

    /// In order, whoever is connected.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut program) = self.program.take() else { return Ok(()) };
        let id = i32::try_from(program.id()).ok().and_then(Pid::from_raw).context("it has no id")?;
        kill_process(id, Signal::INT)?;
        until("PostgreSQL ends", START_BOUND, async || Ok(program.exited())).await.map(drop)
    }

    /// From one moment to the next, with what it has not written yet; its files stay.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// After [`Postgres::stop`] or [`Postgres::kill`], at the same address.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        // What is left of the former may take a moment to see that it is dead.
        let started = until("PostgreSQL starts", START_BOUND, async || Ok(self.try_resume().await.ok()));
        self.program = Some(started.await?);
        Ok(())
    }

    async fn try_resume(&self) -> anyhow::Result<Program> {
        let log = self.dir.path().join("postgres.log");
        let mut command = server_command("postgres")?;
        command.arg("-D").arg(data(self.dir.path())).args(["-p", &self.port.to_string(), "-h", "127.0.0.1"]);
        // Faster, and only as safe as a test needs it.
        command.args(["-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "max_connections=500"]);
        let mut program = Program::start("postgres", &mut command, &log)?;
        program.wait_for_port(([127, 0, 0, 1], self.port).into(), START_BOUND).await?;
        Ok(program)
    }
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn server_command(name: &str) -> anyhow::Result<Command> {
    let path = program(name).with_context(|| format!("{name} is missing (infra/scripts/setup.sh test)"))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(path));
    }
    // It becomes the server, unlike su, so that whoever ends it ends the server.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(path).current_dir("/");
    Ok(command)
}

/// Debian keeps the server out of the PATH, by version.
fn program(name: &str) -> Option<PathBuf> {
    let of_version =
        |version: std::fs::DirEntry| Some(version.path().join("bin").join(name)).filter(|path| path.exists());
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    find_program(name).or_else(|| versions.filter_map(of_version).max())
}
