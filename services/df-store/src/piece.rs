//! The one writer of one piece. It may be fed from several sources in turn: what has landed stays, the rest is asked elsewhere.

use std::sync::Arc;

use df_api::{ByteRange, Digest};

use crate::content::ContentFile;
use crate::fault::StoreError;
use crate::marks::piece_digest;
use crate::task::StoredTask;

/// Dropping it without [`PieceWriter::finish`] forgets what landed.
pub struct PieceWriter {
    task: Arc<StoredTask>,
    /// From the first write on.
    content: Option<Arc<ContentFile>>,
    index: u32,
    range: ByteRange,
    landed: u64,
    hash: Box<blake3::Hasher>,
}

/// Why a piece was not marked.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    #[error("piece {index} has {landed} of {expected} bytes")]
    Short { index: u32, landed: u64, expected: u64 },
    #[error("piece {index} is {found}, expected {expected}")]
    Wrong { index: u32, found: Digest, expected: Digest },
    #[error("cannot write piece {index}")]
    Write { index: u32, source: StoreError },
}

// === impl PieceWriter ===

impl PieceWriter {
    pub(crate) fn new(task: Arc<StoredTask>, index: u32, range: ByteRange) -> Self {
        Self { task, content: None, index, range, landed: 0, hash: Box::default() }
    }

    pub fn index(&self) -> u32 {
        self.index
    }

    /// What is still missing; `None` when all has landed.
    pub fn rest(&self) -> Option<ByteRange> {
        ByteRange::new(self.range.start + self.landed, self.end())
    }

    /// The content's length may have become known, and lie within this piece.
    fn end(&self) -> u64 {
        self.task.piece_range(self.index).map_or(self.range.end, |range| range.end.min(self.range.end))
    }

    /// Appends, and wakes the readers. Blocks for as long as the disk does. Bytes beyond the piece are not taken.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), PieceError> {
        let at = self.range.start + self.landed;
        let room = self.range.end - at;
        let chunk = &chunk[..chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let Self { task, content, index, .. } = self;
        let written = task.with_room(|| {
            let content = match content {
                Some(content) => content,
                None => content.insert(task.content_to_write()?),
            };
            content.write_now(chunk, at)
        });
        written.map_err(|source| PieceError::Write { index: *index, source })?;
        self.hash.update(chunk);
        self.landed += chunk.len() as u64;
        self.task.set_landed(self.index, self.landed);
        Ok(())
    }

    /// The last piece of a content that turned out to end here.
    pub fn end_here(&mut self) -> u64 {
        self.range.end = self.range.start + self.landed;
        self.range.end
    }

    /// Checks and marks. Afterwards the piece is marked, or nothing of it is.
    pub fn finish(self, expected: Option<&Digest>) -> Result<Digest, PieceError> {
        let index = self.index;
        let expected_bytes = self.end() - self.range.start;
        if self.landed < expected_bytes {
            return Err(PieceError::Short { index, landed: self.landed, expected: expected_bytes });
        }
        let hash = self.hash.finalize().into();
        let found = piece_digest(&hash);
        match expected {
            Some(expected) if found != *expected => Err(PieceError::Wrong { index, found, expected: expected.clone() }),
            _ => {
                self.task.mark(index, hash).map_err(|source| PieceError::Write { index, source })?;
                Ok(found)
            }
        }
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        // Harmless after a mark: the entry is gone already.
        self.task.abandon(self.index);
    }
}
