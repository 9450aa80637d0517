//! The real dfget before a fake origin, without a daemon; with one, see `standalone`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Output;

use df_testkit::{Content, FakeOrigin, free_port, random_bytes, sha256_hex};

/// Runs dfget without a daemon; its output file is `dir/out`.
async fn dfget(origin: &FakeOrigin, dir: &Path, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dfget"));
    command.arg(origin.url("file")).arg("-O").arg(dir.join("out")).args(arguments);
    command.arg("--daemon").arg(format!("http://127.0.0.1:{}", free_port().unwrap()));
    command.env_remove("DFGET_DAEMON").env("RUST_BACKTRACE", "0");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn origin(content: Content) -> (FakeOrigin, tempfile::TempDir) {
    let origin = FakeOrigin::start().await.unwrap();
    origin.put("file", content);
    (origin, tempfile::tempdir().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_file_comes_whole_with_its_digest_checked() {
    let body = random_bytes(1, 5_000_000);
    let (origin, dir) = origin(Content::new(body.clone())).await;
    let digest = format!("sha256:{}", sha256_hex(&body));
    let output = dfget(&origin, dir.path(), &["--digest", &digest]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), body);
    assert!(said(&output).contains("no daemon"));
    assert_eq!(origin.stats("file").requests, 1);
}

#[tokio::test]
async fn a_wrong_digest_leaves_no_file() {
    let (origin, dir) = origin(Content::new(random_bytes(2, 100_000))).await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let output = dfget(&origin, dir.path(), &["--digest", &digest]).await;
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains(&digest));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_the_origin_does_not_have_is_exit_code_3() {
    let (origin, dir) = origin(Content::new("x").status_first(9, 404, None)).await;
    let output = dfget(&origin, dir.path(), &[]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("404"));
}

#[tokio::test]
async fn an_origin_that_is_gone_is_exit_code_4() {
    let (mut origin, dir) = origin(Content::new("x")).await;
    origin.stop().await;
    let output = dfget(&origin, dir.path(), &[]).await;
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
}

#[tokio::test]
async fn an_existing_file_is_kept_unless_told_otherwise() {
    let (origin, dir) = origin(Content::new("new")).await;
    std::fs::write(dir.path().join("out"), "old").unwrap();
    let output = dfget(&origin, dir.path(), &[]).await;
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("--overwrite"));
    assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), b"old");
    let output = dfget(&origin, dir.path(), &["--overwrite"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), b"new");
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let (origin, dir) = origin(Content::new("x")).await;
    let output = dfget(&origin, dir.path(), &["--digest", "sha256:abc"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("sha256:abc"));
}

#[tokio::test]
async fn a_length_that_nobody_told_is_no_trouble() {
    let body = random_bytes(3, 6_000_000);
    let (origin, dir) = origin(Content::new(body.clone()).without_length()).await;
    let output = dfget(&origin, dir.path(), &["--no-progress"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), body);
}
