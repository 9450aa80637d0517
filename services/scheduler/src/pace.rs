//! How fast peers go, from the bytes of their reports.

use df_api::scheduler::PeerReport;

/// A rate is that of the last span at least so long: one report may come right after another.
const SPAN_MS: u64 = 500;
/// The median is looked for at most this often: that costs a look at every peer.
const MEDIAN_MS: u64 = 250;

/// Of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    from_ms: u64,
    from_bytes: u64,
    /// `None` until there have been two reports.
    bytes_per_s: Option<u64>,
}

/// Of all running peers of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Median {
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
}

// === impl Median ===

impl Median {
    /// Looks again if it is time to.
    pub fn follow(&mut self, now_ms: u64, paces: impl Iterator<Item = Pace>) {
        if now_ms < self.due_ms {
            return;
        }
        let mut rates: Vec<_> = paces.filter_map(|pace| pace.bytes_per_s).collect();
        let middle = rates.len() / 2;
        let median = (!rates.is_empty()).then(|| *rates.select_nth_unstable(middle).1);
        *self = Self { due_ms: now_ms + MEDIAN_MS, bytes_per_s: median };
    }

    /// Less than a `part`th of the median. Nobody is slow before both are known.
    pub fn is_slow(&self, pace: &Pace, part: u64) -> bool {
        let both = pace.bytes_per_s.zip(self.bytes_per_s);
        both.is_some_and(|(own, median)| own.saturating_mul(part) < median)
    }
}
