//! `curl -o` in a namespace: the client to beat. It checks nothing; a user who wants that hashes the file afterwards.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use df_testkit::command_in;
use sha2::{Digest as _, Sha256};
use tests::netns::Namespace;

use tests::process::{ended_children_cpu_seconds, thread_cpu_seconds};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// Downloads `url` into `file`; by curl's own clock, without the start of the process.
pub(crate) async fn curl(namespace: &Namespace, url: &str, file: &Path, bytes: u64) -> anyhow::Result<Took> {
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
    Ok(Took { seconds: seconds.parse()?, cpu_seconds })
}

/// Reads `file` for its SHA-256, as `openssl dgst` would.
pub(crate) fn hash(file: &Path) -> anyhow::Result<Took> {
    let (began, before) = (Instant::now(), thread_cpu_seconds());
    let (mut file, mut hash, mut buffer) = (File::open(file)?, Sha256::new(), vec![0; 256 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    std::hint::black_box(hash.finalize());
    Ok(Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: thread_cpu_seconds() - before })
}
