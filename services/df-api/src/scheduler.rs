//! Sync: **a request carries the whole state, the answer carries the decision.** Every call is idempotent and safe to
//! repeat; with `Prefer: wait=N` it is answered the moment there is something new, at the latest after N seconds.
//!
//! Reports of one host are numbered (`seq`), so that one which comes late undoes nothing. Answers have a version: who
//! names the one it knows is told in short that it still holds.

mod duties;
mod explanation;

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::cluster::Place;
use crate::digest::Digest;
use crate::error::Problem;
use crate::ids::{HostId, PeerId, TaskId};
use crate::task::Origin;
pub use duties::{
    Duty, DutyOutcome, DutyReport, DutyState, DutyTask, HoldDuty, ImageDuty, ResolvedContent, TASKS_OF_DUTY_MAX, Work,
};
pub use explanation::{
    DemotionReason, DemotionView, Explanation, Filter, LeaseView, PassedOver, RestReason, RestView, ScoreTerms,
    ScoredParent,
};

// --- hosts ---

/// A host announces itself; also its long poll for duties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostReport {
    /// Rises from report to report of this host, about whatever task: one that comes late changes nothing. Microseconds
    /// since 1970 when the host started are a good beginning.
    pub seq: u64,
    pub place: Place,
    /// Where its pieces are read, `http://host:port`.
    pub url: String,
    /// A seed peer takes fetch duties.
    pub seed: bool,
    /// Gives nothing to others (upload switched off, or a short-lived dfget).
    #[serde(default)]
    pub sharing_off: bool,
    /// `false` while its disk takes nothing: full, or not writable. It still serves what it has.
    #[serde(default = "yes")]
    pub storing: bool,
    /// Children it serves at once at most.
    pub upload_slots: u32,
    /// What it has sent to children lately, and the most that it can, if that is known: its own limit, or its link's.
    #[serde(default)]
    pub sent_bytes_per_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes_per_s_max: Option<u64>,
    /// Complete tasks on its disk, at most [`HELD_MAX`]. Left out when the scheduler knows them already (see [`HostDecision::resend_tasks`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<HeldTask>>,
    /// Duties received so far; they are not sent again.
    #[serde(default)]
    pub duties_taken: Vec<u64>,
    /// The version of the [`HostList`] that it has of this scheduler, which is not sent again. 0: none.
    #[serde(default)]
    pub hosts_known: u64,
}

fn yes() -> bool {
    true
}

/// Tasks in one list of a host.
pub const HELD_MAX: usize = 50_000;

/// A whole task on a host's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeldTask {
    pub id: TaskId,
    pub length: u64,
    pub piece_length: u64,
    /// It was imported at a node: no origin has it.
    #[serde(default)]
    pub imported: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostDecision {
    /// Silent for this long, the host counts as gone.
    pub lease_ms: u64,
    pub refresh_after_ms: u64,
    /// The scheduler does not know what this host holds (it has just started): send `tasks` next time.
    pub resend_tasks: bool,
    /// Left out when the host knows it already (see [`HostReport::hosts_known`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostList>,
    /// Rules of the cluster say who may download what: nothing is read of anybody before a scheduler has answered.
    #[serde(default)]
    pub ask_first: bool,
    pub duties: Vec<Duty>,
    /// Of the newest report that is known. Above the host's own, its clock was set back: it goes on from here.
    pub seq: u64,
}

/// Hosts of the cluster to ask when no scheduler answers. The same for all of them, so that they agree on an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostList {
    /// Another one when the list is another.
    pub version: u64,
    /// At most [`HOSTS_TOLD_MAX`]: seed peers first, then others.
    pub hosts: Vec<KnownHost>,
}

/// All of a small cluster.
pub const HOSTS_TOLD_MAX: usize = 64;

/// Somebody who shares what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnownHost {
    pub id: HostId,
    /// Where its pieces are read, `http://host:port`.
    pub url: String,
    pub seed: bool,
}

// --- peers ---

/// The whole state of a peer in one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PeerReport {
    pub host_id: HostId,
    /// As [`HostReport::seq`].
    pub seq: u64,
    pub state: PeerState,
    /// Without credentials that must not leave the node.
    pub origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    /// Checked pieces on its disk.
    #[serde(default)]
    pub pieces: Bitmap,
    /// Bytes that arrived so far, from anywhere: progress, also inside a piece.
    #[serde(default)]
    pub received_bytes: u64,
    /// Parents that did not work out.
    #[serde(default)]
    pub complaints: Vec<Complaint>,
    /// It is reading from the origin, or about to, because it was told to.
    #[serde(default)]
    pub at_origin: bool,
    /// The version of the last answer: as long as it holds, a long poll waits, and the answer is `unchanged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<u64>,
    /// The row of the last answer, so that a scheduler that has just started knows the table again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    #[serde(default)]
    pub wants: Wants,
}

