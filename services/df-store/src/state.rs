//! What is known of a task's pieces at one moment: plain data, no file.

use std::collections::BTreeMap;

use df_api::Bitmap;
use df_api::dfdaemon::Piece;
use tokio::sync::watch;

use crate::label::Label;
use crate::marks::{Marks, PieceHash, piece_digest};
use crate::meta::Meta;
use crate::record::Recovered;

/// Whose bytes count as available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All that have landed, also inside unmarked pieces: for peers, who check for themselves.
    Landed,
    /// Marked pieces only, and the last piece of a digest-addressed content only when the whole has matched: a runtime
    /// must never be given a complete wrong body.
    HoldLast,
    /// Marked pieces only.
    Checked,
}

/// How far a reader can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// This many bytes are there, at least one.
    Bytes(u64),
    /// None yet.
    Pending,
    /// The content ends here.
    End,
}

/// What a task amounts to at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub meta: Option<Meta>,
    pub pieces: Bitmap,
    /// Marked bytes.
    pub held_bytes: u64,
    /// Marked bytes and those landed in unmarked pieces.
    pub landed_bytes: u64,
    pub complete: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub meta: Option<Meta>,
    pub pieces: Bitmap,
    pub marks: Marks,
    pub held_bytes: u64,
    /// Unmarked pieces with a writer: how many of their first bytes have landed, for those who wait for more of them.
    pub landed: BTreeMap<u32, watch::Sender<u64>>,
    pub complete: bool,
    pub doubted: Doubted,
    pub label: Option<Label>,
    /// The record has it, too.
    pub label_recorded: bool,
}

/// What a record said that is not believed yet.
#[derive(Debug, Default)]
pub(crate) struct Doubted {
    pub marks: Marks,
    pub complete: bool,
    /// Of the marked pieces.
    pub bytes: u64,
}

// === impl State ===

impl State {
    pub fn new(recovered: Recovered, suspect: bool) -> Self {
        let (held_bytes, pieces) = (recovered.held_bytes(), recovered.pieces());
        let Recovered { meta, marks, complete, label, .. } = recovered;
        let known = Self { meta, label_recorded: label.is_some(), label: label.map(|label| *label), ..Self::default() };
        match suspect {
            true => Self { doubted: Doubted { marks, complete, bytes: held_bytes }, ..known },
            false => Self { pieces, marks, held_bytes, complete, ..known },
        }
    }

    pub fn mark(&mut self, index: u32, hash: PieceHash) {
        self.landed.remove(&index);
        if self.marks.add(index, hash) {
            self.pieces.set(index);
            let range = self.meta.as_ref().and_then(|meta| meta.piece_range(index));
            self.held_bytes += range.map_or(0, |range| range.length());
        }
    }

    /// It has no writer, is not marked, and is not about to be found right or wrong.
    pub fn may_be_written(&self, index: u32) -> bool {
        !self.pieces.has(index) && !self.landed.contains_key(&index) && !self.doubted.marks.has(index)
    }

    pub fn has_all_pieces(&self) -> bool {
        let meta = self.meta.as_ref().filter(|meta| meta.length.is_some());
        meta.is_some_and(|meta| self.marks.len() == meta.pieces_at_most() as usize)
    }

    /// The first to know it tells.
    pub fn learn_content_type(&mut self, told: Option<String>) {
        if let Some(meta) = self.meta.as_mut().filter(|meta| meta.content_type.is_none()) {
            meta.content_type = told;
        }
    }

    /// See [`Meta::ending_at`].
    pub fn may_end_at(&self, length: u64) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.ending_at(length, &self.marks).is_some())
    }

    pub fn set_length(&mut self, length: u64) {
        let Some(meta) = &mut self.meta else { return };
        meta.length = Some(length);
        self.held_bytes =
            self.marks.since(0).filter_map(|(index, _)| meta.piece_range(index)).map(|range| range.length()).sum();
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            meta: self.meta.clone(),
            pieces: self.pieces.clone(),
            held_bytes: self.held_bytes,
            landed_bytes: self.held_bytes + self.landed.values().map(|landed| *landed.borrow()).sum::<u64>(),
            complete: self.complete,
        }
    }

    pub fn events_since(&self, since: u64) -> (Vec<Piece>, u64) {
        let from = usize::try_from(since.saturating_sub(1)).unwrap_or(usize::MAX);
        let pieces = self.marks.since(from).map(|(index, hash)| Piece { index, digest: piece_digest(hash) });
        (pieces.collect(), self.meta.iter().count() as u64 + self.marks.len() as u64)
    }

    /// The piece in which what has landed from `from` on ends, while somebody writes it.
    pub fn landing_after(&self, from: u64) -> Option<watch::Receiver<u64>> {
        let meta = self.meta.as_ref()?;
        let index = u32::try_from((from + self.contiguous(from, false)) / meta.piece_length).ok()?;
        Some(self.landed.get(&index)?.subscribe())
    }

    /// Contiguous bytes from `from` on.
    fn contiguous(&self, from: u64, checked_only: bool) -> u64 {
        let Some(meta) = &self.meta else { return 0 };
        if let (true, Some(length)) = (self.complete, meta.length) {
            return length.saturating_sub(from);
        }
        let mut at = from;
        loop {
            let Ok(index) = u32::try_from(at / meta.piece_length) else { return at - from };
            let Some(range) = meta.piece_range(index).filter(|range| range.start <= at && at < range.end) else {
                return at - from;
            };
            if self.pieces.has(index) {
                at = range.end;
                continue;
            }
            let landed = if checked_only { 0 } else { self.landed.get(&index).map_or(0, |landed| *landed.borrow()) };
            return at.max((range.start + landed).min(range.end)) - from;
        }
    }

    pub fn available(&self, from: u64, trust: Trust) -> Available {
        let unverified =
            trust == Trust::HoldLast && !self.complete && self.meta.as_ref().is_some_and(|m| m.digest.is_some());
        let length = self.meta.as_ref().and_then(|meta| meta.length);
        if length.is_some_and(|length| from >= length) {
            // The end is what makes a body complete: it must not be seen before the whole has matched.
            return if unverified { Available::Pending } else { Available::End };
        }
        let mut bytes = self.contiguous(from, trust != Trust::Landed);
        if unverified && let (Some(length), Some(meta)) = (length, &self.meta) {
            let held_from = length.saturating_sub(1) / meta.piece_length * meta.piece_length;
            bytes = bytes.min(held_from.saturating_sub(from));
        }
        if bytes == 0 { Available::Pending } else { Available::Bytes(bytes) }
    }
}
