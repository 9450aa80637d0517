//! What a content is and how it is cut, as its first source described it.

use df_api::task::piece_count;
use df_api::{Bitmap, ByteRange, Digest};
use serde::{Deserialize, Serialize};

use crate::marks::Marks;

/// What a content is, known once its origin, or a parent, has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// `None` while an origin that does not tell is still sending.
    pub length: Option<u64>,
    pub piece_length: u64,
    pub content_type: Option<String>,
    pub digest: Option<Digest>,
    /// `ETag` or `Last-Modified` of an origin's content that has no digest: a rest of it is of the same version, or not
    /// taken.
    pub validator: Option<String>,
}

/// Why a description is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaConflict {
    #[error("a source says {given:?}, but the task is known as {known:?}")]
    Differs { known: Box<Meta>, given: Box<Meta> },
    #[error("a source says {given:?}, which no content can be")]
    Impossible { given: Box<Meta> },
}

/// Far above what this project cuts (see [`df_api::task::piece_length`]), far below what overflows.
const PIECE_LENGTH_LIMIT: u64 = 1 << 30;
/// Longer ones are no media types, and no validators.
const TEXT_BYTES_MAX: usize = 1024;

// === impl Meta ===

impl Meta {
    /// Whether its numbers can be computed with, in bounded memory.
    pub fn is_sound(&self) -> bool {
        let pieces = |length: u64| length.div_ceil(self.piece_length);
        (1..=PIECE_LENGTH_LIMIT).contains(&self.piece_length)
            && self.length.is_none_or(|length| pieces(length) <= Bitmap::PIECES_MAX as u64)
            && [&self.content_type, &self.validator].into_iter().flatten().all(|text| text.len() <= TEXT_BYTES_MAX)
    }

    pub(crate) fn without_long_texts(mut self) -> Self {
        let short = |text: &String| text.len() <= TEXT_BYTES_MAX;
        self.content_type = self.content_type.filter(short);
        self.validator = self.validator.filter(short);
        self
    }

    /// With an end that nobody had told. `None` when it cannot be: every marked piece has to stay as long as it was taken
    /// to be.
    pub(crate) fn ending_at(&self, length: u64, marks: &Marks) -> Option<Self> {
        let told = Self { length: Some(length), ..self.clone() };
        let stays = |index| told.piece_range(index) == self.piece_range(index);
        (self.length.is_none() && told.is_sound() && marks.since(0).all(|(index, _)| stays(index))).then_some(told)
    }

    /// How many pieces there are; at most, while the length is not known.
    pub(crate) fn pieces_at_most(&self) -> u32 {
        self.length.map_or(Bitmap::PIECES_MAX as u32, |length| piece_count(length, self.piece_length))
    }

    /// `None` beyond the content.
    pub(crate) fn piece_range(&self, index: u32) -> Option<ByteRange> {
        let start = u64::from(index) * self.piece_length;
        let end = start + self.piece_length;
        ByteRange::new(start, self.length.map_or(end, |length| end.min(length)))
    }
}
