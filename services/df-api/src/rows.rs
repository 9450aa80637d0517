//! Rows of relays: which parent brings which piece. Pure, so that every component agrees.
//!
//! The peers of a task stand in rows of `width` slots, one row below the other, the first below who has the content.
//! Piece `i` enters a row at one member, its *relay*, which reads it from the row above and hands it to its row mates
//! and to the next row, while it arrives. So every peer receives the content once and sends it about once, whatever
//! their number, and nobody needs to know who holds what: a request for bytes that are not there yet waits for them.
//!
//! A relay's link is full: when its slot has fallen behind, it cannot catch up, and all wait for it in the end. So each piece
//! of a late slot goes from its relay to one other member of the row alone, its *helper*, and from that one to the rest.
//!
//! **Invariants** (property tests below). Over any piece, "reads from" has no cycle and leads to the top, also while only
//! some take it for late. With any number of members in a row each of them relays the same share. A peer that comes or goes
//! changes the sources of its own row and of the row below only.

/// The relay of a piece among the members of one row, in the order of their slots; `None` in an empty row.
///
/// A slot's pieces are its member's; those of an empty slot go round the members there are.
pub fn relay<T: Copy>(members: &[(u32, T)], width: u32, piece: u32) -> Option<T> {
    let width = width.max(1);
    let (round, slot) = (piece / width, piece % width);
    let own = members.iter().find(|(taken, _)| *taken == slot);
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let instead = || members.get((round.wrapping_add(slot).checked_rem(count)?) as usize);
    own.or_else(instead).map(|(_, member)| *member)
}

/// The member to which the relay of a late piece gives it; they take turns. `None` when there is nobody else.
fn helper<T: Copy + PartialEq>(mut members: Vec<(u32, T)>, relay: T, width: u32, piece: u32) -> Option<T> {
    members.retain(|(_, member)| *member != relay);
    let round = (piece / width.max(1)) as usize;
    round.checked_rem(members.len()).map(|at| members[at].1)
}

/// Where one peer stands, and who stands around it. `T` is whatever names a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings<T> {
    pub width: u32,
    /// Its own slot; `None` for one that only reads.
    pub slot: Option<u32>,
    /// The others of its row, by slot; for one that only reads, all of a row.
    pub mates: Vec<(u32, T)>,
    /// The row above, by slot; whoever has the content, above the first.
    pub above: Vec<(u32, T)>,
}

// === impl Surroundings ===

impl<T: Copy + PartialEq> Surroundings<T> {
    /// Whom to ask for a piece. `None` when the row above is empty and the piece is its own to relay.
    pub fn source(&self, piece: u32) -> Option<T> {
        match relay(&self.row(), self.width, piece) {
            Some(Some(mate)) => Some(mate),
            Some(None) | None => relay(&self.above, self.width, piece),
        }
    }

    /// Whom to ask for a piece of a slot that is late. Helpers read from the relay, whatever others take for late.
    pub fn source_when_late(&self, piece: u32) -> Option<T> {
        let row = self.row();
        match relay(&row, self.width, piece) {
            Some(Some(mate)) => helper(row, Some(mate), self.width, piece).flatten().or(Some(mate)),
            Some(None) | None => {
                let relay = relay(&self.above, self.width, piece)?;
                helper(self.above.clone(), relay, self.width, piece).or(Some(relay))
            }
        }
    }

    /// By slot; `None` is the peer itself.
    fn row(&self) -> Vec<(u32, Option<T>)> {
        let mut row: Vec<(u32, Option<T>)> = self.mates.iter().map(|(slot, mate)| (*slot, Some(*mate))).collect();
        if let Some(own) = self.slot {
            row.insert(row.partition_point(|(slot, _)| *slot < own), (own, None));
        }
        row
    }

    /// Who brings a piece into the row above: whoever reads it there, or from there, has it from them.
    pub fn behind(&self, piece: u32) -> Option<T> {
        relay(&self.above, self.width, piece)
    }

    /// Whom to ask for the digest of a piece: neither who sends it nor whom the sender has it from, so that nobody can
    /// vouch for itself; and above the peer, so that it is ahead. The next best when there is nobody else.
    pub fn witness(&self, piece: u32) -> Option<T> {
        let (source, behind) = (self.source(piece)?, self.behind(piece));
        let without = |others: Option<T>| {
            let fit = |parent: T| parent != source && Some(parent) != others;
            let above: Vec<_> = self.above.iter().filter(|(_, parent)| fit(*parent)).copied().collect();
            relay(&above, self.width, piece)
        };
        without(behind).or_else(|| without(None)).or(Some(source))
    }

