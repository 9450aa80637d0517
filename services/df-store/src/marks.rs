//! Which pieces are checked, with what digest, and in which order they became so.

use std::collections::HashMap;

use df_api::{Algorithm, Digest};

/// BLAKE3 of a piece: raw, because a store holds many.
pub(crate) type PieceHash = [u8; 32];

/// Grows only; a piece is marked once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    order: Vec<u32>,
    hashes: HashMap<u32, PieceHash>,
}

// === impl Marks ===

impl Marks {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn has(&self, index: u32) -> bool {
        self.hashes.contains_key(&index)
    }

    /// `false` when it was marked before.
    pub fn add(&mut self, index: u32, hash: PieceHash) -> bool {
        let new = self.hashes.insert(index, hash).is_none();
        if new {
            self.order.push(index);
        }
        new
    }

    pub fn retain(&mut self, mut stays: impl FnMut(u32) -> bool) {
        self.order.retain(|index| stays(*index));
        self.hashes.retain(|index, _| stays(*index));
    }

    /// In the order they were marked, from the `from`th on.
    pub fn since(&self, from: usize) -> impl Iterator<Item = (u32, &PieceHash)> {
        self.order.iter().skip(from).filter_map(|index| Some((*index, self.hashes.get(index)?)))
    }

    pub fn digest(&self, index: u32) -> Option<Digest> {
        self.hashes.get(&index).map(piece_digest)
    }
}

pub(crate) fn piece_digest(hash: &PieceHash) -> Digest {
    Digest::from_bytes(Algorithm::Blake3, hash)
}

/// `None` for another algorithm.
pub(crate) fn piece_hash(digest: &Digest) -> Option<PieceHash> {
    let blake3 = digest.algorithm() == Algorithm::Blake3;
    blake3.then(|| blake3::Hash::from_hex(digest.hex()).ok()).flatten().map(Into::into)
}
