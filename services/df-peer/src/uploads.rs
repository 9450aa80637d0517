//! What children may take of this host: how many answers at once, how many bytes and requests per second.
//!
//! **Invariant.** A slot belongs to bytes being written, not to an open response: whoever waits for bytes that are not
//! here yet holds none. (Slots held while waiting let a herd of eight wait for each other; broadcast simulations agree.)

use std::num::NonZeroU64;
use std::sync::Arc;

use df_http::RateLimit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of all children together; 0 is none, but for `slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Answers being written at once.
    pub slots: u32,
    pub bytes_per_s: u64,
    pub requests_per_s: u64,
}

/// One per host.
pub struct Uploads {
    slots: Arc<Semaphore>,
    bytes: RateLimit,
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

// === impl Uploads ===

impl Uploads {
    pub fn new(limits: &UploadLimits) -> Arc<Self> {
        let rate = NonZeroU64::new(limits.bytes_per_s);
        let turn = |rate: NonZeroU64| (rate.get() / TURNS_PER_S).clamp(*QUANTUM_BYTES.start(), *QUANTUM_BYTES.end());
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(limits.slots as usize)),
            bytes: RateLimit::new(rate),
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
        let uploads = Uploads::new(&LIMITS);
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

    #[test]
    fn turns_are_short_where_the_limit_is_low() {
        let turn = |bytes_per_s| Uploads::new(&UploadLimits { bytes_per_s, ..LIMITS }).quantum_bytes;
        assert_eq!(turn(0), usize::MAX);
        assert_eq!(turn(1), 4 * 1024);
        assert_eq!(turn(1 << 20), (1 << 20) / 20);
        assert_eq!(turn(1 << 30), 256 * 1024);
    }

    #[test]
    fn requests_are_refused_beyond_their_rate() {
        let uploads = Uploads::new(&UploadLimits { requests_per_s: 10, ..LIMITS });
        assert_eq!(uploads.admit(), Ok(()));
        assert_eq!(uploads.admit(), Err(Busy::Requests));
    }
}
