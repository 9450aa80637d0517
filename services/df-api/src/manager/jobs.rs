//! Jobs: what people ask of whole clusters. They are done by schedulers (see [`super::job_leases`]); a job ends as SUCCESS
//! or FAILURE, whatever dies meanwhile.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::PersistentCacheTask;

/// What a job is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobType {
    /// Fetch an image or files before somebody needs them.
    Preheat,
    /// Compare the list of peers with the hosts that schedulers know.
    SyncPeers,
    /// Who has a task?
    GetTask,
    /// Nobody shall have it.
    DeleteTask,
    /// Who has which layers of an image?
    GetImageDistribution,
    /// Forget what is old: the manager does it by itself, too.
    Gc,
    /// Which tasks were imported? Asked by the manager itself, for `persistent-cache-tasks`.
    ListPersistentCacheTasks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// No scheduler has taken it yet.
    Pending,
    /// At least one has.
    Started,
    Success,
    Failure,
}

/// Of `args.type`: what is preheated, or forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobSubject {
    Image,
    File,
    Audit,
    Job,
}

/// Who shall have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PreheatScope {
    /// One seed peer of each cluster.
    #[default]
    SingleSeedPeer,
    AllSeedPeers,
    /// All daemons, seed peers among them.
    AllPeers,
}

