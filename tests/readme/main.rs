//! What README.md tells people to type works: its blocks ```` ```sh platform ```` are run, in order, in one shell, against
//! a platform as `just run` starts it. Only addresses are replaced, and the file from the internet.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use df_testkit::process::find_program;
use df_testkit::{Content, FakeOrigin, random_bytes, skip};
use standalone::{Options, Standalone};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// What README downloads.
const FILE_URL: &str = "https://example.com/file.tar";
const FILE_BYTES: usize = 3 * 1024 * 1024;

/// The blocks as one script that stops at the first failure.
fn script(readme: &str) -> String {
    let blocks = readme.split("```sh platform\n").skip(1).filter_map(|rest| rest.split("```").next());
    format!("set -euo pipefail\n{}", blocks.collect::<String>())
}

/// Programs that Cargo built beside this test.
fn programs() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    test.ancestors().nth(2).map(PathBuf::from).context("this test lies in no target folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_readme_tells_to_type_works() -> anyhow::Result<()> {
    let programs = programs()?;
    if find_program("curl").is_none() || !programs.join("dfget").is_file() {
        skip("curl is not installed, or dfget is not built: just build");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let origin = FakeOrigin::start().await?;
    origin.put("file.tar", Content::new(random_bytes(7, FILE_BYTES)));
    let stop = CancellationToken::new();
    let options = Options { allow: vec![origin.base_url()], ..Options::new(folder.path().join("platform")) };
    let platform = Standalone::start(options, stop.clone()).await?;
    let readme = std::fs::read_to_string(tests::root().join("README.md"))?;
    let script = script(&readme)
        .replace("localhost:8080", &platform.manager_addr.to_string())
        .replace("localhost:65001", &platform.peers[0].local_addr.to_string())
        .replace(FILE_URL, &origin.url("file.tar"))
        .replace("target/debug", &programs.display().to_string());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = shell.output().await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    stop.cancel();
    platform.stopped().await;
    ensure!(output.status.success(), "{}:\n{said}", output.status);
    ensure!(said.contains("\"cluster-1\""), "no cluster is listed:\n{said}");
    let fetched = std::fs::metadata(folder.path().join("file.tar"))?;
    ensure!(fetched.len() == FILE_BYTES as u64, "dfget wrote {} bytes", fetched.len());
    Ok(())
}
