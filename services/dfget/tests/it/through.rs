//! dfget through a real daemon, over its unix socket.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use df_testkit::{Content, FakeOrigin, Program, SmallDisk, random_bytes, sha256_hex, until};
use serde_json::Value;

use crate::daemon::{Daemon, start};

const BOUND: Duration = Duration::from_secs(60);

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn what_was_fetched_is_on_the_node_and_can_be_seen_and_removed() {
    let body = random_bytes(1, 3_000_000);
    let (origin, daemon, url) = start(Content::new(body.clone())).await;
    for name in ["one", "two"] {
        assert_eq!(daemon.told(&[&url, "-O", name, "--tag", "t"]).await, "");
        assert!(std::fs::read(daemon.path(name)).unwrap() == body);
    }
    assert_eq!(origin.stats("file").requests, 1);
    let listed = objects(&daemon.told(&["ls", "--json"]).await);
    assert_eq!((listed.len(), &listed[0]["url"], &listed[0]["tag"]), (1, &Value::from(url.as_str()), &"t".into()));
    let id = listed[0]["id"].as_str().unwrap();
    for named in [&["stat", id, "--json"][..], &["stat", &url, "--tag", "t", "--json"]] {
        assert_eq!(objects(&daemon.told(named).await), listed, "{named:?}");
    }
    let table = daemon.told(&["ls"]).await;
    assert!(table.starts_with("ID ") && table.contains(id) && table.contains("complete"), "{table}");
    assert!(daemon.told(&["stat", id]).await.contains(&url));
    assert_eq!(daemon.refused(&["stat", &url]).await.0, 3, "without the tag it is another task");
    assert_eq!(daemon.refused(&["stat", &format!("{url}?X-Amz-Signature=a")]).await.0, 2, "only its id names it");

    daemon.told(&["rm", &url, "--tag", "t"]).await;
    assert_eq!(daemon.told(&["ls", "--json"]).await, "");
    let (code, said) = daemon.refused(&["rm", id]).await;
    assert!(code == 3 && said.contains(id), "{said}");
}

#[tokio::test]
async fn a_file_is_imported_and_exported_by_its_digest_or_id() {
    let daemon = Daemon::start(&[]).await;
    let body = random_bytes(2, 5_000_000);
    std::fs::write(daemon.path("in"), &body).unwrap();
    let digest = format!("sha256:{}", sha256_hex(&body));
    assert_eq!(daemon.told(&["import", "in"]).await, format!("{digest}\n"));
    assert_eq!(daemon.told(&["import", "in"]).await, format!("{digest}\n"), "twice is once");
    let line = objects(&daemon.told(&["import", "in", "--json"]).await).remove(0);
    let id = line["task_id"].as_str().unwrap();
    for (name, out) in [(digest.as_str(), "by-digest"), (id, "by-id")] {
        let told = objects(&daemon.told(&["export", name, "-O", out, "--json"]).await);
        assert_eq!(told[0]["bytes"], 5_000_000);
        assert!(std::fs::read(daemon.path(out)).unwrap() == body);
    }
    let (code, said) = daemon.refused(&["export", &digest, "--tag", "other", "-O", "none"]).await;
    assert!(code == 3 && said.contains("nobody in this cluster has it"), "{said}");
    let (code, said) = daemon.refused(&["export", &digest, "-O", "by-id"]).await;
    assert!(code == 6 && said.contains("--overwrite"), "{said}");
    daemon.told(&["export", &digest, "-O", "by-id", "--overwrite"]).await;
    std::fs::create_dir(daemon.path("folder")).unwrap();
    for (unreadable, why) in [("missing", "No such file"), ("folder", "not a regular file")] {
        let (code, said) = daemon.refused(&["import", unreadable]).await;
        assert!(code == 6 && said.contains(unreadable) && said.contains(why), "{said}");
    }
    for wrong in ["nonsense", "sha256:ab", "ftp://h/x"] {
        let (code, said) = daemon.refused(&["export", wrong, "-O", "none"]).await;
        assert!(code == 2 && said.contains(wrong), "{said}");
    }
    assert!(!Path::new(&daemon.path("none")).exists());
}

