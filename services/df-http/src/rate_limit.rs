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
    use tokio::time::Instant;

    use super::*;

    /// Time is tokio's own here, and passes only where somebody waits.
    async fn seconds_for(per_s: u64, takes: &[u64]) -> f64 {
        let limit = RateLimit::new(NonZeroU64::new(per_s));
        let started = Instant::now();
        for amount in takes {
            limit.take(*amount).await;
        }
        started.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_for_small_and_for_large_amounts() {
        for (per_s, takes) in
            [(1_000_000, vec![65_536; 100]), (1_000_000, vec![6_553_600]), (3, vec![1; 12]), (150, vec![7; 90])]
        {
            let amount: u64 = takes.iter().sum();
            let (took, ideal) = (seconds_for(per_s, &takes).await, amount as f64 / per_s as f64);
            assert!(took <= ideal + 0.5 && took >= ideal * 0.85 - 0.5, "{per_s}/s: {took} s instead of {ideal} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_share_a_limit_share_its_rate() {
        let limit = RateLimit::new(NonZeroU64::new(1_000));
        let started = Instant::now();
        let all = (0..10).map(|_| {
            let limit = limit.clone();
            tokio::spawn(async move { limit.take(1_000).await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_does_not_pass_until_there_is_room() {
        let limit = RateLimit::new(NonZeroU64::new(50));
        let passed = (0..100).filter(|_| limit.try_take()).count();
        assert_eq!(passed, 5);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(limit.try_take());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let started = Instant::now();
        RateLimit::new(None).take(u64::MAX).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
