//! Fetching what is missing from the origin: one stream per missing run, resumed where it broke.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::ByteRange;
use df_store::{Meta, PieceError, PieceWriter, StoreError};
use futures_util::{FutureExt as _, StreamExt as _};
use http::HeaderValue;

use crate::origin::{self, Answer};
use crate::task::{Failure, Source, Task};
use crate::upstream::Upstream;

/// Attempts without a new byte in between; a stream that moves is resumed as often as it breaks.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// Chunks that are there already are written together up to this size.
pub(crate) const BATCH_BYTES: usize = 512 * 1024;

/// Returns when every piece is marked.
pub(crate) async fn fetch(upstream: &Upstream, task: &Arc<Task>) -> Result<(), Failure> {
    let mut run = OriginRun { task, writer: None, version: None };
    let mut failed = 0;
    while let Some(from) = run.next_offset() {
        // Landed, not received: an origin that repeats itself makes no progress.
        let before = task.stored().snapshot().landed_bytes;
        let result = match origin::open(upstream, &task.spec(), from).await {
            Ok(answer) => run.take(from, answer).await,
            Err(failure) => Err(failure),
        };
        let Err(failure) = result else { continue };
        failed = if task.stored().snapshot().landed_bytes > before { 1 } else { failed + 1 };
        if failed >= ATTEMPTS || !origin::may_retry(&failure) {
            return Err(failure);
        }
        tracing::debug!(task = %task.id(), %failure, failed, "asking the origin again");
        let asked = origin::retry_after(&failure).map(Duration::from_secs);
        tokio::time::sleep(asked.unwrap_or(PAUSE * 2u32.pow(failed)).min(RETRY_AFTER_MAX)).await;
    }
    Ok(())
}

struct OriginRun<'a> {
    task: &'a Arc<Task>,
    /// The piece being written; survives a broken stream.
    writer: Option<PieceWriter>,
    /// The content's ETag at the first answer.
    version: Option<HeaderValue>,
}

/// Where in the content the stream is.
struct Position {
    offset: u64,
    piece_length: u64,
    /// The origin ignored the range and sends from the start.
    repeats: bool,
}

// === impl Position ===

impl Position {
    /// The next bytes of the stream, `bytes` at most.
    fn take(&mut self, chunks: &mut VecDeque<Bytes>, bytes: u64) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let mut room = usize::try_from(bytes).unwrap_or(usize::MAX);
        while room > 0
            && let Some(mut chunk) = chunks.pop_front()
        {
            let part = chunk.split_to(room.min(chunk.len()));
            room -= part.len();
            self.offset += part.len() as u64;
            parts.push(part);
            if !chunk.is_empty() {
                chunks.push_front(chunk);
            }
        }
        parts
    }
}

// === impl OriginRun ===

impl OriginRun<'_> {
    /// Where to go on: inside the unfinished piece, else at the first missing piece from the reader on, else from 0.
    fn next_offset(&self) -> Option<u64> {
        if let Some(rest) = self.writer.as_ref().and_then(PieceWriter::rest) {
            return Some(rest.start);
        }
        let snapshot = self.task.stored().snapshot();
        let Some(meta) = snapshot.meta else { return Some(0) };
        let Some(length) = meta.length else {
            return Some(u64::from(snapshot.pieces.first_missing(0)) * meta.piece_length);
        };
        let at_reader =
            u32::try_from(self.task.readers().offsets().first().unwrap_or(&0) / meta.piece_length).unwrap_or(0);
        [at_reader, 0]
            .into_iter()
            .map(|from| u64::from(snapshot.pieces.first_missing(from)) * meta.piece_length)
            .find(|&offset| offset < length)
    }

    async fn take(&mut self, asked: u64, answer: Answer) -> Result<(), Failure> {
        let Answer { meta, start, version, mut body } = answer;
        if self.version.is_some() && self.version != version {
            return Err(Failure::Malformed("the content changed while it was read".to_owned()));
        }
        self.version = version;
        let described = self.task.stored().describe(meta).map_err(storage)?;
        described.map_err(|conflict| Failure::Malformed(conflict.to_string()))?;
        let Some(Meta { length, piece_length, .. }) = self.task.stored().meta() else { return Ok(()) };
        let mut at = Position { offset: start, piece_length, repeats: start < asked };
        while let Some(first) = body.next().await {
            let mut chunks = VecDeque::from([first.map_err(origin::unreachable)?]);
            let mut bytes = chunks[0].len();
            while bytes < BATCH_BYTES
                && let Some(Some(Ok(more))) = body.next().now_or_never()
            {
                bytes += more.len();
                chunks.push_back(more);
            }
            self.task.count(Source::Origin, bytes as u64);
            if !self.put(&mut at, chunks).await? {
                return Ok(());
            }
        }
        match length {
            Some(length) if at.offset < length => {
                Err(Failure::Unreachable(format!("the stream ended at byte {} of {length}", at.offset)))
            }
            Some(_) => Ok(()),
            None => self.end(at.offset),
        }
    }

    /// Writes chunks at `at`; `false` when it has come to a piece that is there already and the next run may start
    /// behind it.
    async fn put(&mut self, at: &mut Position, mut chunks: VecDeque<Bytes>) -> Result<bool, Failure> {
        while !chunks.is_empty() {
            let index = u32::try_from(at.offset / at.piece_length).unwrap_or(u32::MAX);
            let writer = self.writer.take().or_else(|| self.task.stored().begin_piece(index));
            let start = writer.as_ref().and_then(PieceWriter::rest).map(|rest| rest.start);
            match (writer, start) {
                (Some(writer), Some(start)) if start == at.offset => {
                    let room = writer.rest().map_or(0, ByteRange::length);
                    let parts = at.take(&mut chunks, room);
                    let writer = writer.write(parts).await.map_err(piece)?;
                    match writer.rest() {
                        None => drop(writer.finish(None).map_err(piece)?),
                        Some(_) => self.writer = Some(writer),
                    }
                }
                // Bytes that are here already, from an origin that knows no ranges and starts over.
                (writer, start) if at.repeats => {
                    self.writer = writer;
                    let piece_end = (u64::from(index) + 1) * at.piece_length;
                    let until = start.filter(|start| *start > at.offset).unwrap_or(piece_end);
                    at.take(&mut chunks, until - at.offset);
                }
                (writer, _) => {
                    self.writer = writer;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The stream of a content of unknown length has ended: here is its end.
    fn end(&mut self, at: u64) -> Result<(), Failure> {
        self.task.stored().set_length(at).map_err(storage)?;
        if let Some(mut writer) = self.writer.take() {
            writer.end_here();
            writer.finish(None).map_err(piece)?;
        }
        Ok(())
    }
}

pub(crate) fn storage(error: impl Into<StoreError>) -> Failure {
    Failure::Storage(error.into())
}

pub(crate) fn piece(error: PieceError) -> Failure {
    match error {
        PieceError::Write { source, .. } => Failure::Storage(source),
        // Its own piece, and its own count: it cannot be short or wrong.
        error => storage(std::io::Error::other(error)),
    }
}
