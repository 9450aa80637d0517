//! What children may take of this host: how many answers at once, how many bytes and requests per second.
//!
//! **Invariant.** A slot belongs to bytes being written, not to an open response: whoever waits for bytes that are not
//! here yet holds none. (Slots held while waiting let a herd of eight wait for each other; broadcast simulations agree.)

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use df_http::RateLimit;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of all children together; 0 is none, but for `slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Answers being written at once.
    pub slots: u32,
    pub bytes_per_s: u64,
    pub requests_per_s: u64,
}

/// How fast a host sends to its children.
#[derive(Debug)]
pub struct Meter {
    sent_bytes: AtomicU64,
    span: Mutex<Span>,
}

/// The last one that was long enough to mean something.
#[derive(Debug)]
struct Span {
    from: Instant,
    from_bytes: u64,
    bytes_per_s: u64,
}

/// Several look, each of them rarely: one sees what was sent since another did.
const SPAN: Duration = Duration::from_secs(1);

/// One per host.
pub struct Uploads {
    slots: Arc<Semaphore>,
    bytes: RateLimit,
    meter: Arc<Meter>,
    requests: RateLimit,
    quantum_bytes: usize,
}

/// One answer to a child.
pub struct Upload {
    uploads: Arc<Uploads>,
    slot: Option<OwnedSemaphorePermit>,
}

/// Ask again later, or somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("this host serves as many children as it may (upload.loadLimit)")]
    Slots,
    #[error("this host is asked more often than it may be (upload.requestRateLimit)")]
    Requests,
}

/// Where there is a limit, nobody's turn is longer than this part of a second.
const TURNS_PER_S: u64 = 20;
const QUANTUM_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=256 * 1024;

// === impl Meter ===

impl Default for Meter {
    fn default() -> Self {
        let span = Span { from: Instant::now(), from_bytes: 0, bytes_per_s: 0 };
        Self { sent_bytes: AtomicU64::new(0), span: Mutex::new(span) }
    }
}

impl Meter {
    fn count(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Since somebody last looked, or before that if it was a moment ago.
    pub fn bytes_per_s(&self) -> u64 {
        let mut span = self.span.lock();
        let (lasted, sent) = (span.from.elapsed(), self.sent_bytes.load(Ordering::Relaxed));
        if lasted >= SPAN {
            let milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX).max(1);
            let bytes_per_s = (sent - span.from_bytes).saturating_mul(1_000) / milliseconds;
            *span = Span { from: Instant::now(), from_bytes: sent, bytes_per_s };
        }
        span.bytes_per_s
    }
}

// === impl Uploads ===

impl Uploads {
    pub fn new(limits: &UploadLimits, meter: Arc<Meter>) -> Arc<Self> {
        let rate = NonZeroU64::new(limits.bytes_per_s);
        let turn = |rate: NonZeroU64| (rate.get() / TURNS_PER_S).clamp(*QUANTUM_BYTES.start(), *QUANTUM_BYTES.end());
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(limits.slots as usize)),
            bytes: RateLimit::new(rate),
            meter,
            requests: RateLimit::new(NonZeroU64::new(limits.requests_per_s)),
            quantum_bytes: rate.map_or(usize::MAX, |rate| usize::try_from(turn(rate)).unwrap_or(usize::MAX)),
        })
    }

    /// Counts a request.
    pub fn admit(&self) -> Result<(), Busy> {
        if self.requests.try_take() { Ok(()) } else { Err(Busy::Requests.counted()) }
    }

    /// An answer whose first bytes are there.
    pub fn begin(self: &Arc<Self>) -> Result<Upload, Busy> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| Busy::Slots.counted())?;
        count_open(1.0);
        Ok(Upload { uploads: self.clone(), slot: Some(slot) })
    }
}

// === impl Upload ===

impl Upload {
    /// As much may be written in one turn.
    pub(crate) fn quantum_bytes(&self) -> usize {
        self.uploads.quantum_bytes
    }

    /// There is nothing to write until more bytes land.
    pub(crate) fn pause(&mut self) {
        if self.slot.take().is_some() {
            count_open(-1.0);
        }
    }

    /// Returns when so many bytes may be written.
    pub(crate) async fn proceed(&mut self, bytes: usize) {
        if self.slot.is_none() {
            // Never closed.
            self.slot = self.uploads.slots.clone().acquire_owned().await.ok();
            count_open(1.0);
        }
        self.uploads.bytes.take(bytes as u64).await;
        self.uploads.meter.count(bytes as u64);
        metrics::counter!("dragonfly_client_upload_traffic").increment(bytes as u64);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Answers to children with bytes to write.
fn count_open(change: f64) {
    metrics::gauge!("dragonfly_client_concurrent_uploads").increment(change);
}

// === impl Busy ===

impl Busy {
    fn counted(self) -> Self {
        let reason = match self {
            Self::Slots => "slots",
            Self::Requests => "requests",
        };
        metrics::counter!("dragonfly_client_upload_refused_total", "reason" => reason).increment(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UploadLimits = UploadLimits { slots: 2, bytes_per_s: 0, requests_per_s: 0 };

    #[tokio::test]
    async fn a_slot_is_held_only_while_bytes_are_written() {
        let uploads = Uploads::new(&LIMITS, Arc::default());
        let (mut one, two) = (uploads.begin().unwrap(), uploads.begin().unwrap());
        assert_eq!(uploads.begin().err(), Some(Busy::Slots));
        one.pause();
        let three = uploads.begin().unwrap();
        let mut resumed = Box::pin(one.proceed(10));
        assert!(futures_util::poll!(&mut resumed).is_pending(), "both slots are taken");
        drop(two);
        resumed.await;
        drop(three);
        assert!(one.slot.is_some() && uploads.begin().is_ok());
    }

    #[tokio::test]
    async fn what_leaves_is_measured() {
        let meter = Arc::new(Meter::default());
        let mut upload = Uploads::new(&LIMITS, meter.clone()).begin().unwrap();
        upload.proceed(3_000).await;
        assert_eq!(meter.bytes_per_s(), 0, "a moment says nothing");
        meter.span.lock().from -= Duration::from_secs(2);
        assert!((1..=1_500).contains(&meter.bytes_per_s()), "two seconds and a bit");
        assert!((1..=1_500).contains(&meter.bytes_per_s()), "until it is measured again");
        meter.span.lock().from -= Duration::from_secs(2);
        assert_eq!(meter.bytes_per_s(), 0);
    }

    #[test]
    fn turns_are_short_where_the_limit_is_low() {
        let turn = |bytes_per_s| Uploads::new(&UploadLimits { bytes_per_s, ..LIMITS }, Arc::default()).quantum_bytes;
        assert_eq!(turn(0), usize::MAX);
        assert_eq!(turn(1), 4 * 1024);
        assert_eq!(turn(1 << 20), (1 << 20) / 20);
        assert_eq!(turn(1 << 30), 256 * 1024);
    }

    #[test]
    fn requests_are_refused_beyond_their_rate() {
        let uploads = Uploads::new(&UploadLimits { requests_per_s: 10, ..LIMITS }, Arc::default());
        assert_eq!(uploads.admit(), Ok(()));
        assert_eq!(uploads.admit(), Err(Busy::Requests));
    }
}
