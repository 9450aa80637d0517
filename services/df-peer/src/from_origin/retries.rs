//! When to ask an origin again, and when to stop: pure.
//!
//! **Invariant.** A stream that moves is resumed as often as it breaks; without a new byte it is over after a few rounds
//! or [`GIVE_UP`], whichever is first.

use std::time::Duration;

use tokio::time::Instant;

/// Rounds without a new byte.
const ROUNDS: u32 = 5;
/// Nobody waits longer for a new byte from an origin that fails.
const GIVE_UP: Duration = Duration::from_secs(25);
/// A longer `Retry-After` is more than a reader bears: he gets the status, and may come back.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Retries {
    rounds: u32,
    landed_bytes: u64,
    progress_at: Instant,
    /// Nothing is asked before.
    pub not_before: Instant,
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
    pub fn new(now: Instant) -> Self {
        Self { rounds: 0, landed_bytes: 0, progress_at: now, not_before: now }
    }

    /// `jitter` is between 0 and 1, so that many do not come back at the same instant.
    pub fn failed(&mut self, now: Instant, landed_bytes: u64, asked: Option<Duration>, jitter: f64) -> Verdict {
        if asked.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
            return Verdict::GiveUp;
        }
        let progressed = landed_bytes > self.landed_bytes;
        if progressed {
            (self.landed_bytes, self.progress_at, self.rounds) = (landed_bytes, now, 0);
        } else if now < self.not_before && asked.is_none() {
            return Verdict::Resume;
        }
        self.rounds += 1;
        if self.rounds >= ROUNDS || now.duration_since(self.progress_at) >= GIVE_UP {
            return Verdict::GiveUp;
        }
        let pause = (FIRST_PAUSE * 3u32.pow(self.rounds - 1)).min(PAUSE_MAX).mul_f64(0.75 + jitter / 2.0);
        self.not_before = self.not_before.max(now + asked.unwrap_or_default().max(pause));
        if progressed { Verdict::Resume } else { Verdict::Again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stream_that_moves_is_resumed_without_end_and_without_much_waiting() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        for landed in 1..1000 {
            assert_eq!(retries.failed(now, landed, None, 0.5), Verdict::Resume);
            assert!(retries.not_before <= now + 100 * MS);
        }
    }

    #[test]
    fn without_a_byte_it_ends_soon() {
        let mut now = Instant::now();
        let start = now;
        let mut retries = Retries::new(now);
        let mut rounds = 1;
        while retries.failed(now, 0, None, 1.0) == Verdict::Again {
            now = retries.not_before;
            rounds += 1;
        }
        assert_eq!(rounds, ROUNDS);
        assert!(now - start < 3000 * MS, "{:?}", now - start);
    }

    #[test]
    fn streams_that_fail_together_are_one_failure() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        assert_eq!(retries.failed(now, 0, None, 0.0), Verdict::Again);
        for _ in 0..10 {
            assert_eq!(retries.failed(now + MS, 0, None, 0.0), Verdict::Resume);
        }
    }

    #[test]
    fn a_silent_origin_is_given_up_by_the_clock() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        assert_eq!(retries.failed(now + GIVE_UP, 0, None, 0.0), Verdict::GiveUp);
    }

    #[test]
    fn what_the_origin_asks_for_is_done_when_a_reader_can_bear_it() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        assert_eq!(retries.failed(now, 0, Some(2000 * MS), 0.0), Verdict::Again);
        assert!(retries.not_before >= now + 2000 * MS);
        assert_eq!(retries.failed(now, 0, Some(60_000 * MS), 0.0), Verdict::GiveUp);
    }
}
