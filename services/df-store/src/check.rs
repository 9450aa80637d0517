//! Suspect tasks: what a record says after an unclean end of the machine is compared with the bytes, piece by piece.
//!
//! **Invariant.** A doubted piece is neither readable nor announced nor fetched anew before it has been found right or
//! wrong; each becomes readable as soon as it is found right.

use std::io;
use std::sync::Arc;

use df_api::ByteRange;

use crate::content::ContentFile;
use crate::fault::StoreError;
use crate::marks::PieceHash;
use crate::record::{Line, Record};
use crate::state::State;
use crate::task::StoredTask;

const READ_BYTES: u64 = 1024 * 1024;

// === impl StoredTask ===

impl StoredTask {
    /// Waits until nothing of the task is doubted any more. To be called before something of it is fetched.
    pub async fn settle(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.entry.is_suspect() {
            return Ok(());
        }
        let task = self.clone();
        tokio::task::spawn_blocking(move || task.check()).await.map_err(io::Error::other)?
    }

    /// Blocks for as long as reading all of it takes, unless the store is closed meanwhile.
    pub(crate) fn check(self: &Arc<Self>) -> Result<(), StoreError> {
        let _one = self.entry.checking.lock();
        if !self.entry.is_suspect() {
            return Ok(());
        }
        let (doubted, meta) = {
            let state = self.state();
            (state.doubted.marks.clone(), state.meta.clone())
        };
        let content = match self.content() {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut wrong = 0u32;
        for (index, hash) in doubted.since(0) {
            if self.home.upgrade().is_none_or(|home| home.is_closed()) {
                return Err(io::Error::other("the store has been closed").into());
            }
            let range = meta.as_ref().and_then(|meta| meta.piece_range(index));
            match content.as_ref().zip(range).is_some_and(|(content, range)| matches(content, range, hash)) {
                true => self.state().mark(index, *hash),
                false => wrong += 1,
            }
            self.wake();
        }
        self.end_check(wrong)
    }

    /// What cannot be corrected on disk stays in doubt.
    fn end_check(&self, wrong: u32) -> Result<(), StoreError> {
        let mut record = self.record.lock();
        let mut state = self.state();
        let doubted = std::mem::take(&mut state.doubted);
        if wrong > 0
            && let Err(error) = self.rewrite(&mut record, &state)
        {
            state.doubted = doubted;
            return Err(error.into());
        }
        state.complete |= doubted.complete && wrong == 0;
        self.tell_brief(&state);
        let complete = state.complete;
        drop(state);
        self.entry.clear_suspicion();
        // Now the record is as young as the content.
        self.write_last_read();
        match wrong {
            0 => tracing::debug!(task = %self.id(), "checked: all is there"),
            _ => tracing::warn!(task = %self.id(), pieces = wrong, "bytes were lost; these pieces are fetched again"),
        }
        self.wake();
        if let (true, Some(home)) = (complete, self.home.upgrade()) {
            home.announce_change();
        }
        Ok(())
    }

    /// The record as the state has it.
    pub(crate) fn rewrite(&self, record: &mut Record, state: &State) -> io::Result<()> {
        let home = self.home.upgrade();
        let _open = match &home {
            Some(home) => Some(home.begin_write()?),
            None => None,
        };
        let task = state.meta.clone().map(|meta| Line::Task { meta });
        let pieces =
            state.marks.since(0).chain(state.doubted.marks.since(0)).map(|(index, hash)| Line::piece(index, hash));
        let label = state.label.clone().filter(|_| state.label_recorded).map(|label| Line::Label { label });
        let complete = (state.complete || state.doubted.complete).then_some(Line::Complete);
        record.rewrite(task.into_iter().chain(label).chain(pieces).chain(complete))
    }
}

/// A piece that cannot be read is as good as lost.
fn matches(content: &ContentFile, range: ByteRange, expected: &PieceHash) -> bool {
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(range.length().min(READ_BYTES)).unwrap_or(0)];
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from((range.end - at).min(READ_BYTES)).unwrap_or(0);
        match content.read_now(&mut buffer[..wanted], at) {
            Ok(0) | Err(_) => return false,
            Ok(read) => {
                hash.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
    hash.finalize() == *expected
}
