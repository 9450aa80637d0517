//! Which piece to ask of which parent next: pure, in order, a few integer operations per piece.
//!
//! Rows of relays say whose piece it is (`df_api::rows`), so that parents share the load without piece maps; a request for
//! bytes a parent does not have yet waits there, and that is the normal case (reference `broadcast.md`, §4).
//!
//! **Invariants** (property tests). Never more than `per_parent` requests at one parent. Never a piece twice, except as
//! one hedge. Never the reserve while a relay is there, a hedge's last resort excepted. Whoever is lost, every missing piece is asked
//! for as soon as somebody has room.

use std::collections::BTreeMap;

use df_api::Bitmap;
use df_api::rows::Surroundings;

/// How far parents may run ahead of the slowest that moves: so many pieces of each, and so many in all.
const ROUNDS_AHEAD: u32 = 4;
const PIECES_AHEAD_MIN: u32 = 8;
/// A parent that is so many rounds ahead of the slowest that moves is asked for one piece at a time. When what was late
/// comes at last, several at each of the others would take most of the link from it: after one relay had died, all below
/// went at three quarters of their speed for the rest.
const ROUNDS_TOGETHER: u32 = 2;
/// A slot whose pieces are missing when most of the others' of so many rounds later are here is late (`df_api::rows`).
/// After a relay had died it stayed so for the rest, and all waited for it in the end: 1.29 of the bound, now 1.12.
const ROUNDS_LATE: u32 = 2;

/// Names a parent within one download.
pub type Key = u32;

/// What `plan` looks at.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Marked, or whole and waiting for its digest.
    pub here: &'a Bitmap,
    pub pieces: u32,
    /// The pieces in which somebody reads, ascending.
    pub readers: &'a [u32],
    /// Those of them from which somebody reads on.
    pub fronts: &'a [u32],
    /// All parents, whatever they do.
    pub linked: &'a Surroundings<Key>,
    /// Those to ask now: neither busy nor suspected.
    pub usable: &'a Surroundings<Key>,
    /// To be asked when the others do not deliver, best first.
    pub reserve: &'a [Key],
    /// Not this piece from this parent: it has sent something else than it should, or is said to.
    pub avoid: &'a [(u32, Key)],
    pub in_flight: &'a [Flying],
    pub per_parent: usize,
}

/// A request at a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flying {
    pub piece: u32,
    pub parent: Key,
    /// Bytes have come lately.
    pub moving: bool,
    pub hedge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is somebody else's piece now, and the parent is not sending. Kept requests of an earlier view could wait for
    /// each other in a circle.
    Cancel {
        piece: u32,
        parent: Key,
    },
    Fetch {
        piece: u32,
        parent: Key,
    },
}

/// A request that is not getting on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    pub piece: u32,
    pub parent: Key,
    pub rest_bytes: u64,
    /// The parent has told that it has the piece.
    pub ahead: bool,
    /// For so long that the last of the reserve is asked, whatever it has told.
    pub forlorn: bool,
}

/// What to ask now, in this order.
pub fn plan(view: &View<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut room = Room::of(view);
    for flying in view.in_flight.iter().filter(|flying| !flying.hedge && !flying.moving) {
        if !view.is_source(flying.parent, flying.piece) {
            steps.push(Step::Cancel { piece: flying.piece, parent: flying.parent });
            room.give_back(flying.parent);
        }
    }
    let is_kept = |flying: &&Flying| !steps.contains(&Step::Cancel { piece: flying.piece, parent: flying.parent });
    let kept: Vec<Flying> = view.in_flight.iter().filter(is_kept).copied().collect();
    let mut fetches: Vec<(u32, Key)> = Vec::new();
    // One late piece at each: its own pieces are not to wait behind what it waits for itself.
    let helping = kept.iter().filter(|flying| !flying.hedge && view.helps(flying.parent, flying.piece));
    let helping: Vec<Key> = helping.map(|flying| flying.parent).collect();
    let near = |piece: &u32| !view.here.has(*piece) && !view.is_far(*piece);
    for piece in in_order(view.readers, view.pieces).filter(near) {
        if room.is_full() {
            break;
        }
        if kept.iter().any(|flying| flying.piece == piece) {
            continue;
        }
        let asked = |parent: Key| fetches.iter().any(|(other, of)| *of == parent && view.helps(parent, *other));
        let helps = |parent: Key| view.helps(parent, piece) && (helping.contains(&parent) || asked(parent));
        let source = view.source(piece).and_then(|parent| if helps(parent) { view.relay(piece) } else { Some(parent) });
        if let Some(parent) = source
            && (room.is_idle(parent) || !view.is_ahead(piece))
            && room.take(parent)
        {
            fetches.push((piece, parent));
        }
    }
    steps.extend(fetches.into_iter().map(|(piece, parent)| Step::Fetch { piece, parent }));
    steps
}

