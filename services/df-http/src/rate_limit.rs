//! So much per second and no more: bytes of a direction, requests to an origin.
//!
//! **Invariant.** First come, first served; over any second no more than the rate and a tenth of it pass.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use leaky_bucket::RateLimiter;

/// Shared by all that count against it; cheap to clone. Without a rate it holds nobody back.
#[derive(Clone, Debug, Default)]
pub struct RateLimit {
    bucket: Option<Arc<RateLimiter>>,
}

/// What may pass at once after a pause, and how finely it is refilled, as parts of a second.
const BURSTS_PER_S: u64 = 10;
const REFILLS_PER_S: u64 = 100;

// === impl RateLimit ===

impl RateLimit {
    pub fn new(per_s: Option<NonZeroU64>) -> Self {
        let bucket = per_s.map(|per_s| {
            let per_s = per_s.get();
            let count = |amount: u64| usize::try_from(amount).unwrap_or(usize::MAX);
            let refill = per_s.div_ceil(REFILLS_PER_S);
            let burst = count((per_s / BURSTS_PER_S).max(1));
            // Exactly as long as the refill is worth, so that a small rate is not rounded.
            let interval = Duration::from_nanos((u128::from(refill) * 1_000_000_000 / u128::from(per_s)) as u64);
            RateLimiter::builder().max(burst).initial(burst).refill(count(refill)).interval(interval).build()
        });
        Self { bucket: bucket.map(Arc::new) }
    }

    /// Returns when `amount` may pass; more than a burst is waited for as long as it takes.
    pub async fn take(&self, amount: u64) {
        if let Some(bucket) = &self.bucket {
            bucket.acquire(usize::try_from(amount).unwrap_or(usize::MAX)).await;
        }
    }

    /// Whether one more may pass now; then it counts.
    pub fn try_take(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.try_acquire(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// That it is not slower than it may be is for a benchmark to say: here only the limit is certain.
    #[tokio::test]
    async fn the_rate_holds_for_small_and_for_large_amounts() {
        for (per_s, takes) in [(10_000_000, vec![65_536; 60]), (10_000_000, vec![4_000_000]), (40, vec![1; 20])] {
            let limit = RateLimit::new(NonZeroU64::new(per_s));
            let started = Instant::now();
            for amount in &takes {
                limit.take(*amount).await;
            }
            let (took, amount) = (started.elapsed().as_secs_f64(), takes.iter().sum::<u64>());
            let least = (amount as f64 / per_s as f64 - 1.0 / BURSTS_PER_S as f64) * 0.95;
            assert!(took >= least, "{amount} at {per_s}/s: {took} s instead of {least} s");
        }
    }

    #[tokio::test]
    async fn those_who_share_a_limit_share_its_rate() {
        let limit = RateLimit::new(NonZeroU64::new(1_000));
        let started = Instant::now();
        let all = (0..10).map(|_| {
            let limit = limit.clone();
            tokio::spawn(async move { limit.take(50).await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(380), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn one_too_many_does_not_pass_until_there_is_room() {
        let limit = RateLimit::new(NonZeroU64::new(50));
        let passed = (0..100).filter(|_| limit.try_take()).count();
        assert!((5..100).contains(&passed), "{passed}");
        limit.take(1).await;
    }

    #[tokio::test]
    async fn without_a_rate_nobody_waits() {
        RateLimit::new(None).take(u64::MAX).await;
    }
}
