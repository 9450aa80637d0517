//! The hosts that all others are told of, for when no scheduler answers.
//!
//! **Invariant.** The list is bounded, and a pure function of who is there: every scheduler of a cluster tells the same. Its
//! version is another exactly when the list is.

use std::collections::{BTreeMap, HashMap};

use df_api::HostId;
use df_api::rendezvous::rank;
use df_api::scheduler::{HOSTS_TOLD_MAX, HostList, HostReport, KnownHost};
use serde::{Deserialize, Serialize};

/// Seed peers first, then by [`rank`].
type Place = (bool, [u8; 8], HostId);

#[derive(Debug, Serialize, Deserialize)]
pub struct Directory {
    version: u64,
    hosts: BTreeMap<Place, KnownHost>,
    places: HashMap<HostId, Place>,
}

// === impl Directory ===

impl Directory {
    /// `first` is above every version of an earlier scheduler.
    pub fn new(first: u64) -> Self {
        Self { version: first, hosts: BTreeMap::new(), places: HashMap::new() }
    }

    /// Who gives nothing to others is not in it.
    pub fn follow(&mut self, id: &HostId, report: &HostReport) {
        if report.sharing_off || !report.storing {
            return self.remove(id);
        }
        let place = (!report.seed, rank(id), id.clone());
        let host = KnownHost { id: id.clone(), url: report.url.clone(), seed: report.seed };
        if self.hosts.get(&place) == Some(&host) {
            return;
        }
        self.remove(id);
        self.places.insert(id.clone(), place.clone());
        self.hosts.insert(place.clone(), host);
        self.version += u64::from(self.is_told(&place));
    }

    pub fn remove(&mut self, id: &HostId) {
        let Some(place) = self.places.remove(id) else { return };
        self.version += u64::from(self.is_told(&place));
        self.hosts.remove(&place);
    }

    /// `None` for who knows this version.
    pub fn news(&self, known: u64) -> Option<HostList> {
        let told = || self.hosts.values().take(HOSTS_TOLD_MAX).cloned().collect();
        (known != self.version).then(|| HostList { version: self.version, hosts: told() })
    }

    fn is_told(&self, place: &Place) -> bool {
        self.hosts.keys().take(HOSTS_TOLD_MAX).any(|told| told == place)
    }
}

#[cfg(test)]
mod tests {
    use df_api::cluster::Place;
    use proptest::prelude::*;

    use super::*;

    fn report(url: u8, seed: bool, sharing_off: bool) -> HostReport {
        HostReport {
            seq: 0,
            place: Place::default(),
            url: format!("http://h:{url}"),
            seed,
            sharing_off,
            storing: true,
            upload_slots: 1,
            sent_bytes_per_s: 0,
            sent_bytes_per_s_max: None,
            tasks: None,
            duties_taken: Vec::new(),
            hosts_known: 0,
        }
    }

    fn told(directory: &Directory) -> HostList {
        directory.news(0).unwrap()
    }

    proptest! {
        #[test]
        fn the_version_changes_exactly_when_the_list_does(
            steps in proptest::collection::vec((0..200u32, 0..3u8, any::<bool>(), any::<bool>(), any::<bool>()), 1..300),
        ) {
            let mut directory = Directory::new(1);
            let mut now: BTreeMap<HostId, HostReport> = BTreeMap::new();
            for (host, url, seed, off, leaves) in steps {
                let id: HostId = format!("h-{host}").parse().unwrap();
                let before = told(&directory);
                if leaves {
                    directory.remove(&id);
                    now.remove(&id);
                } else {
                    directory.follow(&id, &report(url, seed, off));
                    now.insert(id, report(url, seed, off));
                }
                let after = told(&directory);
                prop_assert_eq!(before.hosts == after.hosts, before.version == after.version);
                prop_assert!(after.hosts.len() <= HOSTS_TOLD_MAX);
            }
            let mut other = Directory::new(1_000);
            now.iter().rev().for_each(|(id, report)| other.follow(id, report));
            prop_assert_eq!(told(&directory).hosts, told(&other).hosts, "whoever came first");
        }
    }

    #[test]
    fn seed_peers_come_first_and_who_knows_the_list_is_not_told_again() {
        let mut directory = Directory::new(7);
        for host in 0..100 {
            directory.follow(&format!("h-{host}").parse().unwrap(), &report(0, host == 99, false));
        }
        let list = told(&directory);
        assert_eq!((list.hosts.len(), list.hosts[0].id.as_str()), (HOSTS_TOLD_MAX, "h-99"));
        assert_eq!(directory.news(list.version), None);
    }
}