    /// As if a parent were not there: what it would bring comes over the others.
    pub fn without(&self, gone: T) -> Self {
        let rest = |row: &[(u32, T)]| row.iter().filter(|(_, parent)| *parent != gone).copied().collect();
        Self { width: self.width, slot: self.slot, mates: rest(&self.mates), above: rest(&self.above) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Row and slot; the top is `None`.
    type Member = (usize, u32);

    fn around(rows: &[Vec<u32>], width: u32, (row, slot): Member) -> Surroundings<Option<Member>> {
        let members = |at: usize| rows[at].iter().map(move |slot| (*slot, Some((at, *slot))));
        let above = (0..row).rev().find(|&at| !rows[at].is_empty());
        Surroundings {
            width,
            slot: Some(slot),
            mates: members(row).filter(|(other, _)| *other != slot).collect(),
            above: above.map_or(vec![(0, None)], |at| members(at).collect()),
        }
    }

    /// Some rows of some slots, some of them empty.
    fn some_rows() -> impl Strategy<Value = (u32, Vec<Vec<u32>>)> {
        (1..9u32).prop_flat_map(|width| {
            let row = proptest::collection::btree_set(0..width, 0..=width as usize);
            let rows = proptest::collection::vec(row.prop_map(|row| row.into_iter().collect::<Vec<_>>()), 1..8);
            (Just(width), rows)
        })
    }

    fn members(rows: &[Vec<u32>]) -> impl Iterator<Item = Member> {
        rows.iter().enumerate().flat_map(|(row, slots)| slots.iter().map(move |slot| (row, *slot)))
    }

    proptest! {
        #[test]
        fn every_piece_comes_down_from_the_top((width, rows) in some_rows(), piece in 0..10_000u32) {
            for member in members(&rows) {
                let (mut at, mut steps) = (member, 0);
                while let Some(next) = around(&rows, width, at).source(piece).unwrap() {
                    prop_assert!(next != at);
                    at = next;
                    steps += 1;
                    prop_assert!(steps <= 2 * rows.len(), "{member:?} goes round in circles");
                }
            }
        }

        #[test]
        fn a_late_piece_comes_down_as_well(
            (width, rows) in some_rows(), piece in 0..10_000u32, late in proptest::collection::vec(any::<bool>(), 16),
        ) {
            for member in members(&rows) {
                let (mut at, mut steps) = (member, 0);
                let from = |at: Member, steps: usize| match late[(at.0 + 3 * at.1 as usize + steps) % late.len()] {
                    true => around(&rows, width, at).source_when_late(piece).unwrap(),
                    false => around(&rows, width, at).source(piece).unwrap(),
                };
                while let Some(next) = from(at, steps) {
                    prop_assert!(next != at);
                    at = next;
                    steps += 1;
                    prop_assert!(steps <= 3 * rows.len(), "{member:?} goes round in circles");
                }
            }
        }

        #[test]
        fn a_relay_gives_a_late_piece_to_one((width, rows) in some_rows(), piece in 0..1000u32) {
            let late = |member| around(&rows, width, member).source_when_late(piece).unwrap();
            for at in 0..rows.len() {
                let all = || members(&rows).filter(|(row, _)| *row == at);
                // Those of the row, and the relay of the next.
                let source = |member| around(&rows, width, member).source(piece).unwrap();
                let relay = all().find(|member| source(*member).is_none_or(|(above, _)| above < at));
                let readers = members(&rows).filter(|member| relay.is_some() && late(*member) == relay).count();
                prop_assert!(readers <= 1 || all().count() == 1, "{readers} read from {relay:?}");
            }
        }

        #[test]
        fn every_member_sends_about_what_it_receives((width, rows) in some_rows()) {
            // A number of pieces that every number of members divides.
            let pieces = 840 * width;
            let mut sent: BTreeMap<Option<Member>, u32> = BTreeMap::new();
            for (member, piece) in members(&rows).flat_map(|member| (0..pieces).map(move |piece| (member, piece))) {
                *sent.entry(around(&rows, width, member).source(piece).unwrap()).or_default() += 1;
            }
            if !rows.concat().is_empty() {
                prop_assert_eq!(sent[&None], pieces, "the top sends each piece once");
            }
            for (row, slot) in members(&rows) {
                let count = rows[row].len() as u32;
                let relayed = sent.get(&Some((row, slot))).copied().unwrap_or(0);
                prop_assert!(relayed <= pieces + pieces / count, "{relayed} of {pieces} in a row of {count}");
            }
        }

        #[test]
        fn one_that_goes_concerns_its_row_and_the_next((width, rows) in some_rows(), which in 0..64usize, piece in 0..1000u32) {
            let all: Vec<_> = members(&rows).collect();
            prop_assume!(!all.is_empty());
            let (row, slot) = all[which % all.len()];
            let mut after = rows.clone();
            after[row].retain(|taken| *taken != slot);
            let below = (row + 1..rows.len()).find(|&below| !rows[below].is_empty());
            for member in members(&after).filter(|(at, _)| *at != row && Some(*at) != below) {
                prop_assert_eq!(around(&rows, width, member).source(piece), around(&after, width, member).source(piece));
            }
        }

        #[test]
        fn a_witness_is_above_and_somebody_else((width, rows) in some_rows(), piece in 0..1000u32) {
            for (row, slot) in members(&rows) {
                let here = around(&rows, width, (row, slot));
                let (source, witness) = (here.source(piece).unwrap(), here.witness(piece).unwrap());
                prop_assert!(here.above.iter().any(|(_, parent)| *parent == witness));
                prop_assert!(witness != source || here.above.len() == 1);
                // Nor anybody through whom the piece comes, as long as there are two besides.
                let mut through = source;
                while let Some(next) = through.and_then(|member| around(&rows, width, member).source(piece)) {
                    prop_assert!(witness != through || here.above.len() <= 2);
                    through = next;
                }
            }
        }
    }

    #[test]
    fn one_that_only_reads_takes_from_a_whole_row() {
        let leaf = Surroundings { width: 4, slot: None, mates: vec![(0, 'a'), (2, 'c')], above: vec![(0, 's')] };
        let sources: Vec<_> = (0..8).map(|piece| leaf.source(piece).unwrap()).collect();
        assert_eq!(sources, ['a', 'c', 'c', 'c', 'a', 'a', 'c', 'a']);
        assert_eq!(leaf.without('a').without('c').source(0), Some('s'));
        assert_eq!(leaf.without('a').without('c').without('s').source(0), None);
    }
}
