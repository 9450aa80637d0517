//! Where a daemon belongs, and why.
//! **Invariant:** the answer explains itself term by term, to programs and, by `Display`, to people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DaemonInfo, Scheduler};
use crate::cluster::{Membership, Place};
use crate::scheduler::KnownHost;

/// A daemon asks where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiscoveryRequest {
    pub place: Place,
    /// Fixed by the daemon's own configuration; overrides the scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_cluster_id: Option<i64>,
    /// The cluster it is a member of already. Its schedulers being down moves no member; changed scopes do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_of: Option<i64>,
    /// It is a seed peer there: its credential says so, and schedulers believe nobody else who says it.
    #[serde(default)]
    pub seed_peer: bool,
    /// What it tells of itself, for people to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<DaemonInfo>,
}

/// Where it belongs, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiscoveryResponse {
    pub membership: Membership,
    /// For people: `CIDR 10.32.0.0/13`, `IDC cluster-2`, `default cluster`, …
    pub reason: String,
    /// Term by term: the cluster it belongs to, then those it does not, best fit first. At most 16.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub considered: Vec<ConsideredCluster>,
    /// Active ones, lowest id first.
    pub schedulers: Vec<Scheduler>,
    /// Active ones, named as they name themselves to schedulers.
    pub seed_peers: Vec<KnownHost>,
    /// Changes with the cluster, the reason, and who is active there. Sent back as `If-None-Match`, it makes the next
    /// answer wait for a change. The same as `ETag`.
    #[serde(default)]
    pub version: String,
    /// Ask again after this long, if answers are not held back.
    pub refresh_after_ms: u64,
}

/// What of a cluster fits a place, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConsideredCluster {
    pub cluster_id: i64,
    pub cluster_name: String,
    pub verdict: Verdict,
    /// The one that the address lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The pattern that the host's name matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationFit>,
    pub is_default: bool,
    pub strict: bool,
    pub has_live_scheduler: bool,
}

/// The elements of a location that are the same, from the left up to the first difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocationFit {
    /// Place and cluster say the same, letter case aside. Beats any number of elements.
    pub whole: bool,
    pub fitting_elements: u32,
    /// Of so many that the cluster names.
    pub cluster_elements: u32,
    /// The cluster's.
    pub location: String,
}

/// Why a cluster was chosen or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Chosen,
    /// It fits, but less than the chosen one, or as well with a higher id.
    FitsLess,
    /// It fits at least as well, but no scheduler of it is alive, it is not strict, and the host is no member of it.
    NoLiveScheduler,
    /// None of its scopes fits, and it is not the default.
    NoFit,
    /// The default, which is strict and takes only what its scopes fit.
    Strict,
    /// The host's own configuration names another.
    NotConfigured,
}

// === impl ConsideredCluster ===

/// `cluster-3 (CIDR 10.0.0.0/8, no live scheduler): no_live_scheduler`
impl fmt::Display for ConsideredCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms: Vec<String> = self.fits().collect();
        terms.extend(self.is_default.then(|| "default".to_owned()));
        terms.extend(self.strict.then(|| "strict".to_owned()));
        terms.extend((!self.has_live_scheduler).then(|| "no live scheduler".to_owned()));
        write!(f, "{} ({}): {}", self.cluster_name, terms.join(", "), self.verdict)
    }
}

impl ConsideredCluster {
    /// The terms that fit, the strongest first.
    pub fn fits(&self) -> impl Iterator<Item = String> {
        let cidr = self.cidr.iter().map(|cidr| format!("CIDR {cidr}"));
        let hostname = self.hostname.iter().map(|pattern| format!("hostname {pattern}"));
        let idc = self.idc.iter().map(|idc| format!("IDC {idc}"));
        cidr.chain(hostname).chain(idc).chain(self.location.iter().map(ToString::to_string))
    }
}

impl fmt::Display for LocationFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, fitting_elements, cluster_elements, .. } = self;
        write!(f, "location {location} ({fitting_elements} of {cluster_elements} elements)")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Chosen => "chosen",
            Verdict::FitsLess => "fits less",
            Verdict::NoLiveScheduler => "passed over",
            Verdict::NoFit => "does not fit",
            Verdict::Strict => "takes only what its scopes fit",
            Verdict::NotConfigured => "not the configured one",
        })
    }
}
