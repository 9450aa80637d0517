//! How schedulers come by jobs: one idempotent call that carries all a scheduler has in hand, and answers what it is to
//! have. **A job belongs to whoever renews it;** who is silent for a lease loses it to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ClusterResult, JobArgs, JobProgress, JobState, JobType};

/// All that a scheduler has in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobSyncRequest {
    pub scheduler_cluster_id: i64,
    /// Of the scheduler.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub hostname: String,
    /// Of the process: another one each time that it starts.
    #[cfg_attr(feature = "openapi", schema(min_length = 8, max_length = 64))]
    pub holder: String,
    /// So many more are taken.
    #[cfg_attr(feature = "openapi", schema(maximum = 100))]
    pub room: u32,
    /// What is not named here is not in hand. A job that has ended is named until the answer does not name it.
    #[cfg_attr(feature = "openapi", schema(max_items = 200))]
    #[serde(default)]
    pub jobs: Vec<JobReport>,
}

/// Jobs in one call.
pub const JOB_REPORTS_MAX: usize = 200;
pub const JOB_ROOM_MAX: u32 = 100;

/// How a job stands in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobReport {
    /// Of the assignment.
    pub id: i64,
    pub attempt: i64,
    /// Not PENDING.
    pub state: JobState,
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub progress: JobProgress,
    /// Left out when there is nothing to tell yet, or nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ClusterResult>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobSyncResponse {
    /// All that the scheduler is to have in hand from now on. What is not among them is dropped: it has ended, was
    /// cancelled, or somebody else has it.
    pub jobs: Vec<JobAssignment>,
    /// Silent for this long, the scheduler loses them.
    pub lease_ms: u64,
    pub refresh_after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobAssignment {
    pub id: i64,
    /// Another one each time that somebody takes it.
    pub attempt: i64,
    pub job_id: i64,
    #[serde(rename = "type")]
    pub kind: JobType,
    /// Without secrets: these are [`JobSecrets`].
    pub args: JobArgs,
    /// There are such.
    pub has_secrets: bool,
    /// So much of its time is left.
    pub left_ms: u64,
}

/// What a seed peer needs of a job of its cluster.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JobSecrets {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    pub headers: BTreeMap<String, String>,
}

// === impl JobSecrets ===

impl JobSecrets {
    /// `None` when there are none.
    pub fn of(args: &JobArgs) -> Option<Self> {
        let JobArgs { username, password, headers, .. } = args.clone();
        args.has_secrets().then_some(Self { username, password, headers })
    }
}

impl std::fmt::Debug for JobSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobSecrets(redacted)")
    }
}
