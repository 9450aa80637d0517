//! Which piece to ask of which parent next: pure, in order, a few integer operations per piece.
//!
//! Piece `i` belongs to parent `i mod m`, so that several parents share the load without piece maps; a request for bytes a
//! parent does not have yet waits there, and that is the normal case (reference `broadcast.md`, §4).

use df_api::Bitmap;

/// What `plan` looks at.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub held: &'a Bitmap,
    pub pieces: u32,
    /// Piece → parent, by index into the parents.
    pub in_flight: &'a [(u32, usize)],
    /// How many parents may be asked.
    pub parents: usize,
    /// Where the reader is: pieces from here on come first.
    pub reader: u32,
    /// Requests at one parent at once.
    pub per_parent: usize,
}

/// Ask `parent` for `piece`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub piece: u32,
    pub parent: usize,
}

/// What to ask now, in this order. Never a piece that is held or in flight; never more than `per_parent` at one parent.
pub fn plan(view: &View<'_>) -> Vec<Fetch> {
    let mut room: Vec<usize> = (0..view.parents)
        .map(|parent| view.per_parent.saturating_sub(view.in_flight.iter().filter(|(_, p)| *p == parent).count()))
        .collect();
    let mut fetches = Vec::new();
    let mut idle: Vec<bool> = vec![true; view.parents];
    let missing = |piece: &u32| !view.held.has(*piece) && !view.in_flight.iter().any(|(flying, _)| flying == piece);
    for piece in (view.reader..view.pieces).chain(0..view.reader.min(view.pieces)).filter(missing) {
        if room.iter().all(|room| *room == 0) {
            return fetches;
        }
        let parent = piece as usize % view.parents;
        if let Some(left) = room[parent].checked_sub(1) {
            room[parent] = left;
            fetches.push(Fetch { piece, parent });
        } else {
            idle[parent] = false;
        }
    }
    // A parent with nothing of its own left takes from the others' end, so that one slow parent does not hold up the rest.
    let taken: Vec<u32> = fetches.iter().map(|fetch| fetch.piece).collect();
    let mut rest = (0..view.pieces).rev().filter(missing).filter(|piece| !taken.contains(piece));
    for parent in (0..view.parents).filter(|&parent| idle[parent]) {
        for piece in rest.by_ref().take(room[parent]) {
            fetches.push(Fetch { piece, parent });
        }
    }
    fetches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_are_asked_in_order_and_shared_among_parents() {
        let held = Bitmap::default();
        let view = View { held: &held, pieces: 8, in_flight: &[], parents: 2, reader: 0, per_parent: 2 };
        let asked: Vec<_> = plan(&view).iter().map(|fetch| (fetch.piece, fetch.parent)).collect();
        assert_eq!(asked, [(0, 0), (1, 1), (2, 0), (3, 1)]);
    }

    #[test]
    fn the_reader_comes_first() {
        let held = Bitmap::default();
        let view = View { held: &held, pieces: 8, in_flight: &[], parents: 1, reader: 6, per_parent: 3 };
        let asked: Vec<_> = plan(&view).iter().map(|fetch| fetch.piece).collect();
        assert_eq!(asked, [6, 7, 0]);
    }

    #[test]
    fn a_fast_parent_helps_at_the_end() {
        let mut held = Bitmap::default();
        [1, 3, 5, 7].into_iter().for_each(|piece| held.set(piece));
        let view = View { held: &held, pieces: 8, in_flight: &[(0, 0), (2, 0)], parents: 2, reader: 0, per_parent: 2 };
        let asked: Vec<_> = plan(&view).iter().map(|fetch| (fetch.piece, fetch.parent)).collect();
        assert_eq!(asked, [(6, 1), (4, 1)]);
    }

    proptest! {
        #[test]
        fn no_piece_twice_no_parent_over_its_limit(
            pieces in 0..64u32, parents in 0..5usize, per_parent in 0..4usize, reader in 0..80u32,
            held in proptest::collection::btree_set(0..64u32, 0..64), flying in proptest::collection::btree_map(0..64u32, 0..5usize, 0..10),
        ) {
            let mut bitmap = Bitmap::default();
            held.iter().for_each(|&piece| bitmap.set(piece));
            let in_flight: Vec<_> = flying.into_iter().filter(|(piece, parent)| !held.contains(piece) && *parent < parents.max(1)).collect();
            let view = View { held: &bitmap, pieces, in_flight: &in_flight, parents, reader, per_parent };
            let fetches = plan(&view);
            prop_assert_eq!(&fetches, &plan(&view), "pure");
            let distinct: BTreeSet<_> = fetches.iter().map(|fetch| fetch.piece).collect();
            prop_assert_eq!(distinct.len(), fetches.len());
            for fetch in &fetches {
                prop_assert!(fetch.piece < pieces && fetch.parent < parents);
                prop_assert!(!bitmap.has(fetch.piece) && !in_flight.iter().any(|(piece, _)| *piece == fetch.piece));
            }
            for parent in 0..parents {
                let before = in_flight.iter().filter(|(_, p)| *p == parent).count();
                let added = fetches.iter().filter(|fetch| fetch.parent == parent).count();
                prop_assert!(added == 0 || before + added <= per_parent);
            }
            // Nothing is left idle: something is missing and unasked only when every parent is full.
            let unasked = (0..pieces).filter(|piece| !bitmap.has(*piece) && !in_flight.iter().any(|(p, _)| p == piece)).count() - fetches.len();
            if unasked > 0 && parents > 0 && in_flight.is_empty() {
                prop_assert_eq!(fetches.len(), parents * per_parent);
            }
        }
    }
}
