//! Clients are run in a node's network, with nothing of the machine's own environment, and within a bound.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use df_testkit::command_in;
use df_testkit::process::find_program;
use tests::cluster::only_environment;
use tests::netns::Namespace;
use tokio::process::Command;

/// For one pull; most clients would wait for ever.
pub(crate) const BOUND: Duration = Duration::from_secs(300);

/// What a client said, when it ended well.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `program` in `namespace`; the error is what it said.
pub(crate) async fn run(
    namespace: &Namespace,
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Said> {
    let mut command = command_in(Some(&namespace.name), &program);
    only_environment(&mut command, environment);
    finish(command.args(arguments)).await
}

/// Waits for it, and ends it when it takes too long.
pub(crate) async fn finish(command: &mut std::process::Command) -> anyhow::Result<Said> {
    let shown = format!("{command:?}");
    let mut command = Command::from(std::mem::replace(command, std::process::Command::new("true")));
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(BOUND, running).await.with_context(|| format!("{shown}: over {BOUND:?}"))?;
    let output = output.with_context(|| format!("{shown} cannot be started"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { out: text(output.stdout), err: text(output.stderr) };
    ensure!(output.status.success(), "{shown}: {}: {}{}", output.status, said.out.trim(), said.err.trim());
    Ok(said)
}

/// The folder of programs that `infra/scripts/go-tools.sh` builds when they are not there yet; the error is its reason
/// why it cannot.
pub(crate) async fn go_tool(name: &str) -> anyhow::Result<PathBuf> {
    let said = finish(std::process::Command::new(tests::root().join("infra/scripts/go-tools.sh")).arg(name)).await?;
    Ok(said.out.trim().into())
}

/// A program of Debian's.
pub(crate) fn installed(name: &str) -> anyhow::Result<PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed: infra/scripts/setup.sh test"))
}

/// `folder` before everything else that is searched for programs.
pub(crate) fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}
