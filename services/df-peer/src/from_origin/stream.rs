//! One stream of the origin into pieces: what comes is written, checked for its length, and marked piece by piece.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::ByteRange;
use df_store::PieceWriter;

use super::steps::Steps;
use super::{patience, piece, storage};
use crate::limits::Limits;
use crate::origin::{Answer, Facts};
use crate::task::{Failure, Source, Task};

/// Silence within a body that can be resumed by range.
const STALL: Duration = Duration::from_secs(4);
/// Silence within one that can only be begun again: a slow origin is fine, a dead one is not.
const STALL_WHOLE: Duration = Duration::from_secs(15);

/// Where in the content the stream is.
struct Position {
    offset: u64,
    piece_length: u64,
    /// The origin ignored the range and sends from the start.
    repeats: bool,
}

/// A stream being written down.
pub(super) struct Pour {
    pub task: Arc<Task>,
    pub limits: Arc<Limits>,
    /// The piece being written; survives a broken stream.
    pub writer: Option<PieceWriter>,
}

// === impl Position ===

impl Position {
    /// The next bytes of the stream, `bytes` at most.
    fn take(&mut self, chunk: &mut Bytes, bytes: u64) -> Bytes {
        let part = chunk.split_to(usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk.len()));
        self.offset += part.len() as u64;
        part
    }
}

// === impl Pour ===

impl Pour {
    /// To the end of the body, or to a piece that somebody else has. Afterwards `writer` has what landed of the last.
    pub async fn run(&mut self, answer: Answer, piece_length: u64) -> Result<(), Failure> {
        let Answer { asked, facts, body, permit: _permit } = answer;
        let Facts { start, end, ranges, length, .. } = facts;
        let mut at = Position { offset: start, piece_length, repeats: start < asked.from };
        let usual = if ranges { STALL } else { STALL_WHOLE };
        let mut steps = Steps::new(body, start);
        while let Some(chunk) = steps.next(patience(usual, self.task.stillness().lasts())).await? {
            let bytes = chunk.len() as u64;
            if end.is_some_and(|end| at.offset + bytes > end) {
                return Err(Failure::Malformed("its body is longer than it said".to_owned()));
            }
            self.limits.received(Source::Origin, &self.task, bytes).await;
            if !self.put(&mut at, chunk)? {
                // Whoever writes that piece may give it up; until then there is nothing to ask for.
                let moved = at.offset > start || at.repeats;
                return if moved { Ok(()) } else { Err(Failure::Unreachable("its piece is being written".to_owned())) };
            }
        }
        match end {
            Some(end) if at.offset < end => {
                Err(Failure::Unreachable(format!("the stream ended at byte {} of {end}", at.offset)))
            }
            None if length.is_none() => self.end(at.offset),
            _ => Ok(()),
        }
    }

    /// Writes a chunk at `at`; `false` when it has come to a piece that is there already and the next run may start
    /// behind it.
    fn put(&mut self, at: &mut Position, mut chunk: Bytes) -> Result<bool, Failure> {
        while !chunk.is_empty() {
            let index = u32::try_from(at.offset / at.piece_length).unwrap_or(u32::MAX);
            let writer = self.writer.take().or_else(|| self.task.stored().begin_piece(index));
            let start = writer.as_ref().and_then(PieceWriter::rest).map(|rest| rest.start);
            match (writer, start) {
                (Some(mut writer), Some(start)) if start == at.offset => {
                    let room = writer.rest().map_or(0, ByteRange::length);
                    writer.write(&at.take(&mut chunk, room)).map_err(piece)?;
                    self.task.stillness().end();
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
                    at.take(&mut chunk, until - at.offset);
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
        // A stream that breaks may look as if it had ended.
        let too_short = |detail| Err(Failure::Unreachable(format!("the stream ended at byte {at}: {detail}")));
        if let Err(conflict) = self.task.stored().set_length(at).map_err(storage)? {
            return too_short(conflict.to_string());
        }
        if let Some(mut writer) = self.writer.take() {
            if writer.end_here() != at {
                return too_short("more than that was here before".to_owned());
            }
            writer.finish(None).map_err(piece)?;
        }
        Ok(())
    }
}
