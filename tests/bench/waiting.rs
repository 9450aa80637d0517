//! Daemons that wait at discovery, as many as one process can be: no more of each than its connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// End when dropped.
pub(crate) struct Waiting {
    daemons: JoinSet<anyhow::Result<()>>,
    /// Of each, whenever it is told something new.
    told: mpsc::UnboundedReceiver<usize>,
    count: usize,
}

const BEGIN_BOUND: Duration = Duration::from_secs(120);
const TOLD_BOUND: Duration = Duration::from_secs(60);
/// Nobody connects all nodes of a cluster at once.
const AT_ONCE: usize = 100;

// === impl Waiting ===

impl Waiting {
    /// When each has its first answer, and has asked again.
    pub(crate) async fn begin(address: SocketAddr, bearer: &str, count: usize) -> anyhow::Result<Self> {
        let (tell, told) = mpsc::unbounded_channel();
        let mut waiting = Self { daemons: JoinSet::new(), told, count };
        for first in (0..count).step_by(AT_ONCE) {
            let group = first..count.min(first + AT_ONCE);
            for at in group.clone() {
                waiting.daemons.spawn(wait(address, bearer.to_owned(), at, tell.clone()));
            }
            waiting.hear(group.len(), BEGIN_BOUND).await?;
        }
        // The last ones' second question is on its way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(waiting)
    }

    /// From the change until the last has heard of it.
    pub(crate) async fn all_told(mut self, change: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
        while self.told.try_recv().is_ok() {}
        let began = Instant::now();
        change()?;
        let count = self.count;
        self.hear(count, TOLD_BOUND).await?;
        Ok(began.elapsed())
    }

    async fn hear(&mut self, count: usize, bound: Duration) -> anyhow::Result<()> {
        let all = async {
            for _ in 0..count {
                tokio::select! {
                    told = self.told.recv() => told.map(drop).context("nobody waits any more")?,
                    Some(ended) = self.daemons.join_next() => ended??,
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(bound, all).await.with_context(|| format!("not all {count} were told within {bound:?}"))?
    }
}

async fn wait(
    address: SocketAddr,
    bearer: String,
    at: usize,
    tell: mpsc::UnboundedSender<usize>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let ip = format!("10.{}.{}.{}", at / 62_500, at / 250 % 250, 1 + at % 250);
    let place = json!({ "hostname": format!("waiting-{at}"), "ip": ip, "idc": "", "location": "" });
    let daemon = json!({ "port": 65_001, "os": "linux", "platform": "debian", "git_version": "0.1.0" });
    let body = json!({ "place": place, "seed_peer": false, "daemon": daemon }).to_string();
    let mut known: Option<String> = None;
    loop {
        let held = known
            .as_ref()
            .map_or(String::new(), |version| format!("If-None-Match: \"{version}\"\r\nPrefer: wait=25\r\n"));
        let head = format!(
            "POST /api/v1/discovery HTTP/1.1\r\nHost: {address}\r\n{bearer}{held}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        if let Some(said) = hear(&mut stream).await? {
            known = Some(said["version"].as_str().context("an answer without a version")?.to_owned());
            tell.send(at)?;
        }
    }
}

/// `None`: nothing has changed.
async fn hear(stream: &mut TcpStream) -> anyhow::Result<Option<Value>> {
    let mut got = Vec::new();
    let (status, from, length) = loop {
        ensure!(stream.read_buf(&mut got).await? > 0, "the connection ends instead of an answer");
        let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&got[..end])?.to_ascii_lowercase();
        let status: u16 = head.split(' ').nth(1).unwrap_or_default().parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        break (status, end + 4, length.unwrap_or(0));
    };
    while got.len() < from + length {
        ensure!(stream.read_buf(&mut got).await? > 0, "the answer breaks off");
    }
    match status {
        304 => Ok(None),
        200 => Ok(Some(serde_json::from_slice(&got[from..from + length])?)),
        other => anyhow::bail!("{other}: {}", String::from_utf8_lossy(&got[from..])),
    }
}
