//! Work for hosts. Control components never call down: duties ride on the answer of a host's own long poll, and what
//! becomes of those of a job is told in further calls.

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;
use crate::task::TaskSpec;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Duty {
    pub id: u64,
    pub work: Work,
}

/// The first is for somebody who waits; the others are parts of jobs, and reported on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Fetch the task from its origin: nobody in the cluster has it.
    Fetch(Box<TaskSpec>),
    /// Find out what an image is made of.
    Resolve(ImageDuty),
    /// Have the whole of each task.
    Hold(HoldDuty),
    /// Have nothing of these tasks any more.
    Drop(Vec<TaskId>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageDuty {
    /// `https://REGISTRY/v2/REPOSITORY/manifests/REFERENCE`
    pub url: String,
    /// All of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The assignment at the manager that has the secrets for its registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_of: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HoldDuty {
    /// At most [`TASKS_OF_DUTY_MAX`].
    pub tasks: Vec<TaskSpec>,
    /// Somebody else goes to the origin.
    pub from_peers: bool,
    /// So many at once.
    pub at_once: u32,
    /// As [`ImageDuty::secrets_of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_of: Option<i64>,
}

/// Tasks of one duty: an image for many platforms has no more.
pub const TASKS_OF_DUTY_MAX: usize = 2_000;

/// How a duty of a job stands. The last report of a duty names the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DutyReport {
    pub state: DutyState,
    /// Why it failed.
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    #[serde(default)]
    pub error: String,
    /// Of an image: what it is made of.
    #[cfg_attr(feature = "openapi", schema(max_items = 2000))]
    #[serde(default)]
    pub contents: Vec<ResolvedContent>,
    /// Of tasks to hold or to drop, in the duty's order.
    #[cfg_attr(feature = "openapi", schema(max_items = 2000))]
    #[serde(default)]
    pub tasks: Vec<DutyTask>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DutyState {
    Running,
    Done,
    Failed,
}

/// A manifest, a configuration or a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResolvedContent {
    pub task: TaskSpec,
    pub length: u64,
    /// Not a manifest or a configuration.
    pub is_layer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DutyTask {
    pub outcome: DutyOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// That it has of it.
    #[serde(default)]
    pub held_bytes: u64,
    /// Why it failed.
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    #[serde(default)]
    pub error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DutyOutcome {
    Waiting,
    Running,
    Done,
    Failed,
}
