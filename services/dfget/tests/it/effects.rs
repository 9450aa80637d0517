//! What options do, where it is not the bytes: an end in time, another task, a bar.

use std::process::Command;

use df_testkit::process::find_program;
use df_testkit::{Content, free_port, random_bytes, skip};
use serde_json::Value;

use crate::daemon::{Daemon, run, start};

#[tokio::test]
async fn an_origin_that_falls_silent_is_waited_for_as_long_as_timeout_says() {
    let (_origin, daemon, url) = start(Content::new(random_bytes(1, 9_000_000)).hold_at(5_000_000)).await;
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let folder = daemon.dir().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("out");
    for extra in [&[][..], &["--daemon", &nobody]] {
        let line = [&[&url, "-O", out.to_str().unwrap(), "--timeout", "2s"], extra].concat();
        let (code, said) = daemon.refused(&line).await;
        assert!(code == 4 && said.contains("2s (--timeout)"), "{code}: {said}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{extra:?}");
    }
}

#[tokio::test]
async fn another_application_or_piece_length_is_another_task() {
    let body = random_bytes(2, 3_000_000);
    let (origin, daemon, url) = start(Content::new(body.clone())).await;
    let names = [&["--application", "a"][..], &["--application", "b"], &["--piece-length", "524288"]];
    for (number, name) in names.iter().enumerate() {
        let out = format!("out-{number}");
        daemon.told(&[&[&url, "-O", &out], *name].concat()).await;
        assert!(std::fs::read(daemon.path(&out)).unwrap() == body);
        assert_eq!(origin.stats("file").bytes, (number as u64 + 1) * 3_000_000, "each fetches its own");
    }
    let stat = async |name: &[&str]| -> Value {
        serde_json::from_str(&daemon.told(&[&["stat", &url, "--json"], name].concat()).await).unwrap()
    };
    let (a, b, pieces) = (stat(names[0]).await, stat(names[1]).await, stat(names[2]).await);
    assert_eq!((&a["application"], &b["application"]), (&"a".into(), &"b".into()));
    assert_eq!((&pieces["piece_length"], &pieces["application"]), (&524_288.into(), &Value::Null));
    assert_ne!(a["piece_length"], pieces["piece_length"], "not what the length would say");
    assert_eq!(daemon.refused(&["stat", &url]).await.0, 3, "nobody has fetched it without a name");
}

/// What is seen on a terminal.
async fn drawn(daemon: &Daemon, line: &str) -> String {
    let mut command: Command = daemon.command("script");
    let typed = format!("stty cols 120; '{}' {line}", env!("CARGO_BIN_EXE_dfget"));
    command
        .args(["--quiet", "--return", "--command", &typed, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh");
    command.stdin(std::process::Stdio::null());
    let output = run(command).await;
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    if find_program("script").is_none() {
        return skip("script is not installed: `just setup test`");
    }
    let (origin, daemon, url) = start(Content::new(random_bytes(3, 3_000_000))).await;
    origin.put("other", Content::new("x"));
    let bar = drawn(&daemon, &format!("{url} -O out")).await;
    assert!(bar.contains(&"=".repeat(30)) && bar.contains("2.86 MiB/2.86 MiB"), "{bar:?}");
    assert!(bar.contains("0 % from peers"), "{bar:?}");
    std::fs::write(daemon.path("list"), format!("{url} a\n{} b\n", origin.url("other"))).unwrap();
    let bars = drawn(&daemon, "--list list -O out-of-list").await;
    assert!(bars.contains("2.86 MiB/2.86 MiB") && bars.contains("1 B/1 B"), "one each: {bars:?}");
    for option in ["--quiet", "--no-progress"] {
        assert_eq!(drawn(&daemon, &format!("{url} -O out --overwrite {option}")).await, "", "{option}");
    }
    let output = daemon.dfget(&[&url, "-O", "out", "--overwrite"]).await;
    assert_eq!((output.status.code(), crate::said(&output).as_str()), (Some(0), ""), "no terminal");
}
