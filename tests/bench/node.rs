//! A node's dfdaemon as programs of that node see it. Call from within the node's namespace.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::{Value, json};

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

/// Asks the daemon for a URL, as dfget does, and returns the task's id at once.
pub(crate) fn start(connection: &mut Connection, url: &str, digest: Option<&str>) -> anyhow::Result<String> {
    let mut body = json!({ "url": url });
    if let Some(digest) = digest {
        body["digest"] = json!(digest);
    }
    let status = connection.json("POST", "/v1/tasks", "", &body.to_string())?;
    Ok(status["id"].as_str().context("a task without an id")?.to_owned())
}

/// Returns when every byte is there and has been checked.
pub(crate) fn until_complete(connection: &mut Connection, id: &str) -> anyhow::Result<()> {
    until_pieces(connection, id, u64::MAX).map(drop)
}

/// Returns when more pieces than that have been marked, or all are: the daemon's own answer is what is waited for.
pub(crate) fn until_pieces(connection: &mut Connection, id: &str, more_than: u64) -> anyhow::Result<Value> {
    for _ in 0..10 {
        // Event 0 is the description.
        let since = more_than.saturating_add(1);
        let list = connection.json("GET", &format!("/v1/tasks/{id}/pieces?since={since}"), HOLD, "")?;
        let marked = list["next"].as_u64().unwrap_or_default().saturating_sub(1);
        if list["complete"] == true || marked > more_than {
            return Ok(list);
        }
    }
    bail!("task {id} does not get on: {}", connection.json("GET", &format!("/v1/tasks/{id}"), "", "")?)
}
