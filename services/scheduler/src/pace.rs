//! How fast peers go, from the bytes of their reports.

use df_api::scheduler::PeerReport;
use serde::{Deserialize, Serialize};

/// A rate is that of the last span at least so long: one report may come right after another.
const SPAN_MS: u64 = 500;
/// The median is looked for at most this often: that costs a look at every peer.
const MEDIAN_MS: u64 = 250;
/// Links do not change, but who takes part does.
const REFERENCE_MS: u64 = 1_000;
/// Fewer links say nothing about what is usual.
const LINKS_MIN: usize = 4;
/// A link of less than this part of the usual one makes a leaf.
const WEAK_PART: u64 = 2;

/// Of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    from_ms: u64,
    from_bytes: u64,
    /// `None` until there have been two reports.
    bytes_per_s: Option<u64>,
}

/// Of all running peers of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Median {
    due_ms: u64,
    bytes_per_s: Option<u64>,
}

/// What is usual among the upload links of a task's hosts, of those that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    due_ms: u64,
    bytes_per_s: Option<u64>,
}

// === impl Pace ===

impl Pace {
    pub fn start(now_ms: u64, report: &PeerReport) -> Self {
        Self { from_ms: now_ms, from_bytes: report.received_bytes, bytes_per_s: None }
    }

    pub fn follow(&mut self, now_ms: u64, report: &PeerReport) {
        let span_ms = now_ms.saturating_sub(self.from_ms);
        if span_ms >= SPAN_MS {
            let bytes = report.received_bytes.saturating_sub(self.from_bytes);
            let rate = bytes.saturating_mul(1_000) / span_ms;
            *self = Self { from_ms: now_ms, from_bytes: report.received_bytes, bytes_per_s: Some(rate) };
        }
    }

    /// Less than a `part`th of the median of others. Nobody is slow beside fewer than two.
    pub fn is_slow_beside(&self, others: impl Iterator<Item = Pace>, part: u64) -> bool {
        let known: Vec<_> = others.filter_map(|pace| pace.bytes_per_s).collect();
        let enough = known.len() > 1;
        let both = self.bytes_per_s.zip(median(known));
        enough && both.is_some_and(|(own, median)| own.saturating_mul(part) < median)
    }
}

// === impl Median ===

impl Median {
    /// Looks again if it is time to.
    pub fn follow(&mut self, now_ms: u64, paces: impl Iterator<Item = Pace>) {
        if now_ms < self.due_ms {
            return;
        }
        let rates = paces.filter_map(|pace| pace.bytes_per_s).collect();
        *self = Self { due_ms: now_ms + MEDIAN_MS, bytes_per_s: median(rates) };
    }

    /// Less than a `part`th of the median. Nobody is slow before both are known.
    pub fn is_slow(&self, pace: &Pace, part: u64) -> bool {
        let both = pace.bytes_per_s.zip(self.bytes_per_s);
        both.is_some_and(|(own, median)| own.saturating_mul(part) < median)
    }
}

// === impl Reference ===

impl Reference {
    /// Looks again if it is time to.
    pub fn follow(&mut self, now_ms: u64, links: impl Iterator<Item = u64>) {
        if now_ms < self.due_ms {
            return;
        }
        let known: Vec<_> = links.collect();
        let bytes_per_s = (known.len() >= LINKS_MIN).then(|| median(known)).flatten();
        *self = Self { due_ms: now_ms + REFERENCE_MS, bytes_per_s };
    }

    /// Others would wait for it.
    pub fn is_weak(&self, bytes_per_s: Option<u64>) -> bool {
        bytes_per_s.zip(self.bytes_per_s).is_some_and(|(own, usual)| own.saturating_mul(WEAK_PART) < usual)
    }
}

/// `None` of nothing.
pub fn median(mut values: Vec<u64>) -> Option<u64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}
