//! How much of a content a download is to bring: pure.

use df_api::{Bitmap, ByteRange};
use df_store::Meta;

/// What those want who have asked since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// Ascending, apart from each other, never empty.
    Parts(Vec<ByteRange>),
}

/// Of more parts the nearest become one.
const PARTS_MAX: usize = 256;

// === impl Wanted ===

impl Wanted {
    /// `None`: all of it.
    pub fn new(part: Option<ByteRange>) -> Self {
        part.map_or(Self::Whole, |part| Self::Parts(vec![part]))
    }

    pub fn add(&mut self, part: Option<ByteRange>) {
        let (Self::Parts(parts), Some(part)) = (&mut *self, part) else {
            if part.is_none() {
                *self = Self::Whole;
            }
            return;
        };
        parts.push(part);
        parts.sort_unstable_by_key(|part| part.start);
        merge_within(parts, 0);
        while parts.len() > PARTS_MAX {
            let gaps = parts.windows(2).map(|pair| pair[1].start - pair[0].end);
            let nearest = gaps.min().unwrap_or(0);
            merge_within(parts, nearest);
        }
    }

    /// The first byte, and the end of the part it begins; `None` when everything is wanted.
    pub fn first(&self) -> Option<ByteRange> {
        match self {
            Self::Whole => None,
            Self::Parts(parts) => parts.first().copied(),
        }
    }

    /// Whether `held` has all of it.
    pub fn is_in(&self, held: &Bitmap, meta: &Meta) -> bool {
        let all = [ByteRange { start: 0, end: u64::MAX }];
        let parts = if let Self::Parts(parts) = self { parts.as_slice() } else { &all };
        parts.iter().all(|part| {
            let end = meta.length.map_or(part.end, |length| part.end.min(length));
            let (first, end) = (part.start / meta.piece_length, end.div_ceil(meta.piece_length));
            // A number that no piece has lies beyond the content, or is never reached.
            let Ok(first) = u32::try_from(first) else { return meta.length.is_some() };
            u64::from(first) >= end || u64::from(held.first_missing(first)) >= end
        })
    }

    /// `held`, and all pieces that nobody wants.
    pub fn spare(&self, held: &Bitmap, meta: &Meta, pieces: u32) -> Bitmap {
        let mut spare = held.clone();
        let Self::Parts(parts) = self else { return spare };
        let mut wanted = Bitmap::default();
        for part in parts {
            let first = u32::try_from(part.start / meta.piece_length).unwrap_or(u32::MAX);
            let end = u32::try_from(part.end.div_ceil(meta.piece_length)).unwrap_or(u32::MAX).min(pieces);
            (first..end).for_each(|piece| wanted.set(piece));
        }
        (0..pieces).filter(|piece| !wanted.has(*piece)).for_each(|piece| spare.set(piece));
        spare
    }
}

/// Joins those that have at most so many bytes between them.
fn merge_within(parts: &mut Vec<ByteRange>, gap: u64) {
    let mut merged: Vec<ByteRange> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        match merged.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(gap) => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    *parts = merged;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(length: Option<u64>) -> Meta {
        Meta { length, piece_length: 10, content_type: None, digest: None, validator: None }
    }

    fn bits(pieces: &[u32]) -> Bitmap {
        let mut bits = Bitmap::default();
        pieces.iter().for_each(|piece| bits.set(*piece));
        bits
    }

    fn part(start: u64, end: u64) -> Option<ByteRange> {
        ByteRange::new(start, end)
    }

    #[test]
    fn a_part_is_the_pieces_it_touches() {
        let wanted = Wanted::new(part(15, 31));
        let meta = meta(Some(95));
        assert!(!wanted.is_in(&bits(&[1, 2]), &meta) && wanted.is_in(&bits(&[1, 2, 3]), &meta));
        assert_eq!(wanted.spare(&bits(&[2]), &meta, 10), bits(&[0, 2, 4, 5, 6, 7, 8, 9]));
        assert_eq!(Wanted::Whole.spare(&bits(&[2]), &meta, 10), bits(&[2]));
    }

    #[test]
    fn what_lies_beyond_the_end_is_not_waited_for() {
        for range in [part(90, u64::MAX), part(90, 1000)] {
            assert!(Wanted::new(range).is_in(&bits(&[9]), &meta(Some(95))));
            assert!(!Wanted::new(range).is_in(&bits(&[9]), &meta(None)), "there may be more");
        }
        assert!(Wanted::new(part(u64::MAX - 1, u64::MAX)).is_in(&bits(&[]), &meta(Some(95))));
        assert!(Wanted::new(part(5, 12)).is_in(&bits(&[0, 1]), &meta(None)));
    }

    #[test]
    fn the_whole_takes_in_every_part() {
        let mut wanted = Wanted::new(part(5, 12));
        wanted.add(None);
        assert_eq!(wanted, Wanted::Whole);
        wanted.add(part(0, 1));
        assert_eq!(wanted, Wanted::Whole);
    }

    proptest! {
        #[test]
        fn whatever_was_asked_for_is_wanted_and_bounded(
            asked in prop::collection::vec((0..20_000u64, 1..50u64), 1..600),
        ) {
            let asked: Vec<_> = asked.into_iter().filter_map(|(start, length)| part(start, start + length)).collect();
            let mut wanted = Wanted::new(Some(asked[0]));
            asked[1..].iter().for_each(|part| wanted.add(Some(*part)));
            let Wanted::Parts(parts) = wanted else { unreachable!() };
            prop_assert!(parts.len() <= PARTS_MAX);
            prop_assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
            for one in &asked {
                prop_assert!(parts.iter().any(|part| part.start <= one.start && one.end <= part.end));
            }
        }

        #[test]
        fn what_is_not_spare_is_missing(
            asked in prop::collection::vec((0..120u64, 1..50u64), 1..5), held in prop::collection::btree_set(0..10u32, 0..10),
        ) {
            let mut wanted = Wanted::new(part(asked[0].0, asked[0].0 + asked[0].1));
            asked[1..].iter().for_each(|(start, length)| wanted.add(part(*start, start + length)));
            let held = bits(&held.into_iter().collect::<Vec<_>>());
            let spare = wanted.spare(&held, &meta(Some(95)), 10);
            prop_assert_eq!(wanted.is_in(&held, &meta(Some(95))), spare.first_missing(0) >= 10);
        }
    }
}
