//! An S3 server on a folder: signatures checked, requests counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Runs until dropped.
pub struct S3Server {
    address: SocketAddr,
    folder: TempDir,
    asked: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

// === impl S3Server ===

impl S3Server {
    pub const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
    pub const ACCESS_KEY_SECRET: &str = "a-secret-of-the-test";

    /// On 127.0.0.1, any free port, with one key.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let files = s3s_fs::FileSystem::new(folder.path()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY_ID, Self::ACCESS_KEY_SECRET));
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let (asked, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let server = tokio::spawn(accept(listener, builder.build(), asked.clone(), sent.clone()));
        Ok(Self { address, folder, asked, sent, server })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An object; its bucket is made.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.path().join(bucket).join(key);
        std::fs::create_dir_all(path.parent().context("a key without a folder")?)?;
        Ok(std::fs::write(path, body)?)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Bytes that its answers announced as theirs.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, service: S3Service, asked: Arc<AtomicU64>, sent: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (service, asked, sent) = (service.clone(), asked.clone(), sent.clone());
        let counted = hyper::service::service_fn(move |request| {
            asked.fetch_add(1, Ordering::Relaxed);
            let (answer, sent) = (hyper::service::Service::call(&service, request), sent.clone());
            async move {
                let answer = answer.await?;
                let length =
                    answer.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
                sent.fetch_add(length.unwrap_or(0), Ordering::Relaxed);
                Ok::<_, s3s::HttpError>(answer)
            }
        });
        connections.spawn(async move {
            // A client that leaves is no failure of the server.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), counted).await;
        });
    }
}