#[tokio::test]
async fn without_a_daemon_it_is_said_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = format!("unix:{}/none.sock", dir.path().display());
    std::fs::write(dir.path().join("in"), "x").unwrap();
    let hex = "ab".repeat(32);
    for line in [
        &["ls"][..],
        &["stat", &hex],
        &["rm", &hex],
        &["export", &hex, "-O", "out"],
        &["import", "in"],
        &["https://127.0.0.1:1/x", "-O", "out", "--disable-origin"],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfget"));
        command.current_dir(dir.path()).args(line).args(["--daemon", &daemon]);
        let output = crate::daemon::run(command).await;
        let said = crate::said(&output);
        assert_eq!(output.status.code(), Some(4), "{line:?}: {said}");
        assert!(said.contains(&daemon) && said.contains("start dfdaemon"), "{line:?}: {said}");
    }
    assert_eq!(names(dir.path()), ["in"]);
}

#[tokio::test]
async fn with_the_origin_disabled_it_is_not_asked() {
    let (origin, daemon, url) = start(Content::new("x")).await;
    let (code, said) = daemon.refused(&[&url, "-O", "out", "--disable-origin"]).await;
    assert!(code == 3 && said.contains("origin"), "{said}");
    assert!(origin.stats("file").requests == 0 && !Path::new(&daemon.path("out")).exists());
    daemon.told(&[&url, "-O", "out"]).await;
    daemon.told(&[&url, "-O", "out", "--disable-origin", "--overwrite"]).await;
}

#[tokio::test]
async fn a_range_fetches_what_it_needs_and_a_prefetch_all() {
    let body = random_bytes(3, 50_000_000);
    let (origin, daemon, url) = start(Content::new(body.clone())).await;
    daemon.told(&[&url, "-O", "part", "--range", "30000000-30000999"]).await;
    assert!(std::fs::read(daemon.path("part")).unwrap() == body[30_000_000..30_001_000]);
    assert!(origin.stats("file").bytes < 5_000_000, "{}", origin.stats("file").bytes);
    daemon.told(&[&url, "-O", "end", "--range", "49999990-", "--prefetch"]).await;
    assert!(std::fs::read(daemon.path("end")).unwrap() == body[49_999_990..]);
    let complete = async || {
        let told = objects(&daemon.told(&["stat", &url, "--json"]).await);
        Ok((told[0]["state"] == "complete").then_some(()))
    };
    until("the rest is there", BOUND, complete).await.unwrap();
}

#[tokio::test]
async fn what_was_interrupted_leaves_nothing_behind_and_is_resumed() {
    let body = random_bytes(4, 40_000_000);
    let (origin, daemon, url) = start(Content::new(body.clone()).hold_at(30_000_000)).await;
    let folder = daemon.dir().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("out");
    let mut command = daemon.command(env!("CARGO_BIN_EXE_dfget"));
    command.arg(&url).arg("-O").arg(&out);
    let mut running = Program::start("dfget", &mut command, &daemon.dir().join("dfget.log")).unwrap();
    let some = async || {
        let written = std::fs::read_dir(&folder)?.flatten().filter_map(|entry| entry.metadata().ok());
        Ok((written.map(|file| file.len()).sum::<u64>() > 10_000_000).then_some(()))
    };
    until("some of it is written", BOUND, some).await.unwrap();
    let ended = running.terminate(BOUND).await.unwrap();
    assert_eq!(ended.code(), Some(130), "{}", running.log_tail());
    assert!(names(&folder).is_empty(), "{:?}", names(&folder));

    origin.release("file");
    daemon.told(&[&url, "-O", out.to_str().unwrap()]).await;
    assert!(std::fs::read(&out).unwrap() == body);
    assert!(origin.stats("file").bytes < 50_000_000, "what was there is not fetched again");
}

