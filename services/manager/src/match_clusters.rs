//! Which cluster takes a peer: a pure function of where the peer is, what the clusters claim, and who is alive.
//! **Invariant:** it depends on nothing else, not even on the order of the list; once a peer is a member, only changed
//! scopes move it, or its own cluster coming back.
//!
//! CIDRs beat hostnames beat IDC beat location; the weaker decides only between clusters equal in the stronger, and the
//! lower id between clusters equal in all. Last comes the default cluster, which takes everybody unless it is strict. In
//! this order, the first cluster that keeps its peers is the answer, where one keeps its peers that
//!
//! - has a live scheduler,
//! - or is strict: its peers wait for it, and never use another one,
//! - or has the asker as a member: it is not moved because of an outage. (The incumbent sends peers of a cluster whose
//!   schedulers are down to a foreign one, silently.)
//!
//! So only newcomers are passed on to the next cluster, and who was comes home when its own cluster is alive. When no
//! cluster keeps its peers, the first in this order is the answer.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use df_api::cluster::Place;
use df_api::manager::{Cluster, ConsideredCluster, LocationFit, Scopes, Verdict};
use regex::{Regex, RegexBuilder};

/// The incumbent compares five elements of a location.
const LOCATION_ELEMENTS_MAX: usize = 5;
/// A pattern that compiles to more is refused.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// Clusters that an answer tells of.
pub const CONSIDERED_MAX: usize = 16;

/// A cluster with its hostname patterns compiled.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub cluster: Cluster,
    hostnames: Vec<Regex>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub place: &'a Place,
    /// The cluster it is a member of already, or the only one that it may join.
    pub member_of: Option<i64>,
    /// The cluster that its own settings name: that one, whatever the scopes say.
    pub configured: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Match<'a> {
    pub cluster: &'a Cluster,
    /// For people: `CIDR 10.32.0.0/13`.
    pub reason: String,
    /// The chosen one, then the others, best fit first; at most [`CONSIDERED_MAX`].
    pub considered: Vec<ConsideredCluster>,
}

/// What of a cluster's scopes fits a place.
#[derive(Debug)]
struct Fit<'a> {
    cluster: &'a Cluster,
    cidr: Option<String>,
    hostname: Option<String>,
    idc: Option<String>,
    location: Option<LocationFit>,
}

/// Greater fits better.
type Rank = (bool, bool, bool, Option<(bool, u32)>);

/// `None` when no scope claims the place and no cluster takes what is left over, or when the configured one is not there.
/// `live` has the ids of the clusters that have a live scheduler.
pub fn match_clusters<'a>(asker: Asker<'_>, clusters: &'a [Candidate], live: &BTreeSet<i64>) -> Option<Match<'a>> {
    let mut fits: Vec<_> = clusters.iter().map(|candidate| Fit::of(asker.place, candidate)).collect();
    fits.sort_by_cached_key(Fit::order);
    let chosen = match asker.configured {
        Some(id) => fits.iter().position(|fit| fit.cluster.id == id)?,
        None => choose(&fits, |id| live.contains(&id) || asker.member_of == Some(id))?,
    };
    let verdict = |at: usize, fit: &Fit<'_>| match () {
        () if at == chosen => Verdict::Chosen,
        () if asker.configured.is_some() => Verdict::NotConfigured,
        () if fit.is_empty() && !fit.cluster.is_default => Verdict::NoFit,
        () if !fit.takes() => Verdict::Strict,
        () if at < chosen => Verdict::NoLiveScheduler,
        () => Verdict::FitsLess,
    };
    let all = fits.iter().enumerate().map(|(at, fit)| fit.considered(verdict(at, fit), live));
    let (first, others): (Vec<_>, Vec<_>) = all.partition(|one| one.verdict == Verdict::Chosen);
    let considered: Vec<_> = first.into_iter().chain(others).take(CONSIDERED_MAX).collect();
    Some(Match { cluster: fits[chosen].cluster, reason: reason(asker, &considered), considered })
}

