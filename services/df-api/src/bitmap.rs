//! Which pieces are there: one bit each, base64 on the wire, so 4,096 pieces cost 684 characters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Grows by itself; a bit never set reads as `false`. Two bitmaps are equal when the same bits are set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bitmap {
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBitmap {
    #[error("the bitmap is not base64 without padding")]
    Encoding,
    #[error("the bitmap has more than {} pieces", Bitmap::PIECES_MAX)]
    TooLong,
}

crate::text_schema!(Bitmap, "^[A-Za-z0-9+/]*$", "Pieces held: bit i of byte i/8, base64 without padding");

// === impl Bitmap ===

impl Bitmap {
    /// More pieces than any task has (see [`crate::task::piece_length`]); bounds what a request can make us allocate.
    pub const PIECES_MAX: usize = 1 << 20;

    pub fn has(&self, piece: u32) -> bool {
        self.bytes.get(piece as usize / 8).is_some_and(|byte| byte & (1 << (piece % 8)) != 0)
    }

    pub fn set(&mut self, piece: u32) {
        let at = piece as usize / 8;
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, 0);
        }
        self.bytes[at] |= 1 << (piece % 8);
    }

    pub fn clear(&mut self, piece: u32) {
        if let Some(byte) = self.bytes.get_mut(piece as usize / 8) {
            *byte &= !(1 << (piece % 8));
        }
    }

    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    /// The first piece at or after `from` that is not there; may lie beyond the content.
    pub fn first_missing(&self, from: u32) -> u32 {
        (from..).find(|&piece| !self.has(piece)).unwrap_or(u32::MAX)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.bytes.len() as u32 * 8).filter(|&piece| self.has(piece))
    }
}

impl PartialEq for Bitmap {
    fn eq(&self, other: &Self) -> bool {
        let longest = self.bytes.len().max(other.bytes.len());
        let at = |bitmap: &Self, i: usize| bitmap.bytes.get(i).copied().unwrap_or(0);
        (0..longest).all(|i| at(self, i) == at(other, i))
    }
}

impl Eq for Bitmap {}

impl TryFrom<String> for Bitmap {
    type Error = InvalidBitmap;
    fn try_from(text: String) -> Result<Self, InvalidBitmap> {
        if text.len() > Self::PIECES_MAX / 6 + 4 {
            return Err(InvalidBitmap::TooLong);
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| InvalidBitmap::Encoding)?;
        Ok(Self { bytes })
    }
}

impl From<Bitmap> for String {
    fn from(mut bitmap: Bitmap) -> String {
        while bitmap.bytes.last() == Some(&0) {
            bitmap.bytes.pop();
        }
        STANDARD_NO_PAD.encode(bitmap.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_is_a_set_that_survives_the_wire(pieces in proptest::collection::btree_set(0..5000u32, 0..200), dropped in 0..5000u32) {
            let mut bitmap = Bitmap::default();
            pieces.iter().for_each(|&p| bitmap.set(p));
            let back = Bitmap::try_from(String::from(bitmap.clone())).unwrap();
            prop_assert_eq!(&back, &bitmap);
            prop_assert_eq!(back.iter().collect::<BTreeSet<_>>(), pieces.clone());
            prop_assert_eq!(back.count() as usize, pieces.len());
            bitmap.clear(dropped);
            prop_assert!(!bitmap.has(dropped));
            prop_assert!(bitmap.first_missing(0) <= dropped);
        }
    }

    #[test]
    fn too_long_or_wrong_input_is_refused() {
        assert_eq!(Bitmap::try_from("!".to_owned()), Err(InvalidBitmap::Encoding));
        assert_eq!(Bitmap::try_from("A".repeat(1 << 20)), Err(InvalidBitmap::TooLong));
    }
}
