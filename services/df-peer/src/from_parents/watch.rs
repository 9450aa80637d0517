//! Ten times a second: who is not getting on, whether it is to blame, and who else has what it does not bring.

use std::sync::atomic::Ordering;
use std::time::Instant;

use df_api::scheduler::ComplaintReason;

use super::links::Struck;
use super::meter::{Pace, mean};
use super::{InFlight, Swarm};
use crate::plan::{Key, Stalled, Step, hedge};

/// Of the bytes held, one in this many may be asked for twice; two pieces always.
const HEDGED_PART: u64 = 20;
const HEDGED_PIECES: u64 = 2;
/// Windows without a byte after which the reserve is asked, whatever it has told.
const FORLORN_WINDOWS: u32 = 3;
/// How many others are asked what they have of a piece that does not come.
const ASKED_AROUND: usize = 4;

impl Swarm<'_> {
    pub(super) fn watch(&mut self) {
        let now = Instant::now();
        for peer_id in self.links.no_longer_busy(now) {
            self.sync.retract_busy(&peer_id);
        }
        for flight in &mut self.in_flight {
            if !flight.advance.held_back.load(Ordering::Relaxed) {
                flight.meter.tick(flight.advance.bytes.load(Ordering::Relaxed));
            }
        }
        let mean = mean(self.in_flight.iter().map(|flight| &flight.meter));
        let mut stalled = Vec::new();
        let (mut ahead, mut probed): (Vec<Key>, Vec<(Key, u32)>) = (Vec::new(), Vec::new());
        for flight in self.in_flight.iter().filter(|flight| !flight.hedge) {
            let Some(rest) = self.works.get(&flight.piece).and_then(|work| work.draft.rest()) else { continue };
            let pace = flight.meter.pace(mean, rest.length());
            if pace == Pace::Fair || (pace == Pace::Long && self.hedged_in_vain) {
                continue;
            }
            if pace != Pace::Long && flight.link.has_told(flight.piece) {
                ahead.push(flight.link.key);
            }
            if flight.meter.is_probed_now() {
                probed.push((flight.link.key, flight.piece));
            }
            let forlorn = flight.meter.still_windows() >= FORLORN_WINDOWS;
            let (piece, parent) = (flight.piece, flight.link.key);
            stalled.push(Stalled { piece, parent, rest_bytes: rest.length(), forlorn });
        }
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
        let budget = snapshot.held_bytes / HEDGED_PART + HEDGED_PIECES * piece;
        let has = |key: Key, index: u32| self.links.get(key).is_some_and(|link| link.has_told(index));
        let left = budget.saturating_sub(self.hedged_bytes);
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