/// What a peer means to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Wants {
    /// All of it, from wherever it is.
    #[default]
    All,
    /// All of it, from peers: nobody is sent to the origin for it.
    FromPeers,
    /// A part of it: nobody is sent to the origin for it, and nobody reads through it.
    Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    Running,
    Complete,
    /// It gave up; others must not wait for it.
    Failed,
}

/// Why a parent was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Complaint {
    pub peer_id: PeerId,
    pub reason: ComplaintReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ComplaintReason {
    /// Refused, reset, or an error status.
    Gone,
    /// Silent beyond the deadline although it is ahead.
    Silent,
    /// Bytes that do not match their digest.
    WrongBytes,
    /// It serves as many as it can (503): no fault of its own.
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeerDecision {
    pub decision: Decision,
    /// Best first; empty unless the decision is `parents`.
    pub parents: Vec<Parent>,
    /// How the parents share the pieces out; without it they are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    pub task: TaskFacts,
    /// Report again after this long, sooner when something went wrong.
    pub refresh_after_ms: u64,
    /// Of decision, parents, row and task; below 2^53.
    pub version: u64,
    /// As [`HostDecision::seq`].
    pub seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Read from these.
    Parents,
    /// Nobody has it, and nobody is to fetch it: the peer's priority is 2.
    Nobody,
    /// Read from the origin: the asker holds the cluster's one right to, or wants too little to hold it. Nobody has it whom
    /// it could read from.
    Origin,
    /// Somebody is about to have it; ask again, with a long poll.
    Wait,
    /// What the report names as `known` still holds; parents, row and task are left out.
    Unchanged,
}

/// What a host has to say of several tasks at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PeerReports {
    /// At most [`REPORTS_MAX`]; applied in this order.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub reports: Vec<TaskReport>,
}

/// Reports in one request.
pub const REPORTS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    pub task_id: TaskId,
    pub report: PeerReport,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeerAnswers {
    /// As many as reports, in their order.
    pub answers: Vec<PeerAnswer>,
}

/// One report may be refused and the others not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerAnswer {
    Decision(PeerDecision),
    Refused(Problem),
}

/// Rows of relays, as one peer sees them (see [`crate::rows`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Slots of every row of the task.
    pub width: u32,
    /// Where the peer stands; `None` when it only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RowPlace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RowPlace {
    pub row: u64,
    /// Below the width.
    pub slot: u32,
}

/// Somebody to read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Parent {
    pub peer_id: PeerId,
    pub host_id: HostId,
    /// `http://host:port`; its content is at `/v1/tasks/{task_id}/content`.
    pub url: String,
    pub seed: bool,
    pub role: ParentRole,
    /// Of a mate or one above: the slot it stands in.
    #[serde(default)]
    pub slot: u32,
}

/// What a parent is to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ParentRole {
    /// In the same row.
    Mate,
    /// In the row above, or with the whole content above the first row.
    Above,
    /// To be asked when the others do not deliver.
    Reserve,
}

/// What the cluster knows of a task's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

// --- looking ---

/// A task as the scheduler sees it: who holds what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskView {
    pub id: TaskId,
    pub facts: TaskFacts,
    pub origin_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseView>,
    pub rests: Vec<RestView>,
    pub demoted: Vec<DemotionView>,
    pub peers: Vec<PeerView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeerView {
    pub peer_id: PeerId,
    pub host_id: HostId,
    pub seed: bool,
    pub state: PeerState,
    pub at_origin: bool,
    pub pieces: u32,
    pub received_bytes: u64,
    /// Its slot in the rows; left out when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RowPlace>,
    /// As last answered.
    pub parents: Vec<PeerId>,
    /// As it last reported.
    pub complaints: Vec<Complaint>,
    /// Of a peer that is running; of the first 100 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Explanation>,
}

/// A host as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostView {
    pub id: HostId,
    pub place: Place,
    pub url: String,
    pub seed: bool,
    /// Its disk takes more.
    pub storing: bool,
    pub tasks: u32,
}
