//! Why the scheduler answers as it does: for people who look at a task, computed when they ask.

use serde::{Deserialize, Serialize};

use super::{Decision, ParentRole};
use crate::ids::{HostId, PeerId};
use crate::rules::Priority;

/// Why a peer was told what it was told, seen from now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    pub decision: Decision,
    /// Its own, or that of its application's rule.
    pub priority: Priority,
    /// As last answered.
    pub parents: Vec<ScoredParent>,
    /// Others who have the content or stand near; at most 32.
    pub passed_over: Vec<PassedOver>,
    /// Others that are not in the list.
    pub not_listed: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScoredParent {
    pub peer_id: PeerId,
    pub role: ParentRole,
    /// From 0 to 1. It decides who serves the first row, and who is in reserve; places in rows are by arrival and IDC.
    pub score: f64,
    pub terms: ScoreTerms,
    /// Children it has, over all tasks.
    pub children: u32,
    /// Children it may have.
    pub slots: u32,
}

/// What a score is made of, each from 0 to 1; the cluster's weights say how much each counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScoreTerms {
    /// Free upload slots and bandwidth, in quarters; 1 for whose child it is.
    pub load: f64,
    /// 1 in the same IDC.
    pub idc: f64,
    /// Elements of the location in common, by 5.
    pub location: f64,
    /// 1 a seed that is getting it, 0.5 a peer, 0 a seed that has it.
    pub host_type: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassedOver {
    pub peer_id: PeerId,
    pub filter: Filter,
}

/// Why somebody is no parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    Itself,
    /// Its host is not announced, or its lease has run out.
    Gone,
    SharingOff,
    /// Its disk takes nothing, and it has not got all of it.
    NotStoring,
    /// A block list of the cluster: hosts of its kind do not give this away.
    Blocked,
    /// It sent wrong bytes to this peer, or to two others.
    WrongBytes,
    /// It was gone or silent for this peer.
    Complained,
    /// It was full for this peer a moment ago.
    Busy,
    /// It loses its slot by this very answer.
    Demoted,
    /// Its children fill its upload slots, or the cluster's limit, and somebody else will do.
    Full,
    /// It has not got all of it, and nobody reads through it: it would starve the peer.
    Starving,
    /// It stands below: reading from it might lead back to the peer.
    Cycle,
    /// Nothing speaks against it; others are enough, or better.
    NotNeeded,
}

/// Who may read a task from its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseView {
    pub holder: HostId,
    /// A seed that was sent, and has not reported yet.
    pub duty_pending: bool,
    /// For so long it has the lease.
    pub held_ms: u64,
    /// For so long it has received nothing.
    pub still_ms: u64,
}

/// A host that is not asked to fetch a task for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestView {
    pub host_id: HostId,
    pub why: RestReason,
    /// For so long yet.
    pub left_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestReason {
    /// It said so: the origin refused it, most likely. Others ask the origin themselves, to see its own answer.
    Failed,
    /// It did not start in time, or stood still.
    Stalled,
}

/// A host through which nobody reads a task any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DemotionView {
    pub host_id: HostId,
    pub why: DemotionReason,
    /// So long ago.
    pub since_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DemotionReason {
    /// It was slow although its own source had what it lacked.
    Bottleneck,
    /// Most who read from it found it silent, and it was slow.
    Silent,
    /// Another scheduler had given it no slot.
    Inherited,
}
