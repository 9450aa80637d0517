//! What all tasks of this process share about one origin: how many ask it at once and how often, whether it wants to be
//! left alone, and how many retries it is still good for.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use df_http::RateLimit;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use super::turn::Turn;
use crate::origin::retry_after;

/// Streams of this process at all origins: each has about 2 MB in memory, measured.
const STREAMS_MAX: usize = 24;
/// A task may have further streams while fewer than this are open; its first is always welcome.
const STREAMS_CALM: usize = 16;
/// Whoever has waited for a place for this long goes without.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// However long an origin wants to be left alone, it is asked again after this.
const HOLD_MAX: Duration = Duration::from_secs(120);
/// Waiters come back spread over this time.
const SPREAD_MS: u64 = 250;
/// Entries nobody uses are dropped beyond this many.
const ENTRIES_KEPT: usize = 256;

#[derive(Debug)]
pub(crate) struct Origins {
    known: Mutex<HashMap<String, Arc<OriginState>>>,
    streams: Arc<Semaphore>,
    concurrency: usize,
    requests_per_s: Option<NonZeroU64>,
}

#[derive(Debug)]
struct OriginState {
    slots: Arc<Semaphore>,
    requests: RateLimit,
    mood: Mutex<Mood>,
}

#[derive(Debug, Default)]
struct Mood {
    hold: Option<Hold>,
    budget: RetryBudget,
}

/// An origin has answered 429 or 503 and said until when.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    until: Instant,
    pub status: u16,
    pub headers: HeaderMap,
}

/// One stream at one origin; gives its places back when dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _stream: Option<OwnedSemaphorePermit>,
    _slot: Option<OwnedSemaphorePermit>,
}

/// Retries an origin is good for: a broken one is not asked by all tasks again and again.
#[derive(Debug)]
struct RetryBudget {
    tokens: f64,
    at: Option<Instant>,
}

const BUDGET_MAX: f64 = 20.0;
const BUDGET_PER_S: f64 = 1.0;
const BUDGET_PER_SUCCESS: f64 = 0.2;

// === impl Origins ===

impl Origins {
    pub fn new(concurrency: usize, requests_per_s: Option<NonZeroU64>) -> Self {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self { known: Mutex::default(), streams, concurrency: concurrency.max(1), requests_per_s }
    }

    fn of(&self, url: &Url) -> Arc<OriginState> {
        let mut known = self.known.lock();
        if known.len() > ENTRIES_KEPT {
            let now = Instant::now();
            known.retain(|_, state| Arc::strong_count(state) > 1 || state.mood.lock().hold(now).is_some());
        }
        let new = || {
            Arc::new(OriginState {
                slots: Arc::new(Semaphore::new(self.concurrency)),
                requests: RateLimit::new(self.requests_per_s),
                mood: Mutex::default(),
            })
        };
        known.entry(name_of(url)).or_insert_with(new).clone()
    }

    /// Whether a task may have more streams than the one it needs.
    pub fn is_calm(&self) -> bool {
        STREAMS_MAX - self.streams.available_permits() < STREAMS_CALM
    }

    /// Waits for a place, and until the origin may be asked; the hold itself when that is more than `patience` away.
    pub async fn admit(&self, url: &Url, patience: Duration) -> Result<StreamPermit, Box<Hold>> {
        let origin = self.of(url);
        loop {
            // A place among all is the last that is taken: those who wait for one origin must not be in the way of others.
            origin.left_alone(patience).await?;
            let _slot = origin.slots.clone().acquire_owned().await.ok();
            origin.requests.take(1).await;
            let place = self.streams.clone().acquire_owned();
            // Better one too many than never: the others may be at an origin that is slow.
            let _stream = tokio::time::timeout(PLACE_PATIENCE, place).await.ok().and_then(Result::ok);
            if origin.mood.lock().hold(Instant::now()).is_none() {
                return Ok(StreamPermit { _stream, _slot });
            }
        }
    }

    /// Waits until one more request that no task makes may be at the origin. It is small, or its bytes pass through, so that
    /// it takes no place among the streams.
    pub async fn turn(&self, url: &Url) -> Turn {
        let origin = self.of(url);
        let _slot = origin.slots.clone().acquire_owned().await.ok();
        origin.requests.take(1).await;
        Turn { _slot }
    }

    /// Whether it wants to be left alone.
    pub fn held(&self, url: &Url) -> Option<Hold> {
        self.of(url).mood.lock().hold(Instant::now())
    }

    /// The origin has answered, and wants to be left alone for `wait`.
    fn hold(&self, url: &Url, wait: Duration, status: u16, headers: &HeaderMap) {
        let until = Instant::now() + wait.min(HOLD_MAX);
        let origin = self.of(url);
        let mut mood = origin.mood.lock();
        if mood.hold.as_ref().is_none_or(|hold| hold.until < until) {
            mood.hold = Some(Hold { until, status, headers: headers.clone() });
        }
    }

