//! What documents tell people to type works: README's blocks ```` ```sh platform ```` are run, in order, in one shell,
//! against a platform as `just run` starts it; those of docs/api.md, and a script for Dragonfly's own manager, against a
//! manager. Only addresses are replaced, and the file from the internet.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use df_client::http_client;
use df_testkit::process::find_program;
use df_testkit::{Content, FakeOrigin, FakeRegistry, Image, Layer, RegistryAccess, random_bytes, skip};
use standalone::{Options, Standalone};
use tests::running_manager::start_manager;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// What README downloads.
const FILE_URL: &str = "https://example.com/file.tar";
const FILE_BYTES: usize = 3 * 1024 * 1024;

/// The blocks of a kind as one script that stops at the first failure.
fn script(document: &str, kind: &str) -> String {
    let begin = format!("```sh {kind}\n");
    let blocks = document.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
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
    let script = script(&readme, "platform")
        .replace("localhost:8080", &platform.manager_addr.to_string())
        .replace("localhost:65001", &platform.peers[0].local_addr.to_string())
        .replace(FILE_URL, &origin.url("file.tar"))
        .replace("target/debug", &programs.display().to_string());
    let said = run(Command::new("bash").args(["-c", &script]).current_dir(folder.path())).await;
    stop.cancel();
    platform.stopped().await;
    let said = said?;
    ensure!(said.contains("\"cluster-1\""), "no cluster is listed:\n{said}");
    let fetched = std::fs::metadata(folder.path().join("file.tar"))?;
    ensure!(fetched.len() == FILE_BYTES as u64, "dfget wrote {} bytes", fetched.len());
    Ok(())
}

/// All that it says; an error when it fails.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{}:\n{said}", output.status);
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_api_work() -> anyhow::Result<()> {
    if find_program("curl").is_none() {
        skip("curl is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (address, stop) = start_manager(folder.path()).await?;
    let _stop = stop.drop_guard();
    let document = std::fs::read_to_string(tests::root().join("docs/api.md"))?;
    let lines = script(&document, "manager");
    ensure!(lines.lines().filter(|line| line.contains("curl ")).count() == 10, "ten lines:\n{lines}");
    let lines = lines.replace("localhost:8080", &address.to_string());
    let said = run(Command::new("bash").args(["-c", &lines])).await?;
    for part in
        [r#""load_limit":500"#, "rel=next", r#""token":"dfj_"#, r#""actor_name":"root/ci""#, r#""name":"alice""#]
    {
        ensure!(said.contains(part), "no {part} in\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_for_the_incumbents_manager_works_unchanged() -> anyhow::Result<()> {
    if let Some(missing) = ["curl", "python3"].into_iter().find(|program| find_program(program).is_none()) {
        skip(&format!("{missing} is not installed"));
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (address, stop) = start_manager(folder.path()).await?;
    let _stop = stop.drop_guard();
    let mut script = Command::new(tests::root().join("tests/readme/incumbent.sh"));
    let said = run(script.env("MANAGER", format!("http://{address}"))).await?;
    ensure!(said.ends_with("all of it works\n"), "{said}");
    Ok(())
}

/// And what it has preheated is not asked of its registry again.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_for_the_incumbents_preheats_works_unchanged() -> anyhow::Result<()> {
    if let Some(missing) = ["curl", "python3"].into_iter().find(|program| find_program(program).is_none()) {
        skip(&format!("{missing} is not installed"));
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let registry = FakeRegistry::start(RegistryAccess::Open).await?;
    let image = Image::build(1, &[Layer::gzip(500_000), Layer::zstd(500_000)])?.in_index();
    registry.add("team/app", "v1", &image);
    registry.origin().put("file.tar", Content::new(random_bytes(7, FILE_BYTES)));
    let stop = CancellationToken::new();
    let options = Options { allow: vec![registry.base_url()], ..Options::new(folder.path()) };
    let platform = Standalone::start(options, stop.clone()).await?;
    let mut script = Command::new(tests::root().join("tests/readme/incumbent_preheat.sh"));
    script.env("MANAGER", format!("http://{}", platform.manager_addr));
    script.env("IMAGE", format!("{}/v2/team/app/manifests/v1", registry.base_url()));
    let said = run(script.env("FILE", registry.origin().url("file.tar"))).await?;
    ensure!(said.ends_with("all of it works\n"), "{said}");
    for layer in &image.layers {
        let sent = || registry.blob_stats("team/app", &layer.digest).bytes;
        ensure!(sent() == layer.size_bytes(), "{} bytes of {} left the registry", sent(), layer.size_bytes());
        for peer in &platform.peers {
            let path = format!("/v2/team/app/blobs/{}?ns={}", layer.digest, registry.address());
            let answer = http_client().get(format!("http://{}{path}", peer.local_addr)).send().await?;
            ensure!(answer.bytes().await? == layer.bytes, "other bytes");
        }
        ensure!(sent() == layer.size_bytes(), "it was asked again");
    }
    stop.cancel();
    platform.stopped().await;
    Ok(())
}
