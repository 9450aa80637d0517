//! What docs/clients.md tells to type, typed.

use df_testkit::snippet::snippet;
use df_testkit::{Content, FakeOrigin, S3Server, random_bytes, sha256_hex};

use crate::daemon::{Daemon, run};

/// A block of the document, in the daemon's folder.
async fn typed(daemon: &Daemon, name: &str, replaced: &[(&str, &str)]) -> String {
    let script = snippet(name, replaced).unwrap();
    let mut command = daemon.command("sh");
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_dfget")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    command.arg("-euc").arg(script).env("PATH", path);
    let output = run(command).await;
    assert!(output.status.success(), "{name}: {}", crate::said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn read(daemon: &Daemon, name: &str) -> Vec<u8> {
    std::fs::read(daemon.path(name)).unwrap()
}

#[tokio::test]
async fn files_and_lists_are_fetched_as_documented() {
    let origin = FakeOrigin::start().await.unwrap();
    let body = random_bytes(1, 2_000_000);
    origin.put("data/set.tar", Content::new(body.clone()));
    origin.put("data/readme", Content::new("read me"));
    let daemon = Daemon::start(&[origin.base_url()]).await;
    let (base, digest) = (origin.base_url(), format!("sha256:{}", sha256_hex(&body)));
    typed(&daemon, "dfget-file", &[("https://files.example", &base), ("sha256:…", &digest)]).await;
    assert!(read(&daemon, "set.tar") == body && read(&daemon, "head") == body[..1_048_576]);
    typed(&daemon, "dfget-list", &[("https://files.example", &base)]).await;
    assert!(read(&daemon, "sets/set.tar") == body && read(&daemon, "sets/doc/readme.txt") == b"read me");
}

#[tokio::test]
async fn objects_and_folders_of_a_store_are_fetched_as_documented() {
    let server = S3Server::start().await.unwrap();
    for key in ["models/big.bin", "models/sub/small.bin"] {
        server.put("bucket", key, key.as_bytes()).unwrap();
    }
    let daemon = Daemon::start(&[server.endpoint()]).await;
    let replaced = [
        ("https://s3.example", server.endpoint()),
        ("AKIDEXAMPLE", S3Server::ACCESS_KEY_ID.to_owned()),
        ("the-secret", S3Server::ACCESS_KEY_SECRET.to_owned()),
    ];
    let replaced = replaced.each_ref().map(|(shown, real)| (*shown, real.as_str()));
    typed(&daemon, "dfget-s3", &replaced).await;
    assert_eq!(read(&daemon, "big.bin"), b"models/big.bin");
    assert_eq!(read(&daemon, "models/sub/small.bin"), b"models/sub/small.bin");
}

#[tokio::test]
async fn files_are_imported_and_exported_as_documented() {
    let daemon = Daemon::start(&[]).await;
    let body = random_bytes(2, 3_000_000);
    std::fs::write(daemon.path("model.bin"), &body).unwrap();
    let told = typed(&daemon, "dfget-import", &[]).await;
    assert!(read(&daemon, "copy.bin") == body);
    assert!(told.contains("complete") && told.contains("v1"), "{told}");
    assert_eq!(daemon.told(&["ls", "--json"]).await, "", "removed in the end");
}
