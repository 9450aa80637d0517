//! A node's dfdaemon as programs of that node see it. Call from within the node's namespace.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::client::Connection;
use crate::made::Blob;

/// Waiting for a task costs one request in so many seconds.
const HOLD: &str = "Prefer: wait=60\r\n";

/// The listener for the node's own programs.
pub(crate) fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 65001))
}

/// What containerd asks its mirror for.
pub(crate) fn mirror_target(blob: &Blob, registry: SocketAddr) -> String {
    format!("{}?ns={registry}", blob.target())
}

/// A file that some server has, to be asked for by its URL, as dfget asks.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) blob: Blob,
    pub(crate) url: String,
    /// `sha256:…`, when the daemon shall know and check it.
    pub(crate) digest: Option<String>,
}

// === impl Content ===

impl Content {
    /// Starts the task or joins it, and returns its id at once.
    pub(crate) fn start(&self, connection: &mut Connection) -> anyhow::Result<String> {
        let mut body = json!({ "url": self.url });
        if let Some(digest) = &self.digest {
            body["digest"] = json!(digest);
        }
        let status = connection.json("POST", "/v1/tasks", "", &body.to_string())?;
        Ok(status["id"].as_str().context("a task without an id")?.to_owned())
    }

    /// Seconds until every byte is on the node and has been checked.
    pub(crate) fn pull(&self) -> anyhow::Result<f64> {
        let mut connection = Connection::open(local())?;
        let began = Instant::now();
        let id = self.start(&mut connection)?;
        until_pieces(&mut connection, &id, u64::MAX)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds until a client of the node has every byte.
    pub(crate) fn pull_and_read(&self) -> anyhow::Result<f64> {
        let mut connection = Connection::open(local())?;
        let began = Instant::now();
        let id = self.start(&mut connection)?;
        let fetched = connection.get(&format!("/v1/tasks/{id}/content"), "")?;
        ensure!(fetched.bytes == self.blob.bytes, "{} of {} bytes", fetched.bytes, self.blob.bytes);
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Returns when more pieces than that have been marked, or all are: the daemon's own answer is what is waited for.
pub(crate) fn until_pieces(connection: &mut Connection, id: &str, more_than: u64) -> anyhow::Result<()> {
    for _ in 0..10 {
        // Event 0 is the description.
        let since = more_than.saturating_add(1);
        let list = connection.json("GET", &format!("/v1/tasks/{id}/pieces?since={since}"), HOLD, "")?;
        let marked = list["next"].as_u64().unwrap_or_default().saturating_sub(1);
        if list["complete"] == true || marked > more_than {
            return Ok(());
        }
    }
    bail!("task {id} does not get on: {}", connection.json("GET", &format!("/v1/tasks/{id}"), "", "")?)
}
