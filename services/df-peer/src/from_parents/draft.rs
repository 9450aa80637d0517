//! A piece that is arriving, fed by one parent after another, or by two at once: whatever is new is appended.
//!
//! **Invariant.** It knows everybody who has sent any of it, because only a piece of one sender can be blamed on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use df_api::{ByteRange, Digest};
use df_store::{PieceError, PieceWriter, StoredTask};

use crate::plan::Key;

pub(crate) struct Draft {
    stored: Arc<StoredTask>,
    index: u32,
    /// Where in the content its next missing byte is.
    at: AtomicU64,
    /// Gone when writing has failed, or it is finished.
    writer: tokio::sync::Mutex<Option<PieceWriter>>,
    senders: Mutex<Vec<Key>>,
}

// === impl Draft ===

impl Draft {
    /// `None` when the piece is marked, lies outside, or somebody else is writing it.
    pub fn begin(stored: &Arc<StoredTask>, index: u32) -> Option<Self> {
        let writer = stored.begin_piece(index)?;
        let at = AtomicU64::new(writer.rest()?.start);
        let (writer, senders) = (tokio::sync::Mutex::new(Some(writer)), Mutex::default());
        Some(Self { stored: stored.clone(), index, at, writer, senders })
    }

    /// What is still missing; `None` when all has landed.
    pub fn rest(&self) -> Option<ByteRange> {
        ByteRange::new(self.at.load(Ordering::Acquire), self.stored.piece_range(self.index)?.end)
    }

    fn lock_senders(&self) -> MutexGuard<'_, Vec<Key>> {
        self.senders.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn senders(&self) -> Vec<Key> {
        self.lock_senders().clone()
    }

    /// Bytes of the content from `from` on, which is not beyond what has landed. Must not be dropped halfway: what is
    /// being written would be lost with its writer.
    pub async fn append(&self, from: u64, chunks: Vec<Bytes>, sender: Key) -> Result<(), PieceError> {
        let mut slot = self.writer.lock().await;
        let Some(rest) = slot.as_ref().and_then(PieceWriter::rest) else { return Ok(()) };
        let mut known = usize::try_from(rest.start.saturating_sub(from)).unwrap_or(usize::MAX);
        let new: Vec<Bytes> = chunks
            .into_iter()
            .filter_map(|mut chunk| {
                let before = known.min(chunk.len());
                known -= before;
                let new = chunk.split_off(before);
                (!new.is_empty()).then_some(new)
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let Some(writer) = slot.take() else { return Ok(()) };
        let mut senders = self.senders();
        if !senders.contains(&sender) {
            senders.push(sender);
            *self.lock_senders() = senders;
        }
        let writer = writer.write(new).await?;
        let at = writer.rest().map_or(rest.end, |rest| rest.start);
        *slot = Some(writer);
        self.at.store(at, Ordering::Release);
        Ok(())
    }

    /// Forgets what has landed, so that it can be begun anew.
    pub async fn discard(&self) {
        drop(self.writer.lock().await.take());
    }

    /// Marks it when it is what it should be. Afterwards nothing of it is left here.
    pub async fn finish(&self, expected: &Digest) -> Option<Result<Digest, PieceError>> {
        let writer = self.writer.lock().await.take()?;
        Some(writer.finish(Some(expected)))
    }
}