/// Each type of job takes some of these, and refuses the others.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JobArgs {
    /// Of a preheat: `image` or `file`. Of a gc: `audit` or `job`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub subject: Option<JobSubject>,
    /// Of an image: `https://REGISTRY/v2/REPOSITORY/manifests/REFERENCE`. Of a file, or of a task: where it comes from.
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of several files.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// A power of two, from 262144 to 67108864; follows from the content's length when left out.
    #[cfg_attr(feature = "openapi", schema(minimum = 262_144, maximum = 67_108_864))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Names of query parameters that say nothing about the content, with `&` between them.
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtered_query_params: Option<String>,
    /// To send to the origin. Seed peers get them, nobody else; never shown again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Of the registry, as are the headers. Never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Of an image for several: `linux/amd64`, `linux/arm/v7`. All of them when left out.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<PreheatScope>,
    /// Only these of the scope.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Only so many of the scope. `ips` go before it.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Only so many of hundred. `ips` and `count` go before it.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<u32>,
    /// So many tasks at once at each daemon; 8 when left out.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_task_count: Option<u32>,
    /// So many daemons at once; 500 when left out.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_peer_count: Option<u32>,
    /// In nanoseconds, a second to a day; an hour when left out. What has not ended by then has failed.
    #[cfg_attr(feature = "openapi", schema(minimum = 1_000_000_000, maximum = 86_400_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Asks for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateJobRequest {
    #[serde(rename = "type")]
    pub kind: JobType,
    #[serde(default)]
    pub args: JobArgs,
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    #[serde(default)]
    pub bio: String,
    /// The own id, or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// All that have an active scheduler when left out.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    #[serde(default)]
    pub scheduler_cluster_ids: Vec<i64>,
    /// Taken and not looked at, as the incumbent does.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    #[serde(default)]
    pub seed_peer_cluster_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpdateJobRequest {
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// The own id, or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    pub id: i64,
    /// A name for it that no other platform has.
    pub task_id: String,
    #[serde(rename = "type")]
    pub kind: JobType,
    pub bio: String,
    pub state: JobState,
    /// As asked for, without its secrets.
    pub args: JobArgs,
    pub result: JobResult,
    /// Who asked for it; 0 when that user is gone.
    pub user_id: i64,
    pub scheduler_clusters: Vec<JobCluster>,
    /// Always empty; kept for scripts.
    pub seed_peer_clusters: Vec<JobCluster>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobCluster {
    pub id: i64,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobResult {
    /// The job's `task_id`.
    pub group_uuid: String,
    pub state: JobState,
    /// One for each cluster.
    pub job_states: Vec<ClusterJob>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A job in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterJob {
    pub task_uuid: String,
    pub task_name: JobType,
    pub state: JobState,
    /// Why it failed; empty otherwise.
    pub error: String,
    pub progress: JobProgress,
    /// One, as soon as there is something to tell.
    pub results: Vec<ClusterResult>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// How far it is, summed over all who take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct JobProgress {
    /// Of each: the layers, configurations and manifests of an image; the files.
    pub tasks: u32,
    /// That all have.
    pub tasks_done: u32,
    pub peers: u32,
    pub peers_done: u32,
    /// As far as the lengths are known.
    pub bytes: u64,
    pub bytes_done: u64,
}

/// What a cluster says. Lists have 1,000 entries at most, failures before successes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ClusterResult {
    pub scheduler_cluster_id: i64,
    /// Of preheat and delete_task.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub success_tasks: Vec<JobTask>,
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub failure_tasks: Vec<JobTask>,
    /// Of get_task, get_image_distribution and sync_peers.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub peers: Vec<JobPeer>,
    /// Of list_persistent_cache_tasks.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub persistent_cache_tasks: Vec<PersistentCacheTask>,
    /// Entries of the lists that were left out.
    pub omitted: u32,
}

/// Entries in a list of a result.
pub const JOB_ENTRIES_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct JobTask {
    pub task_id: String,
    /// Without what may be a secret.
    pub url: String,
    pub hostname: String,
    pub ip: String,
    /// Why it failed.
    pub description: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct JobPeer {
    pub id: String,
    pub hostname: String,
    pub ip: String,
    pub seed: bool,
    /// All of the task.
    pub task_finished: bool,
    /// Of an image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cached_layers: Vec<CachedLayer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CachedLayer {
    pub url: String,
}

// --- Harbor's hook ---

/// What a registry asks that speaks the incumbent's first protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatePreheatRequest {
    /// `image` or `file`.
    #[serde(rename = "type")]
    pub subject: JobSubject,
    pub url: String,
    /// With `&` between them.
    #[serde(default, rename = "filteredQueryParams", skip_serializing_if = "Option::is_none")]
    pub filtered_query_params: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedPreheat {
    /// The job's.
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preheat {
    pub id: String,
    pub status: PreheatStatus,
    #[serde(rename = "startTime")]
    pub start_time: String,
    /// Empty until it has ended.
    #[serde(rename = "finishTime")]
    pub finish_time: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum PreheatStatus {
    Waiting,
    Running,
    Success,
    Fail,
}

// === impl JobState ===

impl JobState {
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Success | Self::Failure)
    }

    /// Of a job, from those of its clusters.
    pub fn of_all(states: impl IntoIterator<Item = Self>) -> Self {
        let states: Vec<Self> = states.into_iter().collect();
        let has = |wanted: Self| states.contains(&wanted);
        match () {
            () if states.iter().all(|state| state.has_ended()) => {
                if has(Self::Failure) {
                    Self::Failure
                } else {
                    Self::Success
                }
            }
            () if states.iter().all(|state| *state == Self::Pending) => Self::Pending,
            () => Self::Started,
        }
    }
}

// === impl JobArgs ===

impl JobArgs {
    /// The names, with their values, of headers to show an origin.
    pub fn has_secrets(&self) -> bool {
        self.username.is_some() || self.password.is_some() || !self.headers.is_empty()
    }

    pub fn without_secrets(self) -> Self {
        Self { username: None, password: None, headers: BTreeMap::new(), ..self }
    }

    /// All that are named.
    pub fn all_urls(&self) -> impl Iterator<Item = &String> {
        self.url.iter().chain(&self.urls)
    }
}

impl std::fmt::Debug for JobArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What opens an origin may be in its URL, too.
        let Self { subject, task_id, scope, platform, .. } = self;
        write!(f, "JobArgs({subject:?}, {task_id:?}, {scope:?}, {platform:?}, …)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_what_its_clusters_are() {
        use JobState::{Failure, Pending, Started, Success};
        for (states, of_all) in [
            (&[Pending, Pending][..], Pending),
            (&[Pending, Success], Started),
            (&[Pending, Failure], Started),
            (&[Started, Failure], Started),
            (&[Success, Failure], Failure),
            (&[Success, Success], Success),
        ] {
            assert_eq!(JobState::of_all(states.iter().copied()), of_all, "{states:?}");
        }
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let args = JobArgs {
            password: Some("hidden".to_owned()),
            headers: BTreeMap::from([("a".to_owned(), "hidden".to_owned())]),
            ..JobArgs::default()
        };
        assert!(args.has_secrets() && !format!("{args:?}").contains("hidden"));
    }
}