/// The first that takes the place and keeps its peers; else the first that takes it.
fn choose(fits: &[Fit<'_>], is_at_home: impl Fn(i64) -> bool) -> Option<usize> {
    let mut taking = fits.iter().enumerate().filter(|(_, fit)| fit.takes());
    let (first, _) = taking.clone().next()?;
    let keeping = taking.find(|(_, fit)| fit.cluster.strict || is_at_home(fit.cluster.id));
    Some(keeping.map_or(first, |(at, _)| at))
}

fn reason(asker: Asker<'_>, considered: &[ConsideredCluster]) -> String {
    let [chosen, others @ ..] = considered else { return String::new() };
    if let Some(id) = asker.configured {
        return format!("scheduler cluster id {id} is configured");
    }
    let fit = chosen.fits().next().unwrap_or_else(|| "default cluster".to_owned());
    let passed = others.iter().filter(|other| other.verdict == Verdict::NoLiveScheduler);
    let passed: Vec<_> =
        passed.filter_map(|other| Some(format!("{} ({})", other.cluster_name, other.fits().next()?))).collect();
    if passed.is_empty() { fit } else { format!("{fit}, since no scheduler of {} is alive", passed.join(", ")) }
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

impl<'a> Fit<'a> {
    fn of(place: &Place, candidate: &'a Candidate) -> Self {
        let cluster = &candidate.cluster;
        Self {
            cluster,
            cidr: fitting_cidr(&place.ip, &cluster.scopes),
            hostname: fitting_hostname(&place.hostname, &candidate.hostnames),
            idc: fitting_idc(&place.idc, &cluster.scopes.idc),
            location: fitting_location(&place.location, &cluster.scopes.location),
        }
    }

    fn rank(&self) -> Rank {
        let location = self.location.as_ref().map(|fit| (fit.whole, fit.fitting_elements));
        (self.cidr.is_some(), self.hostname.is_some(), self.idc.is_some(), location)
    }

    fn is_empty(&self) -> bool {
        self.rank() == Rank::default()
    }

    /// The best first; of those that claim nothing of the place, the default.
    fn order(&self) -> (Reverse<Rank>, bool, i64) {
        (Reverse(self.rank()), self.is_empty() && !self.cluster.is_default, self.cluster.id)
    }

    fn takes(&self) -> bool {
        !self.is_empty() || (self.cluster.is_default && !self.cluster.strict)
    }

    fn considered(&self, verdict: Verdict, live: &BTreeSet<i64>) -> ConsideredCluster {
        let Self { cluster, cidr, hostname, idc, location } = self;
        ConsideredCluster {
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            verdict,
            cidr: cidr.clone(),
            hostname: hostname.clone(),
            idc: idc.clone(),
            location: location.clone(),
            is_default: cluster.is_default,
            strict: cluster.strict,
            has_live_scheduler: live.contains(&cluster.id),
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

/// Equal as a whole; or element by element from the left, until the first difference. An element left empty fits nothing.
fn fitting_location(of_place: &str, of_cluster: &str) -> Option<LocationFit> {
    let (place, cluster) = (of_place.trim().to_lowercase(), of_cluster.trim().to_lowercase());
    let whole = place == cluster && !cluster.is_empty();
    let pairs = elements(&place).zip(elements(&cluster));
    let common = pairs.take_while(|(a, b)| !a.is_empty() && a == b).count();
    let all = elements(&cluster).count();
    let fitting = if whole { all } else { common };
    (fitting > 0).then(|| LocationFit {
        whole,
        fitting_elements: fitting as u32,
        cluster_elements: all as u32,
        location: of_cluster.trim().to_owned(),
    })
}

fn elements(location: &str) -> impl Iterator<Item = &str> {
    location.split('|').take(LOCATION_ELEMENTS_MAX).map(str::trim)
}

#[cfg(test)]
mod tests;
