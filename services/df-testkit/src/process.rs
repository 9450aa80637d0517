//! Real programs for tests: started with a log file, waited for, and ended by their id, also when the test fails.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// How much of a program's log an error shows.
const TAIL_LINES: usize = 30;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

// === impl Program ===

impl Program {
    /// Standard output and error go to `log`, after what is there.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        Self::start_with(name, command.stdout(file.try_clone()?).stderr(file), log)
    }

    /// With standard output and error as `command` has them; `log` is what errors show.
    pub(crate) fn start_with(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let child =
            command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until something listens at `address`; an error shows the end of the log.
    pub async fn wait_for_port(&mut self, address: SocketAddr, bound: Duration) -> anyhow::Result<()> {
        self.wait(&format!("{address} is open"), bound, async || tokio::net::TcpStream::connect(address).await.is_ok())
            .await
    }

    /// Waits until `url` answers with a success; an error shows the end of the log.
    pub async fn wait_for_url(&mut self, url: &str, bound: Duration) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let good = async || client.get(url).send().await.is_ok_and(|response| response.status().is_success());
        self.wait(&format!("{url} answers"), bound, good).await
    }

    async fn wait(&mut self, what: &str, bound: Duration, mut ready: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let waited = until(what, bound, async || {
            if let Some(status) = self.exited() {
                bail!("{} ended with {status}", self.name);
            }
            Ok(ready().await.then_some(()))
        });
        waited.await.with_context(|| format!("{} does not come up; its log ends with:\n{}", self.name, self.log_tail()))
    }

    pub fn log_tail(&self) -> String {
        let text =
            std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// `SIGTERM`, and the status it ends with; killed when it has not ended within `bound`.
    pub async fn terminate(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot end a program")?;
        }
        let ended = until(&format!("{} ends", self.name), bound, async || Ok(self.exited())).await;
        if ended.is_err() {
            self.kill();
        }
        ended
    }

    /// `SIGSTOP` to it and to its children.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::STOP)
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::CONT)
    }

    fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        let own = Pid::from_child(&self.child);
        kill_process(own, signal)?;
        let children = format!("/proc/{0}/task/{0}/children", self.id());
        let children = std::fs::read_to_string(&children).with_context(|| format!("cannot read {children}"))?;
        for child in children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    /// `SIGKILL`, and gone when this returns.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `program`, in the network namespace when one is given. `ip` becomes the program: the id is the same.
pub fn command_in(netns: Option<&str>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    match netns {
        None => Command::new(program),
        Some(netns) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", netns]).arg(program);
            command
        }
    }
}

/// Where `name` is on `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A loopback port that was free a moment ago; for programs that cannot be told port 0.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_early_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let log = dir.path().join("log");
        let mut program = Program::start("sh", command.args(["-c", "echo no such thing; exit 3"]), &log).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let error = format!("{:?}", program.wait_for_port(address, Duration::from_secs(20)).await.unwrap_err());
        assert!(error.contains("no such thing") && error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn a_program_ends_when_told_and_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let sleep = || Program::start("sleep", Command::new("sleep").arg("1000"), &dir.path().join("log")).unwrap();
        let status = sleep().terminate(Duration::from_secs(10)).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));
        let dropped = sleep().id();
        assert!(!Path::new(&format!("/proc/{dropped}")).exists());
    }
}
