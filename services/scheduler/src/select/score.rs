//! How good a parent somebody would be: the weighted terms, in one pure function.
//!
//! ```text
//! score = (w.load·load + w.idc·idc + w.location·location + w.host_type·host_type) / (sum of the weights)
//!
//! load       1 − the larger part used of upload slots and of upload bandwidth (if its limit is known), in quarters;
//!            1 for whose child the asker is: moving costs more than it brings, and who flees a load brings it along
//! idc        1 in the same IDC, letter case aside, else 0; 0 where it is not known
//! location   elements of `area|country|…` in common from the left, by 5; 1 when they are equal as a whole
//! host_type  1 a seed that is getting it, ½ a peer, 0 a seed that has it: peers relieve seeds
//! ```
//!
//! The meaning of the terms and their default weights (0.6, 0.2, 0.1, 0.1) are the incumbent's (evaluator of its scheduler).
//! Its load is a guess from what it has told others to fetch; here it is what hosts report and the children they were
//! given. Quarters, so that a few children more or less move nobody.
//!
//! **Invariant.** A score is finite, from 0 to 1, and depends on nothing but its arguments.

use df_api::cluster::Place;
use df_api::rules::Weights;

/// Elements of a location that count.
const LOCATION_ELEMENTS: usize = 5;
/// Loads are told apart by so many steps.
const LOAD_STEPS: u64 = 4;

/// Each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    pub load: f64,
    pub idc: f64,
    pub location: f64,
    pub host_type: f64,
}

/// What of a host is used.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub children: u32,
    pub slots: u32,
    /// Bytes per second.
    pub sent: u64,
    pub sent_limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostType {
    SeedGetting,
    SeedHaving,
    Peer,
}

// === impl Terms ===

impl Terms {
    pub fn score(&self, weights: &Weights) -> f64 {
        let Weights { load, idc, location, host_type } = *weights;
        // Scaled first: sums of the largest numbers are not finite.
        let most = load.max(idc).max(location).max(host_type);
        if most <= 0.0 {
            return 0.0;
        }
        let all = [(load, self.load), (idc, self.idc), (location, self.location), (host_type, self.host_type)];
        let sum: f64 = all.iter().map(|(weight, _)| weight / most).sum();
        all.iter().map(|(weight, term)| weight / most * term).sum::<f64>() / sum
    }
}

// === impl Load ===

impl Load {
    pub fn term(&self) -> f64 {
        let steps = |used: u64, of: u64| used.saturating_mul(LOAD_STEPS).checked_div(of).unwrap_or(LOAD_STEPS);
        let slots = steps(self.children.into(), self.slots.into());
        let bandwidth = self.sent_limit.map_or(0, |limit| steps(self.sent, limit));
        let used = slots.max(bandwidth).min(LOAD_STEPS);
        (LOAD_STEPS - used) as f64 / LOAD_STEPS as f64
    }
}

// === impl HostType ===

impl HostType {
    pub fn term(self) -> f64 {
        match self {
            Self::SeedGetting => 1.0,
            Self::Peer => 0.5,
            Self::SeedHaving => 0.0,
        }
    }
}

pub fn idc_term(one: &Place, other: &Place) -> f64 {
    let same = !one.idc.is_empty() && one.idc.eq_ignore_ascii_case(&other.idc);
    if same { 1.0 } else { 0.0 }
}

pub fn location_term(one: &Place, other: &Place) -> f64 {
    let (one, other) = (&one.location, &other.location);
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    if one.eq_ignore_ascii_case(other) {
        return 1.0;
    }
    let pairs = one.split('|').zip(other.split('|')).take(LOCATION_ELEMENTS);
    let common = pairs.take_while(|(one, other)| !one.is_empty() && one.eq_ignore_ascii_case(other)).count();
    common as f64 / LOCATION_ELEMENTS as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(idc: &str, location: &str) -> Place {
        Place { idc: idc.to_owned(), location: location.to_owned(), ..Place::default() }
    }

    #[test]
    fn locations_are_compared_element_by_element() {
        let term = |one: &str, other: &str| location_term(&place("", one), &place("", other));
        assert_eq!(term("a|b", "A|B"), 1.0);
        assert_eq!(term("a|b", "a|c"), 0.2);
        assert_eq!(term("a|b|c|d", "a|b|c"), 0.6);
        assert_eq!(term("a|b|c|d|e|f", "a|b|c|d|e|g"), 1.0, "the sixth is never looked at");
        assert_eq!(term("x|b", "a|b"), 0.0);
        assert_eq!((term("", ""), term("|b", "|c")), (0.0, 0.0));
    }

    #[test]
    fn an_unknown_idc_is_no_idc_in_common() {
        assert_eq!(idc_term(&place("East", ""), &place("east", "")), 1.0);
        assert_eq!(idc_term(&place("", ""), &place("", "")), 0.0);
    }

    #[test]
    fn the_scarcer_of_slots_and_bandwidth_is_the_load() {
        let load = |children, sent, sent_limit| Load { children, slots: 100, sent, sent_limit }.term();
        assert_eq!(load(24, 0, None), 1.0, "a few children move nobody");
        assert_eq!((load(25, 0, None), load(99, 0, None), load(100, 0, None)), (0.75, 0.25, 0.0));
        assert_eq!((load(0, 50, Some(100)), load(60, 10, Some(100)), load(0, 50, None)), (0.5, 0.5, 1.0));
        assert_eq!((load(0, 7, Some(0)), Load { slots: 0, children: 0, sent: 0, sent_limit: None }.term()), (0.0, 0.0));
    }

    #[test]
    fn the_default_weights_are_the_incumbents() {
        let terms = Terms { load: 0.0, idc: 0.0, location: 0.0, host_type: 0.0 };
        let score = |terms: Terms| (terms.score(&Weights::default()) * 1000.0).round();
        assert_eq!(score(Terms { load: 1.0, ..terms }), 600.0);
        assert_eq!(score(Terms { idc: 1.0, ..terms }), 200.0);
        assert_eq!(score(Terms { location: 1.0, ..terms }), 100.0);
        assert_eq!(score(Terms { host_type: 1.0, ..terms }), 100.0);
    }

    fn term() -> impl Strategy<Value = f64> {
        0.0..=1.0f64
    }

    proptest! {
        #[test]
        fn a_score_is_from_0_to_1_and_only_ratios_of_weights_matter(
            terms in [term(), term(), term(), term()], weights in [0..4u8, 0..4u8, 0..4u8, 0..4u8], scale in 1e-300..1e300f64,
        ) {
            let [load, idc, location, host_type] = terms;
            let terms = Terms { load, idc, location, host_type };
            let weights = weights.map(f64::from);
            let of = |scale: f64| {
                let [load, idc, location, host_type] = weights.map(|weight| weight * scale);
                terms.score(&Weights { load, idc, location, host_type })
            };
            prop_assert!((0.0..=1.0 + 1e-9).contains(&of(scale)));
            prop_assert!((of(1.0) - of(scale)).abs() < 1e-9);
        }
    }
}
