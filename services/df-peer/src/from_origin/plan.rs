//! Which runs of pieces to ask of the origin next: pure, a few integer operations per piece.
//!
//! Runs are short and in order, not one segment per stream: children read in order behind it, and what a stream loses
//! when it breaks is little.

use std::ops::Range;

use df_api::Bitmap;

/// What `plan_origin` looks at.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub held: &'a Bitmap,
    pub pieces: u32,
    /// Runs that are being fetched.
    pub in_flight: &'a [Range<u32>],
    /// Pieces that have landed in part: a run may begin with one, and is asked from where it stopped.
    pub begun: &'a [u32],
    /// Pieces at which somebody reads or waits.
    pub readers: &'a [u32],
    /// Pieces per run, at most.
    pub run_pieces: u32,
    /// Runs at once. Of several, one is kept for a reader who comes later and somewhere else.
    pub streams: usize,
    /// Runs at once in order. Where the origin itself is slow, several would only make each other late: readers, and the
    /// children behind them, go in order.
    pub ahead: usize,
}

/// A reader is near when the runs in flight come to it soon; it gets no stream of its own.
const NEAR_RUNS: u32 = 2;

/// What to ask now, in this order. Every reader's next missing piece first; then ascending from the first reader, and
/// from the start.
pub fn plan_origin(view: &View<'_>) -> Vec<Range<u32>> {
    let mut taken = view.in_flight.to_vec();
    let asked_before = taken.len();
    for reader in view.readers {
        let next = view.held.first_missing(*reader);
        if taken.len() < view.streams && next < view.pieces && !is_near(view, &taken, next) {
            let run = run_from(view, &taken, next);
            taken.push(run);
        }
    }
    let first = view.readers.iter().copied().min().unwrap_or(0).min(view.pieces);
    let ahead = view.streams.saturating_sub(1).min(view.ahead.max(1)).max(view.streams.min(1));
    let mut wanted = (first..view.pieces).chain(0..first).filter(|piece| !view.held.has(*piece));
    while taken.len() < ahead
        && let Some(next) = wanted.find(|piece| !is_in(&taken, *piece))
    {
        let run = run_from(view, &taken, next);
        taken.push(run);
    }
    taken.split_off(asked_before)
}

fn is_near(view: &View<'_>, runs: &[Range<u32>], piece: u32) -> bool {
    let near = view.run_pieces.max(1).saturating_mul(NEAR_RUNS);
    runs.iter().any(|run| (run.start..run.end.saturating_add(near)).contains(&piece))
}

fn is_in(runs: &[Range<u32>], piece: u32) -> bool {
    runs.iter().any(|run| run.contains(&piece))
}