/// Second requests for what is not getting on: of somebody who has all of it, the reserve last; within `budget_bytes`.
///
/// The reserve, which most often is the seed, is for those whose own parent does not send what it has. Behind one bad relay
/// everybody waits, and who is next to it gets around it; should all ask the seed, those who read from it would starve.
pub fn hedge(view: &View<'_>, stalled: &[Stalled], has: impl Fn(Key, u32) -> bool, mut budget_bytes: u64) -> Vec<Step> {
    let mut room = Room::of(view);
    let mut steps: Vec<Step> = Vec::new();
    for slow in stalled {
        let flights = || view.in_flight.iter().filter(|flying| flying.piece == slow.piece);
        if flights().count() != 1 || slow.rest_bytes > budget_bytes {
            continue;
        }
        let near = view.usable.mates.iter().chain(&view.usable.above).map(|(_, key)| *key);
        let reserve = view.reserve.iter().copied().filter(|_| slow.ahead);
        let holders = near.chain(reserve).filter(|key| has(*key, slow.piece));
        let last_resort = view.reserve.last().copied().filter(|key| slow.forlorn && room.is_idle(*key));
        let fit = |key: &Key| *key != slow.parent && !view.avoid.contains(&(slow.piece, *key)) && room.has(*key);
        if let Some(parent) = holders.chain(last_resort).find(fit) {
            room.take(parent);
            budget_bytes -= slow.rest_bytes;
            steps.push(Step::Fetch { piece: slow.piece, parent });
        }
    }
    steps
}

/// Every reader's next piece first, then the ones after it, and so on; what lies before all readers comes last.
fn in_order(readers: &[u32], pieces: u32) -> impl Iterator<Item = u32> {
    let starts: Vec<u32> = readers.iter().copied().filter(|start| *start < pieces).collect();
    let first = starts.first().copied().unwrap_or(0);
    let starts = if starts.is_empty() { vec![0] } else { starts };
    let ends: Vec<u32> = starts.iter().skip(1).copied().chain([pieces]).collect();
    let longest = starts.iter().zip(&ends).map(|(start, end)| end - start).max().unwrap_or(0);
    let at = move |step: u32| {
        let pieces: Vec<u32> = starts
            .iter()
            .zip(&ends)
            .map(|(start, end)| (start + step, *end))
            .filter(|(at, end)| at < end)
            .map(|(at, _)| at)
            .collect();
        pieces
    };
    (0..longest).flat_map(at).chain(0..first)
}

/// How many more requests each parent takes.
struct Room {
    left: BTreeMap<Key, usize>,
    per_parent: usize,
    /// Whether the reserve has anything to bring; else the relays alone say when to stop.
    reserve_counts: bool,
    reserve: Vec<Key>,
}

// === impl View ===

