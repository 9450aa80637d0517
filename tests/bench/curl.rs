//! `curl -o` in a namespace: the client to beat.

use std::path::Path;

use anyhow::{Context, ensure};
use df_testkit::command_in;
use tests::netns::Namespace;

use crate::process::ended_children_cpu_seconds;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Curled {
    /// By its own clock, without the start of the process.
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// Downloads `url` into `file`, which is removed again.
pub(crate) async fn curl(namespace: &Namespace, url: &str, file: &Path, bytes: u64) -> anyhow::Result<Curled> {
    let mut command = command_in(Some(&namespace.name), "curl");
    // No configuration of the machine's own, no proxy.
    command.args(["-q", "--noproxy", "*", "-sSf", "-w", "%{time_total} %{size_download}", "-o"]).arg(file).arg(url);
    let before = ended_children_cpu_seconds()?;
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let cpu_seconds = ended_children_cpu_seconds()? - before;
    ensure!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let said = String::from_utf8(output.stdout)?;
    let (seconds, size) = said.split_once(' ').context("curl says something else")?;
    ensure!(size.parse() == Ok(bytes), "curl got {size} of {bytes} bytes");
    std::fs::remove_file(file)?;
    Ok(Curled { seconds: seconds.parse()?, cpu_seconds })
}