#[tokio::test]
async fn an_output_that_is_a_link_is_replaced_and_never_followed() {
    let (_origin, daemon, url) = start(Content::new("new")).await;
    std::fs::write(daemon.path("target"), "precious").unwrap();
    symlink(daemon.path("target"), daemon.path("link")).unwrap();
    symlink(daemon.path("nowhere"), daemon.path("dangling")).unwrap();
    for link in ["link", "dangling"] {
        assert_eq!(daemon.refused(&[&url, "-O", link]).await.0, 6, "{link}");
        assert!(std::fs::symlink_metadata(daemon.path(link)).unwrap().is_symlink());
        daemon.told(&[&url, "-O", link, "--overwrite"]).await;
        assert!(std::fs::symlink_metadata(daemon.path(link)).unwrap().is_file());
    }
    assert_eq!(std::fs::read(daemon.path("target")).unwrap(), b"precious");
    assert!(!Path::new(&daemon.path("nowhere")).exists());
    std::fs::create_dir(daemon.path("folder")).unwrap();
    for (place, option) in [("folder", "--overwrite"), ("none/out", "--quiet")] {
        let (code, said) = daemon.refused(&[&url, "-O", place, option]).await;
        assert!(code == 6 && said.contains(place), "{said}");
    }
}

/// Whoever may write to the bucket chooses the names.
#[tokio::test]
async fn names_of_a_store_do_not_lead_out_of_the_folder() {
    let origin = FakeOrigin::start().await.unwrap();
    let daemon = Daemon::start(&[origin.base_url()]).await;
    let list = |key: &str| {
        let entry = format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><Prefix>dir/</Prefix><KeyCount>1</KeyCount>\
             <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>"
        )
    };
    let endpoint = origin.base_url();
    let fetch = async |key: &str, out: &str| {
        for name in ["bucket", "bucket/"] {
            origin.put(name, Content::new(list(key)).header("content-type", "application/xml"));
        }
        let keys = ["--storage-access-key-id", "a", "--storage-access-key-secret", "b", "--storage-region", "r"];
        let line = ["s3://bucket/dir/", "-r", "-O", out, "--storage-endpoint", &endpoint];
        daemon.dfget(&[&line[..], &keys[..]].concat()).await
    };
    for key in ["dir/../../escaped", "dir//etc/escaped", "dir/a/../../../escaped", "dir/.."] {
        let output = fetch(key, "out").await;
        let said = crate::said(&output);
        assert_eq!(output.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains("nothing was fetched"), "{key}: {said}");
        assert!(!Path::new(&daemon.path("out")).exists() && !Path::new(&daemon.path("escaped")).exists());
    }
    std::fs::create_dir(daemon.path("out")).unwrap();
    std::fs::create_dir(daemon.path("elsewhere")).unwrap();
    symlink(daemon.path("elsewhere"), daemon.path("out/sub")).unwrap();
    let output = fetch("dir/sub/file", "out").await;
    assert_eq!(output.status.code(), Some(6), "{}", crate::said(&output));
    assert!(names(Path::new(&daemon.path("elsewhere"))).is_empty());
}

#[tokio::test]
async fn beside_the_store_a_file_shares_its_bytes_and_elsewhere_it_is_copied() {
    let Some(disk) = SmallDisk::mount_xfs().unwrap() else { return };
    let origin = FakeOrigin::start().await.unwrap();
    let body = random_bytes(5, 20_000_000);
    origin.put("file", Content::new(body.clone()));
    let url = origin.url("file");
    let daemon = Daemon::start_in(&disk.path().join("store"), &[origin.base_url()]).await;
    let digest = format!("sha256:{}", sha256_hex(&body));
    let beside = disk.path().join("out");
    for (place, shared) in [(beside.to_str().unwrap(), true), ("out", false)] {
        let told = objects(&daemon.told(&[&url, "-O", place, "--digest", &digest, "--json"]).await);
        assert_eq!((&told[0]["shared"], &told[0]["bytes"]), (&shared.into(), &20_000_000.into()), "{place}");
        assert!(std::fs::read(daemon.dir().join(place)).unwrap() == body);
    }
    // The store's bytes are not those of the file any more.
    std::fs::write(&beside, "mine").unwrap();
    daemon.told(&[&url, "-O", "again", "--digest", &digest]).await;
    assert!(std::fs::read(daemon.path("again")).unwrap() == body);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let (code, _) = daemon.refused(&[&url, "-O", beside.to_str().unwrap(), "--digest", &wrong, "--overwrite"]).await;
    assert_ne!(code, 0);
    assert_eq!(std::fs::read(&beside).unwrap(), b"mine");
}
