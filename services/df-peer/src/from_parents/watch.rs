//! Ten times a second: who is not getting on, whether it is to blame, and who else has what it does not bring.

use std::sync::atomic::Ordering;
use std::time::Instant;

use df_api::scheduler::ComplaintReason;

use super::links::Struck;
use super::meter::{Meter, Pace, mean};
use super::{InFlight, Swarm};
use crate::plan::{Key, Stalled, Step, hedge};

/// Of the bytes held, one in this many may be asked for twice; two pieces always.
const HEDGED_PART: u64 = 20;
const HEDGED_PIECES: u64 = 2;
/// Windows without a byte after which the reserve is asked, whatever it has told: more than it takes to replace a relay.
const FORLORN_WINDOWS: u32 = 6;
/// How many others are asked what they have of a piece that does not come.
pub const ASKED_AROUND: usize = 4;

/// A request that is no hedge, and what is known of it.
pub struct Look<'a> {
    pub piece: u32,
    pub parent: Key,
    pub meter: &'a Meter,
    pub rest_bytes: u64,
    /// The parent has told that it has the piece.
    pub has_told: bool,
}

/// Which requests do not get on.
#[derive(Debug, Default)]
pub struct Seen {
    pub stalled: Vec<Stalled>,
    /// Who has what it does not send.
    pub ahead: Vec<Key>,
    /// Who is to be asked what it has of which piece.
    pub probed: Vec<(Key, u32)>,
}

/// Pure; `mean` is that of all meters.
pub fn look<'a>(looks: impl Iterator<Item = Look<'a>>, mean: u64, hedged_in_vain: bool) -> Seen {
    let mut seen = Seen::default();
    for Look { piece, parent, meter, rest_bytes, has_told } in looks {
        if meter.has_just_stopped() {
            seen.probed.push((parent, piece));
        }
        let pace = meter.pace(mean, rest_bytes);
        if pace == Pace::Fair || (pace == Pace::Long && hedged_in_vain) {
            continue;
        }
        if pace != Pace::Long && has_told {
            seen.ahead.push(parent);
        }
        if meter.is_probed_now() {
            seen.probed.push((parent, piece));
        }
        let forlorn = meter.still_windows() >= FORLORN_WINDOWS;
        seen.stalled.push(Stalled { piece, parent, rest_bytes, ahead: has_told, forlorn });
    }
    seen
}

/// How many bytes may still be asked for twice.
pub fn hedge_budget(held_bytes: u64, piece_length: u64, hedged_bytes: u64) -> u64 {
    (held_bytes / HEDGED_PART + HEDGED_PIECES * piece_length).saturating_sub(hedged_bytes)
}

impl Swarm<'_> {
    pub(super) fn watch(&mut self) {
        let now = Instant::now();
        for peer_id in self.links.no_longer_busy(now) {
            self.sync.retract(&peer_id, ComplaintReason::Busy);
        }
        for flight in &mut self.in_flight {
            if !flight.advance.held_back.load(Ordering::Relaxed) {
                flight.meter.tick(flight.advance.bytes.load(Ordering::Relaxed));
            }
        }
        let mean = mean(self.in_flight.iter().map(|flight| &flight.meter));
        let looks = self.in_flight.iter().filter(|flight| !flight.hedge).filter_map(|flight| {
            let rest_bytes = self.works.get(&flight.piece)?.draft.rest()?.length();
            let has_told = flight.link.has_told(flight.piece);
            Some(Look { piece: flight.piece, parent: flight.link.key, meter: &flight.meter, rest_bytes, has_told })
        });
        let Seen { stalled, mut ahead, probed } = look(looks, mean, self.hedged_in_vain);
        for (key, piece) in probed {
            self.probe(key, piece);
        }
        ahead.extend(self.queries.unanswered());
        for key in ahead {
            // What it has and does not send, it is blamed for; whoever does not even answer is only left out by now.
            if self.links.strike(key, now) == Some(Struck::Out) && !self.queries.is_probing(key) {
                self.complain(key, ComplaintReason::Silent, "it has the piece and does not send it");
            }
        }
        self.hedge(&stalled);
    }

    /// Asks it and others what they have.
    fn probe(&mut self, key: Key, piece: u32) {
        let others = self.links.all().filter(|link| link.key != key && !link.has_told(piece)).map(|link| link.key);
        let keys: Vec<Key> = [key].into_iter().chain(others.take(ASKED_AROUND)).collect();
        for key in keys {
            if let Some(link) = self.links.get(key).cloned() {
                self.queries.probe(self.task, link);
            }
        }
    }

    fn hedge(&mut self, stalled: &[Stalled]) {
        if stalled.is_empty() {
            return;
        }
        let snapshot = self.task.stored().snapshot();
        let piece = snapshot.meta.map_or_else(|| self.task.spec().piece_length(None), |meta| meta.piece_length);
        let has = |key: Key, index: u32| self.links.get(key).is_some_and(|link| link.has_told(index));
        let left = hedge_budget(snapshot.held_bytes, piece, self.hedged_bytes);
        for step in self.view(|view| hedge(view, stalled, has, left)).unwrap_or_default() {
            let Step::Fetch { piece, parent } = step else { continue };
            let alone = self.from_one.contains(&piece);
            if alone {
                // Two must not mix there: the second takes the place of the first.
                self.cancel(|flight| flight.piece == piece);
            }
            if let Some(asked) = self.start(piece, parent, !alone) {
                tracing::debug!(task = %self.task.id(), piece, asked, "a piece is asked for a second time");
                self.hedged_bytes += asked;
            }
        }
    }

    /// A piece is whole: who brought it did well, and of two the other did not.
    pub(super) fn outrun(&mut self, winner: &InFlight, beaten: &[(Key, bool)]) {
        match beaten {
            [] => self.links.forgive(winner.link.key),
            [(slow, false), ..] => {
                let had_it = self.links.get(*slow).is_some_and(|link| link.has_told(winner.piece));
                if had_it && self.links.strike(*slow, Instant::now()) == Some(Struck::Out) {
                    self.complain(*slow, ComplaintReason::Silent, "others bring what it has, and faster");
                }
            }
            [(_, true), ..] => self.hedged_in_vain = true,
        }
    }
}
