//! What a figure must be and should be, and what several runs of it amount to.

/// `must` is the limit, `aim` what we want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) better: Better,
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Aim,
    Must,
    Missed,
}

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

// === impl Goal ===

impl Goal {
    pub(crate) const fn at_least(must: f64, aim: f64) -> Self {
        Self { better: Better::Higher, must, aim }
    }

    pub(crate) const fn at_most(must: f64, aim: f64) -> Self {
        Self { better: Better::Lower, must, aim }
    }

    pub(crate) fn verdict(&self, median: f64) -> Verdict {
        let holds = |limit: f64| match self.better {
            Better::Higher => median >= limit,
            Better::Lower => median <= limit,
        };
        match (holds(self.aim), holds(self.must)) {
            (true, _) => Verdict::Aim,
            (false, true) => Verdict::Must,
            (false, false) => Verdict::Missed,
        }
    }

    pub(crate) fn sign(&self) -> &'static str {
        match self.better {
            Better::Higher => "≥",
            Better::Lower => "≤",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Must => "must",
            Self::Missed => "MISSED",
        }
    }
}

// === impl Spread ===

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let middle = |from: usize| sorted.get(from / 2).copied();
        let median = (middle(sorted.len().checked_sub(1)?)? + middle(sorted.len())?) / 2.0;
        Some(Self { min: *sorted.first()?, median, max: *sorted.last()? })
    }
}

pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The nearest rank of sorted values.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides() {
        let goal = Goal::at_least(0.9, 1.0);
        assert_eq!([1.0, 0.9, 0.89].map(|median| goal.verdict(median)), [Verdict::Aim, Verdict::Must, Verdict::Missed]);
        let goal = Goal::at_most(1.3, 1.05);
        assert_eq!(
            [1.05, 1.3, 1.31].map(|median| goal.verdict(median)),
            [Verdict::Aim, Verdict::Must, Verdict::Missed]
        );
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(50.0));
        assert_eq!(percentile(&values, 0.99), Some(99.0));
        assert_eq!(percentile(&values, 1.0), Some(100.0));
        assert_eq!(percentile(&[7.0], 0.01), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
