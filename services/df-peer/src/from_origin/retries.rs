//! When to ask an origin again, and when to stop: pure.
//!
//! **Invariant.** A stream that moves is resumed as often as it breaks; without a new byte it is over after a few rounds
//! or [`GIVE_UP`], whichever is first, whoever was waited for before.

use std::time::Duration;

use tokio::time::Instant;

/// Rounds without a new byte.
const ROUNDS: u32 = 5;
/// Nobody waits longer for a new byte from an origin that fails.
const GIVE_UP: Duration = Duration::from_secs(28);
/// But an origin is given a moment to answer, however long others were waited for.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// A longer `Retry-After` is more than a reader bears: he gets the status, and may come back.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Retries {
    rounds: u32,
    landed_bytes: u64,
    /// Nothing is asked before.
    pub not_before: Instant,
}

/// What there is of the content, and for how long nothing more has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landed {
    pub bytes: u64,
    pub still_for: Duration,
}

/// What a failure amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Bytes had come since the last failure, or another stream has failed in this round: costs nothing.
    Resume,
    /// Another round: costs a token of the origin's budget.
    Again,
    GiveUp,
}

// === impl Retries ===

impl Retries {
    /// `landed_bytes` are here already, whoever brought them.
    pub fn new(now: Instant, landed_bytes: u64) -> Self {
        Self { rounds: 0, landed_bytes, not_before: now }
    }

    /// `jitter` is between 0 and 1, so that many do not come back at the same instant.
    pub fn failed(&mut self, now: Instant, landed: Landed, asked: Option<Duration>, jitter: f64) -> Verdict {
        if asked.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
            return Verdict::GiveUp;
        }
        let progressed = landed.bytes > self.landed_bytes;
        if progressed {
            (self.landed_bytes, self.rounds) = (landed.bytes, 0);
        } else if now < self.not_before && asked.is_none() {
            return Verdict::Resume;
        }
        self.rounds += 1;
        let pause = (FIRST_PAUSE * 3u32.pow(self.rounds - 1)).min(PAUSE_MAX).mul_f64(0.75 + jitter / 2.0);
        let pause = asked.unwrap_or_default().max(pause);
        if self.rounds >= ROUNDS || (!progressed && landed.still_for + pause >= GIVE_UP) {
            return Verdict::GiveUp;
        }
        self.not_before = self.not_before.max(now + pause);
        if progressed { Verdict::Resume } else { Verdict::Again }
    }
}

/// How long an answer is waited for: not so long that nobody would wait for the next.
pub(crate) fn patience(usual: Duration, still_for: Duration) -> Duration {
    usual.min(GIVE_UP.saturating_sub(still_for)).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn landed(bytes: u64) -> Landed {
        Landed { bytes, still_for: Duration::ZERO }
    }

    #[test]
    fn a_stream_that_moves_is_resumed_without_end_and_without_much_waiting() {
        let now = Instant::now();
        let mut retries = Retries::new(now, 0);
        for bytes in 1..1000 {
            assert_eq!(retries.failed(now, landed(bytes), None, 0.5), Verdict::Resume);
            assert!(retries.not_before <= now + 100 * MS);
        }
    }

    #[test]
    fn without_a_byte_it_ends_soon() {
        let mut now = Instant::now();
        let start = now;
        let mut retries = Retries::new(now, 0);
        let mut rounds = 1;
        while retries.failed(now, landed(0), None, 1.0) == Verdict::Again {
            now = retries.not_before;
            rounds += 1;
        }
        assert_eq!(rounds, ROUNDS);
        assert!(now - start < 3000 * MS, "{:?}", now - start);
    }

    #[test]
    fn streams_that_fail_together_are_one_failure() {
        let now = Instant::now();
        let mut retries = Retries::new(now, 0);
        assert_eq!(retries.failed(now, landed(0), None, 0.0), Verdict::Again);
        for _ in 0..10 {
            assert_eq!(retries.failed(now + MS, landed(0), None, 0.0), Verdict::Resume);
        }
    }

    #[test]
    fn nobody_waits_for_half_a_minute_whatever_was_tried_before() {
        let ms = |range: std::ops::Range<u64>| range.step_by(700).map(Duration::from_millis);
        for before in ms(0..25_000) {
            for usual in ms(1..60_000) {
                let now = Instant::now();
                let (mut retries, mut still_for) = (Retries::new(now, 7), before);
                loop {
                    still_for += patience(usual, still_for);
                    let at = now + still_for;
                    if retries.failed(at, Landed { bytes: 7, still_for }, None, 1.0) == Verdict::GiveUp {
                        break;
                    }
                    still_for += retries.not_before - at;
                }
                assert!(still_for < 30_000 * MS, "{before:?} and then {usual:?} each: {still_for:?}");
            }
        }
    }

    #[test]
    fn what_the_origin_asks_for_is_done_when_a_reader_can_bear_it() {
        let now = Instant::now();
        let mut retries = Retries::new(now, 0);
        assert_eq!(retries.failed(now, landed(0), Some(2000 * MS), 0.0), Verdict::Again);
        assert!(retries.not_before >= now + 2000 * MS);
        assert_eq!(retries.failed(now, landed(0), Some(60_000 * MS), 0.0), Verdict::GiveUp);
    }
}
