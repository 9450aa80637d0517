//! How fast a request is getting on: bytes over the last half second. Pure, told the time by its ticks.

use std::collections::VecDeque;
use std::time::Duration;

/// How often requests are looked at.
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks of a window: the progress deadline, 500 ms.
const TICKS: usize = 5;
/// Ticks without a byte after which it is asked whether the parent lives: long before it is to blame for anything.
const STOPPED_TICKS: u32 = 2;
/// A request is slow against the others below this part of their mean.
const SLOW_FRACTION: u64 = 4;
/// A request is slow in itself when the rest would take more windows than this.
const WINDOWS_PER_REST: u64 = 4;

/// Of one request.
#[derive(Debug, Default)]
pub struct Meter {
    /// Totals at the last ticks.
    totals: VecDeque<u64>,
    ticks: u32,
    idle_ticks: u32,
}

/// What a meter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As it should be, or too young to say.
    Fair,
    /// The rest takes long, although nothing else is faster.
    Long,
    /// The others are much faster.
    Slow,
    /// Not a byte for a whole window.
    Still,
}

// === impl Meter ===

impl Meter {
    pub fn tick(&mut self, total: u64) {
        let stands_still = self.totals.back() == Some(&total);
        self.idle_ticks = if stands_still { self.idle_ticks + 1 } else { 0 };
        self.ticks += 1;
        self.totals.push_back(total);
        if self.totals.len() > TICKS + 1 {
            self.totals.pop_front();
        }
    }

    /// Bytes of the last window, once it has lived for one.
    pub fn window(&self) -> Option<u64> {
        (self.totals.len() > TICKS).then(|| self.totals[TICKS] - self.totals[0])
    }

    /// Bytes have come within the last window, or it has only begun.
    pub fn is_moving(&self) -> bool {
        self.totals.len() <= TICKS || self.window() != Some(0)
    }

    /// Whole windows without a byte.
    pub fn still_windows(&self) -> u32 {
        self.idle_ticks / TICKS as u32
    }

    /// Right after bytes have stopped to come: whoever has died without a word is found out within a second.
    pub fn has_just_stopped(&self) -> bool {
        self.idle_ticks == STOPPED_TICKS
    }

    /// A request that does not get on is asked about after each window at first, and then less often.
    pub fn is_probed_now(&self) -> bool {
        let windows = self.still_windows();
        let ticks = if windows == 0 { self.ticks } else { self.idle_ticks };
        (ticks as usize).is_multiple_of(TICKS) && (windows <= 2 || windows.is_multiple_of(4))
    }

    pub fn pace(&self, mean: u64, rest_bytes: u64) -> Pace {
        match self.window() {
            None => Pace::Fair,
            Some(0) => Pace::Still,
            Some(bytes) if bytes.saturating_mul(WINDOWS_PER_REST) >= rest_bytes => Pace::Fair,
            Some(bytes) if bytes < mean / SLOW_FRACTION => Pace::Slow,
            Some(_) => Pace::Long,
        }
    }
}

/// The mean window of those that have one.
pub fn mean<'a>(meters: impl Iterator<Item = &'a Meter>) -> u64 {
    let windows: Vec<u64> = meters.filter_map(Meter::window).collect();
    windows.iter().sum::<u64>().checked_div(windows.len() as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(bytes_per_tick: u64, ticks: u64) -> Meter {
        let mut meter = Meter::default();
        (1..=ticks).for_each(|tick| meter.tick(tick * bytes_per_tick));
        meter
    }

    #[test]
    fn a_young_request_is_not_judged() {
        assert_eq!(fed(0, 5).pace(1000, 1000), Pace::Fair);
        assert!(fed(0, 5).is_moving());
    }

    #[test]
    fn half_a_second_without_a_byte_is_still() {
        let meter = fed(0, 6);
        assert_eq!((meter.pace(0, 1000), meter.is_moving(), meter.still_windows()), (Pace::Still, false, 1));
        assert_eq!(fed(0, 21).still_windows(), 4);
        let probed = |ticks: u64| fed(0, ticks).is_probed_now();
        let at: Vec<u64> = (6..60).filter(|ticks| probed(*ticks)).collect();
        assert_eq!(at, [6, 11, 21, 41], "less and less often");
        assert!((1..60).filter(|ticks| fed(0, *ticks).has_just_stopped()).eq([3]), "once, early");
    }

    #[test]
    fn slow_is_against_the_others_and_long_against_the_rest() {
        assert_eq!(fed(10, 6).pace(1000, 1 << 20), Pace::Slow);
        assert_eq!(fed(10, 6).pace(100, 1 << 20), Pace::Long);
        assert_eq!(fed(10, 6).pace(1000, 100), Pace::Fair, "it is nearly done");
        assert_eq!(mean([fed(10, 6), fed(30, 6), fed(1, 2)].iter()), 100);
    }
}