    /// What it has answered, if that is to be left alone.
    pub fn heard(&self, url: &Url, status: StatusCode, headers: &HeaderMap) {
        if let (429 | 503, Some(wait)) = (status.as_u16(), retry_after(headers, SystemTime::now())) {
            self.hold(url, wait, status.as_u16(), headers);
        }
    }

    pub fn succeeded(&self, url: &Url) {
        self.of(url).mood.lock().budget.succeeded();
    }

    /// Whether a failed request may be repeated; then it counts.
    pub fn may_retry(&self, url: &Url) -> bool {
        self.of(url).mood.lock().budget.take(Instant::now())
    }
}

/// Scheme, host and port. An `s3://` URL that could not even be signed stands for its bucket.
fn name_of(url: &Url) -> String {
    match url.origin() {
        origin if origin.is_tuple() => origin.ascii_serialization(),
        _ => url[..url::Position::BeforePath].to_owned(),
    }
}

// === impl OriginState ===

impl OriginState {
    /// Returns when the origin may be asked.
    async fn left_alone(&self, patience: Duration) -> Result<(), Box<Hold>> {
        loop {
            let now = Instant::now();
            let Some(hold) = self.mood.lock().hold(now) else { return Ok(()) };
            if hold.until.duration_since(now) > patience {
                return Err(Box::new(hold));
            }
            tokio::time::sleep_until(hold.until + Duration::from_millis(fastrand::u64(0..SPREAD_MS))).await;
        }
    }
}

// === impl Mood ===

impl Mood {
    fn hold(&mut self, now: Instant) -> Option<Hold> {
        self.hold.take_if(|hold| hold.until <= now);
        self.hold.clone()
    }
}

// === impl RetryBudget ===

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tokens: BUDGET_MAX, at: None }
    }
}

impl RetryBudget {
    fn succeeded(&mut self) {
        self.tokens = (self.tokens + BUDGET_PER_SUCCESS).min(BUDGET_MAX);
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = self.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.tokens = (self.tokens + passed * BUDGET_PER_S).min(BUDGET_MAX);
        let may = self.tokens >= 1.0;
        self.tokens -= if may { 1.0 } else { 0.0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("https://r.example/v2/a").unwrap()
    }

    #[test]
    fn a_broken_origin_is_retried_a_few_times_and_then_slowly() {
        let (mut budget, start) = (RetryBudget::default(), Instant::now());
        assert_eq!((0..1000).filter(|_| budget.take(start)).count(), BUDGET_MAX as usize);
        assert!(!budget.take(start + Duration::from_millis(500)));
        assert!(budget.take(start + Duration::from_secs(2)));
        (0..6).for_each(|_| budget.succeeded());
        assert!(budget.take(start + Duration::from_secs(2)));
    }

    #[test]
    fn two_stores_are_two_origins() {
        let origins = Origins::new(2, None);
        let may = |url: &str| origins.may_retry(&url.parse().unwrap());
        while may("s3://broken/key") {}
        assert!(!may("s3://broken/other") && may("s3://sound/key"));
        while may("https://broken.s3.example/key") {}
        assert!(may("https://sound.s3.example/key"));
    }

    #[tokio::test]
    async fn an_origin_that_wants_to_be_left_alone_is() {
        let origins = Origins::new(2, None);
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, "60".parse().unwrap())]);
        origins.hold(&url(), Duration::from_secs(60), 429, &headers);
        origins.hold(&url(), Duration::from_secs(1), 503, &headers);
        let other_path = Url::parse("https://r.example/v2/b").unwrap();
        let hold = origins.admit(&other_path, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!((hold.status, &hold.headers["retry-after"]), (429, &headers["retry-after"]));
        let other_port = Url::parse("https://r.example:444/").unwrap();
        assert!(origins.admit(&other_port, Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn a_short_hold_is_waited_for() {
        let (origins, start) = (Origins::new(2, None), Instant::now());
        origins.hold(&url(), Duration::from_millis(50), 503, &HeaderMap::new());
        assert!(origins.admit(&url(), Duration::from_secs(5)).await.is_ok());
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn no_more_ask_at_once_than_are_allowed() {
        let origins = Arc::new(Origins::new(2, None));
        let held = [origins.admit(&url(), Duration::ZERO).await, origins.admit(&url(), Duration::ZERO).await];
        let third = tokio::spawn({
            let origins = origins.clone();
            async move { origins.admit(&url(), Duration::ZERO).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished() && origins.is_calm());
        drop(held);
        assert!(third.await.unwrap());
    }
}