impl View<'_> {
    /// Whose piece it is, were nobody late.
    fn relay(&self, piece: u32) -> Option<Key> {
        self.usable.source(piece).or(self.reserve.first().copied())
    }

    /// It is asked for what another should bring, and might.
    fn helps(&self, parent: Key, piece: u32) -> bool {
        self.relay(piece) != Some(parent) && self.avoid.iter().all(|(of, _)| *of != piece)
    }

    fn source(&self, piece: u32) -> Option<Key> {
        let avoided: Vec<Key> = self.avoid.iter().filter(|(of, _)| *of == piece).map(|(_, key)| *key).collect();
        if avoided.is_empty() {
            let late = self.is_late(piece).then(|| self.usable.source_when_late(piece)).flatten();
            return late.or_else(|| self.relay(piece));
        }
        let around = avoided.iter().fold(self.usable.clone(), |around, key| around.without(*key));
        let reserve = || self.reserve.iter().copied().find(|key| !avoided.contains(key));
        around.source(piece).or_else(reserve).or_else(|| self.usable.source(piece)).or(self.reserve.first().copied())
    }

    /// Towards the end, where there are no rounds later, only when all others of the last are here.
    fn is_late(&self, piece: u32) -> bool {
        let width = self.linked.width.max(1);
        let (round, last) = (piece / width, self.pieces.saturating_sub(1) / width);
        let later = last.min(round + ROUNDS_LATE);
        let of_round = later * width..self.pieces.min((later + 1) * width);
        let others: Vec<u32> = of_round.filter(|other| other % width != piece % width).collect();
        let here = others.iter().filter(|other| self.here.has(**other)).count();
        match later > round {
            true => 2 * here > others.len(),
            false => here > 0 && here == others.len(),
        }
    }

    /// Others are on their way that come long before it, for the same front, and nobody waits for it. Parents that went
    /// on as fast as each can would take the link from the slowest, which has what the whole row waits for in the end;
    /// one that does not move at all holds nobody up.
    fn is_far(&self, piece: u32) -> bool {
        let ahead = self.linked.width.saturating_mul(ROUNDS_AHEAD).max(PIECES_AHEAD_MIN);
        !self.readers.contains(&piece) && self.slowest(piece).is_some_and(|slow| slow.saturating_add(ahead) < piece)
    }

    fn is_ahead(&self, piece: u32) -> bool {
        let together = self.linked.width.saturating_mul(ROUNDS_TOGETHER);
        !self.readers.contains(&piece) && self.slowest(piece).is_some_and(|slow| slow.saturating_add(together) <= piece)
    }

    /// The first piece that is moving, of those for the same front.
    fn slowest(&self, piece: u32) -> Option<u32> {
        let start = self.fronts.iter().copied().filter(|front| *front <= piece).max().unwrap_or(0);
        let moving = self.in_flight.iter().filter(|flying| flying.moving && !flying.hedge && flying.piece >= start);
        moving.map(|flying| flying.piece).min()
    }

    /// In either view: a parent that is only suspected keeps what it was asked.
    fn is_source(&self, parent: Key, piece: u32) -> bool {
        self.linked.source(piece) == Some(parent) || self.source(piece) == Some(parent)
    }
}

// === impl Room ===

impl Room {
    fn of(view: &View<'_>) -> Self {
        let keys = view.usable.mates.iter().chain(&view.usable.above).map(|(_, key)| key).chain(view.reserve);
        let taken = |key: Key| view.in_flight.iter().filter(|flying| flying.parent == key).count();
        let left = keys.map(|key| (*key, view.per_parent.saturating_sub(taken(*key)))).collect();
        let reserve_counts = view.usable.above.is_empty() || !view.avoid.is_empty();
        Self { left, per_parent: view.per_parent, reserve_counts, reserve: view.reserve.to_vec() }
    }

    fn is_full(&self) -> bool {
        let counts = |key: &Key| self.reserve_counts || !self.reserve.contains(key);
        self.left.iter().filter(|(key, _)| counts(key)).all(|(_, left)| *left == 0)
    }

    fn has(&self, key: Key) -> bool {
        self.left.get(&key).is_some_and(|left| *left > 0)
    }

    /// Nothing is asked of it.
    fn is_idle(&self, key: Key) -> bool {
        self.left.get(&key) == Some(&self.per_parent)
    }

    fn take(&mut self, key: Key) -> bool {
        let left = self.left.get_mut(&key).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn give_back(&mut self, key: Key) {
        if let Some(left) = self.left.get_mut(&key) {
            *left += 1;
        }
    }
}

#[cfg(test)]
mod tests;
