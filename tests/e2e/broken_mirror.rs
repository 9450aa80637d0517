//! Something else where dfdaemon should be: it refuses everything in the same way, and counts.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::netns::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 65001);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How everything is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refuses {
    With(u16),
    /// Without a word, after the request.
    HangingUp,
    /// Not at all: it says nothing as long as the client waits.
    ByWaiting,
}

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct BrokenMirror {
    requests: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

// === impl BrokenMirror ===

impl BrokenMirror {
    pub(crate) async fn start(namespace: &Namespace, refuses: Refuses) -> anyhow::Result<Self> {
        let listener = namespace.inside(|| Ok(TcpListener::bind(SocketAddr::from(ADDRESS))?)).await?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let requests = Arc::new(AtomicU64::new(0));
        let counted = requests.clone();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(refuse(stream, refuses, counted.clone()));
            }
        });
        Ok(Self { requests, server })
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for BrokenMirror {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One request, one refusal; a client that has gone needs none.
async fn refuse(mut stream: TcpStream, refuses: Refuses, requests: Arc<AtomicU64>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read_buf(&mut request).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
    requests.fetch_add(1, Ordering::Relaxed);
    match refuses {
        Refuses::With(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Refuses::HangingUp => {}
        Refuses::ByWaiting => drop(stream.read_buf(&mut request).await),
    }
}
