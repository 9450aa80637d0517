//! The numbers of what this host tells schedulers, so that what comes late undoes nothing.
//!
//! **Invariant.** Each is larger than all before, also than those of this host's former processes as far as a scheduler
//! remembers them, whatever the clock says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(crate) struct Numbers {
    last: AtomicU64,
}

// === impl Numbers ===

impl Numbers {
    /// From the clock: microseconds since 1970.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { last: AtomicU64::new(u64::try_from(since.as_micros()).unwrap_or_default()) }
    }

    /// To be taken before what it numbers is looked at.
    pub fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A scheduler knows this one: the clock was set back since.
    pub fn go_on_from(&self, known: u64) {
        self.last.fetch_max(known, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_rise_and_pass_what_a_scheduler_knows() {
        let numbers = Numbers::start();
        let (first, second) = (numbers.next(), numbers.next());
        assert!(second > first && first > 1_700_000_000_000_000);
        numbers.go_on_from(first);
        assert!(numbers.next() > second);
        numbers.go_on_from(u64::from(u32::MAX) * 1_000_000);
        assert_eq!(numbers.next(), u64::from(u32::MAX) * 1_000_000 + 1);
    }
}
