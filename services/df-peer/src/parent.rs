//! A parent: somebody of the cluster to read pieces from, checked and timed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use df_api::dfdaemon::{PIECE_DIGEST_HEADER, PieceList};
use df_api::scheduler::{ComplaintReason, Parent};
use df_api::{ContentRange, Digest};
use df_client::{ClientError, DfdaemonClient};
use df_store::{PieceError, PieceWriter};
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::CONTENT_RANGE;
use tokio_util::sync::CancellationToken;

use crate::from_origin::BATCH_BYTES;
use crate::task::{Source, Task};

/// How long to wait for the digest of a piece whose bytes have all arrived.
const DIGEST_WAIT: Duration = Duration::from_secs(5);

/// One parent in one task. Dropping it cancels nothing; [`ParentLink::cancel`] does.
pub(crate) struct ParentLink {
    pub parent: Parent,
    client: DfdaemonClient,
    book: Mutex<Book>,
    bytes: AtomicU64,
    progress: Mutex<Progress>,
    cancelled: CancellationToken,
}

/// How many bytes had come when it was last looked at, and when they last grew.
struct Progress {
    bytes: u64,
    at: Instant,
}

/// Digests this parent has told so far.
#[derive(Default)]
struct Book {
    digests: HashMap<u32, Digest>,
    next: u64,
}

/// How a piece ended at this parent. What had landed of a piece that was not marked is gone: bytes of two parents in one
/// piece could not be blamed on either.
pub(crate) enum Landed {
    Marked,
    Broken(ComplaintReason, String),
    Cancelled,
    /// Our own disk failed: no parent's fault.
    Storage(PieceError),
}

// === impl ParentLink ===

impl ParentLink {
    pub fn new(parent: Parent, client: DfdaemonClient) -> Self {
        let cancelled = CancellationToken::new();
        let progress = Mutex::new(Progress { bytes: 0, at: Instant::now() });
        Self { parent, client, book: Mutex::default(), bytes: AtomicU64::new(0), progress, cancelled }
    }

    /// How long no byte has come from it.
    pub fn silence(&self) -> Duration {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut progress = self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if bytes > progress.bytes {
            *progress = Progress { bytes, at: Instant::now() };
        }
        progress.at.elapsed()
    }

    /// It has answered for itself, or been given something to do: its silence counts anew.
    pub fn excuse(&self) {
        self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).at = Instant::now();
    }

    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    fn source(&self) -> Source {
        if self.parent.seed { Source::Seed } else { Source::Peer }
    }

    /// What it has from the last answer on, or from the start; remembers the digests.
    pub async fn list(&self, task: &Task, wait: Duration) -> Result<PieceList, ClientError> {
        let since = self.book().next;
        let list = self.client.list_pieces(task.id(), since, wait).await?;
        let mut book = self.book();
        book.next = list.next;
        book.digests.extend(list.pieces.iter().map(|piece| (piece.index, piece.digest.clone())));
        Ok(list)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn has_told(&self, index: u32) -> bool {
        self.book().digests.contains_key(&index)
    }

    async fn digest_of(&self, task: &Task, index: u32) -> Option<Digest> {
        let told = || self.book().digests.get(&index).cloned();
        // Each answer brings at least one more piece; it is this one sooner or later.
        let deadline = tokio::time::Instant::now() + DIGEST_WAIT;
        loop {
            if let Some(digest) = told() {
                return Some(digest);
            }
            let listed = tokio::time::timeout_at(deadline, self.list(task, DIGEST_WAIT)).await;
            listed.ok()?.ok()?;
        }
    }

    /// Reads what is missing of one piece, checks it against the digest this parent tells, marks it; or stops at any
    /// point when the parent is given up.
    pub async fn fetch(&self, task: &Task, writer: PieceWriter) -> Landed {
        tokio::select! {
            landed = self.fetch_to_the_end(task, writer) => landed,
            () = self.cancelled.cancelled() => Landed::Cancelled,
        }
    }

    async fn fetch_to_the_end(&self, task: &Task, writer: PieceWriter) -> Landed {
        let index = writer.index();
        let (writer, digest) = match self.receive(task, writer).await {
            Ok(received) => received,
            Err(ended) => return ended,
        };
        let digest = match digest {
            Some(digest) => Some(digest),
            None => self.digest_of(task, index).await,
        };
        let Some(digest) = digest else {
            return Landed::Broken(ComplaintReason::Silent, format!("no digest of piece {index}"));
        };
        match writer.finish(Some(&digest)) {
            Ok(_) => Landed::Marked,
            Err(error @ PieceError::Write { .. }) => Landed::Storage(error),
            Err(error) => Landed::Broken(ComplaintReason::WrongBytes, error.to_string()),
        }
    }

    async fn receive(&self, task: &Task, mut writer: PieceWriter) -> Result<(PieceWriter, Option<Digest>), Landed> {
        let Some(rest) = writer.rest() else { return Ok((writer, None)) };
        let gone = |why: String| Landed::Broken(ComplaintReason::Gone, why);
        let response = match self.client.get_task_content(task.id(), Some(rest)).await {
            Ok(response) => response,
            Err(error) => return Err(gone(df_http::error::chain(&error))),
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let range = header(CONTENT_RANGE.as_str()).and_then(|value| value.parse::<ContentRange>().ok());
        if range.and_then(|range| range.range) != Some(rest) {
            return Err(gone(format!("asked {}, answered {range:?}", rest.to_header())));
        }
        let digest = header(PIECE_DIGEST_HEADER).and_then(|value| value.parse().ok());
        let mut body = response.bytes_stream();
        while writer.rest().is_some() {
            let mut chunks = match body.next().await {
                Some(Ok(chunk)) => vec![chunk],
                Some(Err(error)) => return Err(gone(df_http::error::chain(&error))),
                None => return Err(gone("its answer ended early".to_owned())),
            };
            let mut bytes = chunks[0].len();
            while bytes < BATCH_BYTES
                && let Some(Some(Ok(more))) = body.next().now_or_never()
            {
                bytes += more.len();
                chunks.push(more);
            }
            task.count(self.source(), bytes as u64);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            writer = writer.write(chunks).await.map_err(Landed::Storage)?;
        }
        Ok((writer, digest))
    }
}
