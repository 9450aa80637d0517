//! A piece that is arriving, fed by one parent after another, or by two at once: whatever is new is appended.
//!
//! **Invariant.** It knows everybody who has sent any of it, because only a piece of one sender can be blamed on it; and
//! whether all of it was checked before it was sent, because nobody answers for what only passed through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use df_api::{ByteRange, Digest};
use df_store::{PieceError, PieceWriter, StoredTask};
use parking_lot::Mutex;

use crate::plan::Key;

pub(crate) struct Draft {
    stored: Arc<StoredTask>,
    index: u32,
    /// Where in the content its next missing byte is.
    at: AtomicU64,
    /// Gone when writing has failed, or it is finished.
    writer: Mutex<Option<PieceWriter>>,
    senders: Mutex<Vec<Key>>,
    unchecked: AtomicBool,
}

/// Who sent bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub key: Key,
    /// It had compared the piece with its digest before.
    pub checked: bool,
}

// === impl Draft ===

impl Draft {
    /// `None` when the piece is marked, lies outside, or somebody else is writing it.
    pub fn begin(stored: &Arc<StoredTask>, index: u32) -> Option<Self> {
        let writer = stored.begin_piece(index)?;
        let at = AtomicU64::new(writer.rest()?.start);
        let (writer, senders, unchecked) = (Mutex::new(Some(writer)), Mutex::default(), AtomicBool::default());
        Some(Self { stored: stored.clone(), index, at, writer, senders, unchecked })
    }

    /// What is still missing; `None` when all has landed.
    pub fn rest(&self) -> Option<ByteRange> {
        ByteRange::new(self.at.load(Ordering::Acquire), self.stored.piece_range(self.index)?.end)
    }

    pub fn senders(&self) -> Vec<Key> {
        self.senders.lock().clone()
    }

    /// Whoever sent any of it had checked it.
    pub fn is_checked(&self) -> bool {
        !self.unchecked.load(Ordering::Acquire)
    }

    /// Bytes of the content from `from` on, which is not beyond what has landed; what is known already is passed over.
    /// Blocks for as long as the disk does.
    pub fn append(&self, from: u64, chunk: &[u8], sender: Sender) -> Result<(), PieceError> {
        let mut slot = self.writer.lock();
        let Some(writer) = slot.as_mut() else { return Ok(()) };
        let Some(rest) = writer.rest() else { return Ok(()) };
        let known = usize::try_from(rest.start.saturating_sub(from)).unwrap_or(usize::MAX);
        let Some(new) = chunk.get(known..).filter(|new| !new.is_empty()) else { return Ok(()) };
        let mut senders = self.senders.lock();
        if !senders.contains(&sender.key) {
            senders.push(sender.key);
        }
        self.unchecked.fetch_or(!sender.checked, Ordering::AcqRel);
        drop(senders);
        if let Err(error) = writer.write(new) {
            *slot = None;
            return Err(error);
        }
        self.at.store(writer.rest().map_or(rest.end, |rest| rest.start), Ordering::Release);
        Ok(())
    }

    /// Forgets what has landed, so that it can be begun anew.
    pub fn discard(&self) {
        drop(self.writer.lock().take());
    }

    /// Marks it when it is what it should be. Afterwards nothing of it is left here.
    pub fn finish(&self, expected: &Digest) -> Option<Result<Digest, PieceError>> {
        let writer = self.writer.lock().take()?;
        Some(writer.finish(Some(expected)))
    }
}
