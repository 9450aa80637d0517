//! The real dfget before a fake origin, without a daemon; with one, see `through`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;
mod documented;
mod effects;
mod https;
mod through;

use std::path::Path;
use std::process::Output;

use df_testkit::{Content, FakeOrigin, S3Server, free_port, random_bytes, sha256_hex};

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

#[tokio::test]
async fn headers_reach_the_origin_and_a_range_is_all_that_is_written() {
    let body = random_bytes(4, 3_000_000);
    let (origin, dir) = origin(Content::new(body.clone())).await;
    let output = dfget(&origin, dir.path(), &["-H", "X-Token: hidden", "--range", "1000-1999999", "--quiet"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output), "", "quiet");
    assert!(std::fs::read(dir.path().join("out")).unwrap() == body[1000..2_000_000]);
    assert!(origin.stats("file").headers.iter().all(|headers| headers["x-token"] == "hidden"));
}

#[tokio::test]
async fn what_cannot_be_typed_is_wrong_usage() {
    let (origin, dir) = origin(Content::new("x")).await;
    let (long_header, long_tag) = (format!("x-a: {}", "b".repeat(20_000)), "t".repeat(2000));
    for (option, value, named) in [
        ("--range", "9-1", "9-1"),
        ("--range", "bytes=0-1", "bytes=0-1"),
        ("--timeout", "soon", "soon"),
        ("--max-files", "0", "0"),
        ("--digest", "md5:abc", "md5:abc"),
        ("--piece-length", "7", "7"),
        ("--piece-length", "12345678", "12345678"),
        ("--header", "no colon", "no"),
        ("--header", "Host: elsewhere", "host"),
        ("--header", "a b: c", "a b"),
        ("--header", "x-a: \u{7f}", "x-a"),
        ("--header", &long_header, "16384"),
        ("--authorization", "Bearer a\nb", "cannot be sent"),
        ("--filtered-query-param", "a=b", "a=b"),
        ("--tag", &long_tag, "1024"),
        ("--application", &long_tag, "1024"),
    ] {
        let output = dfget(&origin, dir.path(), &[option, value]).await;
        assert_eq!(output.status.code(), Some(2), "{option} {value:?}: {}", said(&output));
        assert!(said(&output).contains(option) && said(&output).contains(named), "{option}: {}", said(&output));
    }
    for (half, missing) in [("--storage-access-key-id=half", "--storage-access-key-secret"), ("--prefetch", "--range")]
    {
        let output = dfget(&origin, dir.path(), &[half]).await;
        assert_eq!(output.status.code(), Some(2), "{half}: {}", said(&output));
        assert!(said(&output).contains(missing), "{half}: {}", said(&output));
    }
    for wrong in ["ftp://h/x", "nonsense", "https://user:hidden@h/x"] {
        let output = run(["-O", "out", wrong].map(str::to_owned).to_vec()).await;
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", said(&output));
    }
    let twice = dfget(&origin, dir.path(), &["-H", "x-a: b", "-H", "X-A: c"]).await;
    assert_eq!(twice.status.code(), Some(2));
    assert!(said(&twice).contains("x-a"), "{}", said(&twice));
    assert_eq!(origin.stats("file").requests, 0);
    assert!(!dir.path().join("out").exists());
}

#[tokio::test]
async fn json_has_an_object_per_file_and_one_for_all() {
    let (origin, dir) = origin(Content::new("hello")).await;
    let output = dfget(&origin, dir.path(), &["--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0]["bytes"].as_u64(), lines[0]["origin_bytes"].as_u64()), (Some(5), Some(5)));
    assert_eq!(lines[1], serde_json::json!({ "files": 1, "failed": 0, "bytes": 5 }));
}

/// Runs dfget without a daemon, with these arguments alone.
async fn run(arguments: Vec<String>) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dfget"));
    command.args(arguments).arg("--daemon").arg(format!("http://127.0.0.1:{}", free_port().unwrap()));
    command.env_remove("DFGET_DAEMON").env("RUST_BACKTRACE", "0");
    command.env("DFGET_STORAGE_ACCESS_KEY_ID", S3Server::ACCESS_KEY_ID);
    command.env("DFGET_STORAGE_ACCESS_KEY_SECRET", S3Server::ACCESS_KEY_SECRET);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_prefix_of_a_store_becomes_a_folder() {
    let (server, dir) = (S3Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    for key in ["dir/one", "dir/sub/two", "other"] {
        server.put("bucket", key, key.as_bytes()).unwrap();
    }
    let out = dir.path().join("out");
    let arguments = |max: &str| {
        let [out, endpoint] = [out.to_str().unwrap().to_owned(), server.endpoint()];
        let given = ["s3://bucket/dir/", "-r", "-O", &out, "--storage-endpoint", &endpoint, "--max-files", max];
        given.map(str::to_owned).to_vec()
    };
    let refused = run(arguments("1")).await;
    assert_ne!(refused.status.code(), Some(0));
    assert!(said(&refused).contains("more than 1"), "{}", said(&refused));
    assert!(!out.exists());
    let output = run(arguments("10")).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read(out.join("one")).unwrap(), b"dir/one");
    assert_eq!(std::fs::read(out.join("sub/two")).unwrap(), b"dir/sub/two");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
}

#[tokio::test]
async fn a_list_is_fetched_below_its_folder_and_nowhere_else() {
    let (origin, dir) = origin(Content::new("hello")).await;
    origin.put("second", Content::new("world"));
    let (list, out) = (dir.path().join("list"), dir.path().join("out"));
    let arguments = || ["--list", list.to_str().unwrap(), "-O", out.to_str().unwrap()].map(str::to_owned).to_vec();
    std::fs::write(&list, format!("{}\n{} ../escaped\n", origin.url("file"), origin.url("second"))).unwrap();
    let refused = run(arguments()).await;
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(!out.exists() && !dir.path().join("escaped").exists() && origin.stats("file").requests == 0);

    let lines = [origin.url("file"), format!("{} sub/x", origin.url("second")), origin.url("none")];
    std::fs::write(&list, lines.join("\n")).unwrap();
    let output = run(arguments()).await;
    assert_eq!(output.status.code(), Some(3), "one is not there: {}", said(&output));
    assert_eq!(std::fs::read(out.join("file")).unwrap(), b"hello");
    assert_eq!(std::fs::read(out.join("sub/x")).unwrap(), b"world");

    std::fs::remove_dir_all(&out).unwrap();
    std::fs::create_dir(&out).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), out.join("sub")).unwrap();
    let output = run(arguments()).await;
    assert!(said(&output).contains("symbolic link"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
