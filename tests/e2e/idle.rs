//! Runtimes keep a connection for up to 90 s, and are not told when the other side is tired of it.

use std::time::Duration;

use df_testkit::FakeRegistry;
use df_testkit::registry::RegistryAccess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::mirror::Mirror;

/// As containerd, CRI-O and Docker do between two pulls. No other clock tells it: the test takes this long.
const IDLE: Duration = Duration::from_secs(61);

async fn ask(stream: &mut TcpStream) -> anyhow::Result<String> {
    stream.write_all(b"GET /v2/token HTTP/1.1\r\nHost: mirror\r\n\r\n").await?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_good_after_a_minute_of_silence() {
    let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(dir.path(), &registry.base_url()).await.unwrap();
    let mut stream = TcpStream::connect(mirror.daemon.local_addr).await.unwrap();
    for idle in [IDLE, Duration::ZERO] {
        let answer = ask(&mut stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        tokio::time::sleep(idle).await;
    }
    mirror.end().await;
}
