//! Debian's MariaDB: a server of its own for a test, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::process::{Program, find_program, free_port};
use crate::wait::until;

/// A server on loopback whose user `root` needs no password; ends when dropped, with its data.
#[derive(Debug)]
pub struct MariaDb {
    program: Option<Program>,
    port: u16,
    dir: TempDir,
}

const START_BOUND: Duration = Duration::from_secs(60);

// === impl MariaDb ===

impl MariaDb {
    /// Is it installed?
    pub fn program_path() -> Option<PathBuf> {
        // Not in every user's PATH.
        find_program("mariadbd").or_else(|| Some("/usr/sbin/mariadbd".into()).filter(|path: &PathBuf| path.exists()))
    }

    pub async fn start() -> anyhow::Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let mut install = Command::new("mariadb-install-db");
        install.arg("--no-defaults").args(options(dir.path()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        // Two at once take each other's tables in a folder that they share.
        install.env("TMPDIR", dir.path());
        let made = tokio::task::spawn_blocking(move || install.output()).await?;
        let made = made.context("mariadb-install-db does not start (infra/scripts/setup.sh test)")?;
        ensure!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { program: None, port, dir };
        server.resume().await?;
        Ok(server)
    }

    /// `mysql://…` up to the name of the database.
    pub fn server_url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    pub(crate) fn id_and_folder(&self) -> Option<(u32, &Path)> {
        Some((self.program.as_ref()?.id(), self.dir.path()))
    }

    /// In order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut program) = self.program.take() else { return Ok(()) };
        program.terminate(START_BOUND).await.map(drop)
    }

    /// Answers nobody until [`MariaDb::thaw`], and keeps its connections.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.program.as_ref().context("it does not run")?.freeze()
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.program.as_ref().context("it does not run")?.thaw()
    }

    /// After [`MariaDb::stop`], at the same address.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let started = until("MariaDB starts", START_BOUND, async || Ok(self.try_resume().await.ok()));
        self.program = Some(started.await?);
        Ok(())
    }

    async fn try_resume(&self) -> anyhow::Result<Program> {
        let program = Self::program_path().context("mariadbd is missing (infra/scripts/setup.sh test)")?;
        let mut command = Command::new(program);
        command.arg("--no-defaults").args(options(self.dir.path()));
        command.args([&format!("--port={}", self.port), "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.arg(format!("--socket={}", self.dir.path().join("socket").display()));
        // Faster, and only as safe as a test needs it.
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--max-connections=500"]);
        let mut program = Program::start("mariadbd", &mut command, &self.dir.path().join("mariadb.log"))?;
        program.wait_for_port(([127, 0, 0, 1], self.port).into(), START_BOUND).await?;
        Ok(program)
    }
}

/// Where its data are, and that it may run as root where the tests do.
fn options(dir: &Path) -> Vec<String> {
    let mut options = vec![format!("--datadir={}", dir.join("data").display()), "--innodb-log-file-size=8M".to_owned()];
    if rustix::process::geteuid().is_root() {
        options.push("--user=root".to_owned());
    }
    options
}
