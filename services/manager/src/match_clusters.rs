//! Which cluster takes a peer: a pure function of where the peer is and what the clusters claim.
//! **Invariant:** the answer depends on nothing else, not on who is alive: a cluster whose schedulers are down keeps its
//! peers (the incumbent sends them to a foreign cluster), and the order of the list does not matter.
//!
//! CIDRs beat hostnames beat IDC beat location; the weaker decides only between clusters equal in the stronger, and the
//! lower id between clusters equal in all. Whom no scope claims goes to the default cluster unless that is strict.

use std::cmp::Reverse;
use std::net::IpAddr;

use df_api::cluster::Place;
use df_api::manager::{Cluster, Scopes};
use regex::{Regex, RegexBuilder};

/// The incumbent compares five elements of a location.
const LOCATION_ELEMENTS_MAX: usize = 5;
/// A pattern that compiles to more is refused.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A cluster with its hostname patterns compiled.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub cluster: Cluster,
    hostnames: Vec<Regex>,
}

#[derive(Clone, Debug)]
pub struct Match<'a> {
    pub cluster: &'a Cluster,
    /// For people: `CIDR 10.32.0.0/13`.
    pub reason: String,
}

/// What of a cluster's scopes fits a place.
#[derive(Debug, Default)]
struct Fit {
    cidr: Option<String>,
    hostname: Option<String>,
    idc: Option<String>,
    location_elements: usize,
}

/// `None` when no scope claims the place and no cluster takes what is left over.
pub fn match_clusters<'a>(place: &Place, clusters: &'a [Candidate]) -> Option<Match<'a>> {
    let fits = clusters.iter().map(|candidate| (Fit::of(place, candidate), &candidate.cluster));
    let best = fits.filter(|(fit, _)| !fit.is_empty()).max_by_key(|(fit, cluster)| (fit.rank(), Reverse(cluster.id)));
    if let Some((fit, cluster)) = best {
        return Some(Match { reason: fit.reason(&cluster.scopes), cluster });
    }
    let default = clusters.iter().map(|candidate| &candidate.cluster).find(|cluster| cluster.is_default)?;
    (!default.strict).then(|| Match { cluster: default, reason: "default cluster".to_owned() })
}

/// Bounded in size and, being this engine, in time.
pub fn compile_hostname(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build()
}

// === impl Candidate ===

impl Candidate {
    pub fn new(cluster: Cluster) -> Self {
        // A pattern that does not compile was refused on its way in.
        let hostnames = cluster.scopes.hostnames.iter().filter_map(|pattern| compile_hostname(pattern).ok()).collect();
        Self { cluster, hostnames }
    }
}

// === impl Fit ===

impl Fit {
    fn of(place: &Place, candidate: &Candidate) -> Self {
        let scopes = &candidate.cluster.scopes;
        Self {
            cidr: fitting_cidr(&place.ip, scopes),
            hostname: fitting_hostname(&place.hostname, &candidate.hostnames),
            idc: fitting_idc(&place.idc, &scopes.idc),
            location_elements: common_elements(&place.location, &scopes.location),
        }
    }

    fn is_empty(&self) -> bool {
        self.rank() == (false, false, false, 0)
    }

    fn rank(&self) -> (bool, bool, bool, usize) {
        (self.cidr.is_some(), self.hostname.is_some(), self.idc.is_some(), self.location_elements)
    }

    fn reason(&self, scopes: &Scopes) -> String {
        match self {
            Self { cidr: Some(cidr), .. } => format!("CIDR {cidr}"),
            Self { hostname: Some(pattern), .. } => format!("hostname {pattern}"),
            Self { idc: Some(idc), .. } => format!("IDC {idc}"),
            Self { location_elements: common, .. } => {
                let all = elements(&scopes.location).count();
                format!("location {} ({common} of {all} elements)", scopes.location)
            }
        }
    }
}

fn fitting_cidr(ip: &str, scopes: &Scopes) -> Option<String> {
    // An IPv4 address that arrived over an IPv6 socket is that IPv4 address.
    let ip = ip.trim().parse::<IpAddr>().ok()?.to_canonical();
    scopes.cidrs.iter().find(|cidr| cidr.contains(&ip)).map(ToString::to_string)
}

fn fitting_hostname(hostname: &str, patterns: &[Regex]) -> Option<String> {
    let fitting = patterns.iter().find(|pattern| !hostname.is_empty() && pattern.is_match(hostname))?;
    Some(fitting.as_str().to_owned())
}

/// The whole, or one of the `|`-separated elements, letter case aside.
fn fitting_idc(of_place: &str, of_cluster: &str) -> Option<String> {
    let wanted = of_place.trim().to_lowercase();
    if wanted.is_empty() {
        return None;
    }
    let mut claimed = std::iter::once(of_cluster).chain(of_cluster.split('|'));
    claimed.find(|idc| idc.trim().to_lowercase() == wanted).map(|idc| idc.trim().to_owned())
}

/// From the left, until the first difference; an element left empty fits nothing.
fn common_elements(of_place: &str, of_cluster: &str) -> usize {
    let pairs = elements(of_place).zip(elements(of_cluster));
    pairs.take_while(|(a, b)| !a.is_empty() && a == b).count()
}

fn elements(location: &str) -> impl Iterator<Item = String> {
    location.split('|').take(LOCATION_ELEMENTS_MAX).map(|element| element.trim().to_lowercase())
}

#[cfg(test)]
mod tests;
