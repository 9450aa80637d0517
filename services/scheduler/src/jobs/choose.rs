//! Which hosts a preheat is for. Pure.
//!
//! **Invariants.** A seed peer of the choice comes before peers. The same hosts make the same choice, in whatever order
//! they are told; what is not there is named.

use std::net::IpAddr;

use df_api::HostId;
use df_api::cluster::Place;
use df_api::manager::{JobArgs, PreheatScope};
use df_api::rendezvous::rank;

/// A host that could be given work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    pub id: HostId,
    pub place: Place,
    pub seed: bool,
}

/// Nobody, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHands {
    #[error("this cluster has no seed peer that can store it")]
    Seeds,
    #[error("this cluster has no host that can store it")]
    Hosts,
    #[error("no host of this cluster that can store it has the address {0}")]
    Ip(String),
}

/// By the arguments' scope, then by addresses, number or percentage.
pub fn choose(args: &JobArgs, hands: Vec<Hand>) -> Result<Vec<Hand>, NoHands> {
    let scope = args.scope.unwrap_or_default();
    let mut fit: Vec<Hand> = hands.into_iter().filter(|hand| hand.seed || scope == PreheatScope::AllPeers).collect();
    fit.sort_by_cached_key(|hand| (!hand.seed, rank(&hand.id), hand.id.clone()));
    if fit.is_empty() {
        return Err(if scope == PreheatScope::AllPeers { NoHands::Hosts } else { NoHands::Seeds });
    }
    if !args.ips.is_empty() {
        return by_ips(&args.ips, fit);
    }
    let number = match (scope, args.count, args.percentage) {
        (PreheatScope::SingleSeedPeer, ..) => fit.len(),
        (_, Some(count), _) => count as usize,
        (_, None, Some(percentage)) => (fit.len() * percentage as usize).div_ceil(100).max(1),
        (_, None, None) => fit.len(),
    };
    fit.truncate(number);
    Ok(fit)
}

fn by_ips(ips: &[String], fit: Vec<Hand>) -> Result<Vec<Hand>, NoHands> {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    let is_there = |ip: &&String| fit.iter().any(|hand| address(&hand.place.ip) == address(ip));
    if let Some(absent) = ips.iter().find(|ip| !is_there(ip)) {
        return Err(NoHands::Ip(absent.clone()));
    }
    Ok(fit.into_iter().filter(|hand| ips.iter().any(|ip| address(ip) == address(&hand.place.ip))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hands(seeds: usize, peers: usize) -> Vec<Hand> {
        let hand = |at: usize| Hand {
            id: format!("h-{at}").parse().unwrap(),
            place: Place { ip: format!("10.0.{}.{}", at / 256, at % 256), ..Place::default() },
            seed: at < seeds,
        };
        (0..seeds + peers).map(hand).collect()
    }

    fn args(scope: PreheatScope) -> JobArgs {
        JobArgs { scope: Some(scope), ..JobArgs::default() }
    }

    proptest! {
        #[test]
        fn a_choice_is_of_the_scope_and_the_same_in_any_order(
            (seeds, peers) in (0..5usize, 0..40usize),
            count in proptest::option::of(1..50u32),
            percentage in proptest::option::of(1..=100u32),
            all in any::<bool>(),
        ) {
            let scope = if all { PreheatScope::AllPeers } else { PreheatScope::AllSeedPeers };
            let args = JobArgs { count, percentage, ..args(scope) };
            let there = if all { seeds + peers } else { seeds };
            let turned: Vec<_> = hands(seeds, peers).into_iter().rev().collect();
            let chosen = choose(&args, hands(seeds, peers));
            prop_assert_eq!(&chosen, &choose(&args, turned));
            prop_assert_eq!(chosen.is_err(), there == 0);
            let chosen = chosen.unwrap_or_default();
            let expected = match (count, percentage) {
                (Some(count), _) => there.min(count as usize),
                (None, Some(percentage)) => (there * percentage as usize).div_ceil(100),
                (None, None) => there,
            };
            prop_assert_eq!(chosen.len(), expected);
            prop_assert!(all || chosen.iter().all(|hand| hand.seed));
            prop_assert!(chosen.is_sorted_by_key(|hand| !hand.seed), "seeds first");
        }
    }

    #[test]
    fn who_is_named_and_not_there_is_named() {
        let named = |ips: &[&str]| JobArgs {
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
            ..args(PreheatScope::AllPeers)
        };
        let chosen = choose(&named(&["10.0.0.3", "10.0.0.0"]), hands(1, 5)).unwrap();
        assert_eq!(chosen.iter().map(|hand| hand.place.ip.as_str()).collect::<Vec<_>>(), ["10.0.0.0", "10.0.0.3"]);
        let absent = choose(&named(&["10.0.0.3", "192.0.2.1"]), hands(1, 5));
        assert_eq!(absent, Err(NoHands::Ip("192.0.2.1".to_owned())));
        assert_eq!(choose(&args(PreheatScope::SingleSeedPeer), hands(0, 5)), Err(NoHands::Seeds));
        assert_eq!(choose(&args(PreheatScope::AllPeers), Vec::new()), Err(NoHands::Hosts));
    }
}