/// From `start` up to the first piece that is not to be asked, or that has a beginning of its own.
fn run_from(view: &View<'_>, taken: &[Range<u32>], start: u32) -> Range<u32> {
    let last = view.pieces.min(start.saturating_add(view.run_pieces.max(1)));
    let stops = |piece: &u32| view.held.has(*piece) || view.begun.contains(piece) || is_in(taken, *piece);
    start..(start + 1..last).find(stops).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view<'a>(held: &'a Bitmap, readers: &'a [u32]) -> View<'a> {
        View { held, pieces: 40, in_flight: &[], begun: &[], readers, run_pieces: 4, streams: 4, ahead: 4 }
    }

    fn only(run: Range<u32>) -> Vec<Range<u32>> {
        std::iter::once(run).collect()
    }

    #[test]
    fn runs_are_in_order_from_the_reader() {
        let held = Bitmap::default();
        assert_eq!(plan_origin(&view(&held, &[0])), [0..4, 4..8, 8..12]);
        assert_eq!(plan_origin(&view(&held, &[37])), [37..40, 0..4, 4..8]);
    }

    #[test]
    fn a_far_reader_finds_a_stream_free() {
        let held = Bitmap::default();
        let busy = [0..4, 4..8, 8..12];
        assert_eq!(plan_origin(&View { in_flight: &busy, ..view(&held, &[1, 30]) }), only(30..34));
        assert!(plan_origin(&View { in_flight: &busy, ..view(&held, &[1]) }).is_empty());
    }

    #[test]
    fn a_slow_origin_is_read_in_order_and_near_readers_wait_for_it() {
        let held = Bitmap::default();
        let one = only(0..4);
        let slow = View { in_flight: &one, ahead: 1, ..view(&held, &[0, 1, 5, 11]) };
        assert!(plan_origin(&slow).is_empty());
        assert_eq!(plan_origin(&View { readers: &[0, 5, 12], ..slow }), only(12..16));
    }

    #[test]
    fn a_run_stops_before_what_is_here_in_part() {
        let mut held = Bitmap::default();
        held.set(2);
        assert_eq!(plan_origin(&View { begun: &[4], ..view(&held, &[0]) }), [0..2, 3..4, 4..8]);
    }

    #[test]
    fn one_stream_is_for_whoever_needs_it() {
        let held = Bitmap::default();
        assert_eq!(plan_origin(&View { streams: 1, ..view(&held, &[8]) }), only(8..12));
        assert_eq!(plan_origin(&View { streams: 1, ..view(&held, &[]) }), only(0..4));
    }

    prop_compose! {
        fn any_state()(
            pieces in 0..80u32, streams in 0..6usize, run_pieces in 0..6u32,
            held in proptest::collection::btree_set(0..80u32, 0..80),
            readers in proptest::collection::vec(0..90u32, 0..5),
            begun in proptest::collection::vec(0..80u32, 0..4),
            flying in proptest::collection::vec((0..80u32, 1..6u32), 0..4),
        ) -> (u32, usize, u32, Vec<u32>, Vec<u32>, Vec<u32>, Vec<Range<u32>>) {
            let flying = flying.into_iter().map(|(start, length)| start..start + length).collect();
            (pieces, streams, run_pieces, held.into_iter().collect(), readers, begun, flying)
        }
    }

    proptest! {
        #[test]
        fn nothing_is_asked_twice_and_limits_hold((pieces, streams, run_pieces, marked, readers, begun, flying) in any_state()) {
            let mut held = Bitmap::default();
            marked.iter().for_each(|piece| held.set(*piece));
            let view = View { held: &held, pieces, in_flight: &flying, begun: &begun, readers: &readers, run_pieces, streams, ahead: streams };
            let runs = plan_origin(&view);
            prop_assert!(runs.is_empty() || flying.len() + runs.len() <= streams);
            let mut seen = flying.clone();
            for run in &runs {
                prop_assert!(run.start < run.end && run.end <= pieces && run.end - run.start <= run_pieces.max(1));
                for piece in run.clone() {
                    prop_assert!(!held.has(piece) && !is_in(&seen, piece));
                    prop_assert!(piece == run.start || !begun.contains(&piece));
                }
                seen.push(run.clone());
            }
        }

        #[test]
        fn readers_come_first_and_something_missing_is_always_asked((pieces, streams, run_pieces, marked, readers, begun, _) in any_state()) {
            let mut held = Bitmap::default();
            marked.iter().for_each(|piece| held.set(*piece));
            let view = View { held: &held, pieces, in_flight: &[], begun: &begun, readers: &readers, run_pieces, streams, ahead: streams };
            let runs = plan_origin(&view);
            let missing = (0..pieces).any(|piece| !held.has(piece));
            prop_assert_eq!(runs.is_empty(), streams == 0 || !missing);
            let mut nexts: Vec<u32> = Vec::new();
            for next in readers.iter().map(|reader| held.first_missing(*reader)).filter(|next| *next < pieces) {
                if !nexts.contains(&next) {
                    nexts.push(next);
                }
            }
            // All of them when there are streams enough, at once or soon, whatever else is missing.
            if nexts.len() <= streams {
                prop_assert!(nexts.iter().all(|next| is_near(&view, &runs, *next)));
            }
        }
    }
}
