//! Jobs, as people ask for them and look at them; how schedulers come by them is in `job_leases.rs`.
//! **Invariants.** A job has one part for each cluster, and its state is that of its parts. What it takes to open an origin
//! is sealed, and gone as soon as the job has ended.

use df_api::Code;
use df_api::manager::{ClusterJob, ClusterResult, Job, JobArgs, JobCluster, JobProgress, JobResult, JobState, JobType};
use df_http::ApiError;
use sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::{Db, DbError, JsonText, Listed, Page, insert, json, time};

const COLUMNS: [&str; 10] =
    ["id", "task_id", "kind", "bio", "args", "user_id", "state", "ends_at_ms", "created_at_ms", "updated_at_ms"];
const PART_COLUMNS: [&str; 10] = [
    "id",
    "job_id",
    "cluster_id",
    "cluster_name",
    "state",
    "error",
    "progress",
    "result",
    "created_at_ms",
    "updated_at_ms",
];

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("there is no job {0}")]
    Unknown(i64),
    #[error("job {0} has ended as {1}; a failed one can be retried")]
    Ended(i64, &'static str),
    #[error("job {0} is {1}; only a failed one can be retried")]
    NotFailed(i64, &'static str),
    #[error("job {0} had secrets, which were erased when it ended: ask for a new one")]
    SecretsGone(i64),
    #[error("cluster {name} takes {limit} jobs per second (job_rate_limit); try again in a second")]
    TooMany { name: String, limit: u32 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A cluster that a job is for.
pub struct Target {
    pub id: i64,
    pub name: String,
    pub job_rate_limit: u32,
}

pub struct NewJob<'a> {
    pub task_id: &'a str,
    pub kind: JobType,
    pub bio: &'a str,
    /// Without secrets.
    pub args: &'a JobArgs,
    /// Sealed; empty where there are none.
    pub secrets: &'a str,
    pub user_id: i64,
    pub targets: &'a [Target],
    pub now: i64,
    pub ends_at: i64,
}

/// `None` takes all.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobFilter {
    pub kind: Option<JobType>,
    pub state: Option<JobState>,
    pub user_id: Option<i64>,
}

#[derive(FromRow)]
struct JobRow {
    id: i64,
    task_id: String,
    #[sqlx(try_from = "String")]
    kind: Named<JobType>,
    bio: String,
    #[sqlx(try_from = "String")]
    args: JsonText<JobArgs>,
    user_id: i64,
    #[sqlx(try_from = "String")]
    state: Named<JobState>,
    ends_at_ms: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(FromRow)]
struct PartRow {
    id: i64,
    job_id: i64,
    cluster_id: i64,
    cluster_name: String,
    #[sqlx(try_from = "String")]
    state: Named<JobState>,
    error: String,
    #[sqlx(try_from = "String")]
    progress: JsonText<JobProgress>,
    #[sqlx(try_from = "String")]
    result: JsonText<Option<ClusterResult>>,
    created_at_ms: i64,
    updated_at_ms: i64,
}

/// A value of a closed set, stored as it is written on the wire.
pub struct Named<T>(pub T);

impl<T: serde::de::DeserializeOwned> TryFrom<String> for Named<T> {
    type Error = serde_json::Error;
    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::Value::String(text)).map(Self)
    }
}

pub(super) const fn state_text(state: JobState) -> &'static str {
    match state {
        JobState::Pending => "PENDING",
        JobState::Started => "STARTED",
        JobState::Success => "SUCCESS",
        JobState::Failure => "FAILURE",
    }
}

/// As it is on the wire and in the table.
pub const fn kind_text(kind: JobType) -> &'static str {
    match kind {
        JobType::Preheat => "preheat",
        JobType::SyncPeers => "sync_peers",
        JobType::GetTask => "get_task",
        JobType::DeleteTask => "delete_task",
        JobType::GetImageDistribution => "get_image_distribution",
        JobType::Gc => "gc",
        JobType::ListPersistentCacheTasks => "list_persistent_cache_tasks",
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let code = match error {
            JobError::Unknown(_) => Code::NotFound,
            JobError::Ended(..) | JobError::NotFailed(..) | JobError::SecretsGone(_) => Code::Conflict,
            JobError::TooMany { .. } => Code::TooManyRequests,
            JobError::Db(error) => return error.into(),
        };
        ApiError::new(code, error.to_string())
    }
}

// === impl PartRow ===

impl PartRow {
    fn into_cluster_job(self, kind: JobType, task_id: &str) -> ClusterJob {
        ClusterJob {
            task_uuid: format!("{task_id}-{}", self.id),
            task_name: kind,
            state: self.state.0,
            error: self.error,
            progress: self.progress.0,
            results: self.result.0.into_iter().collect(),
            created_at: time(self.created_at_ms),
            updated_at: time(self.updated_at_ms),
        }
    }
}

// === impl JobRow ===

impl JobRow {
    fn with_parts(self, parts: Vec<PartRow>) -> Job {
        let (created_at, updated_at) = (time(self.created_at_ms), time(self.updated_at_ms));
        let cluster = |part: &PartRow| JobCluster { id: part.cluster_id, name: part.cluster_name.clone() };
        let scheduler_clusters = parts.iter().map(cluster).collect();
        let (kind, state) = (self.kind.0, self.state.0);
        Job {
            id: self.id,
            kind,
            bio: self.bio,
            state,
            args: self.args.0,
            result: JobResult {
                group_uuid: self.task_id.clone(),
                state,
                job_states: parts.into_iter().map(|part| part.into_cluster_job(kind, &self.task_id)).collect(),
                created_at,
                updated_at,
            },
            task_id: self.task_id,
            user_id: self.user_id,
            scheduler_clusters,
            seed_peer_clusters: Vec::new(),
            created_at,
            updated_at,
        }
    }
}

// === impl Db ===

impl Db {
    /// The newest first.
    pub async fn list_jobs(&self, filter: JobFilter, page: Page) -> Result<Listed<Job>, DbError> {
        let mut found = all();
        found.and_where(Expr::col("kind").ne(kind_text(JobType::ListPersistentCacheTasks)));
        found.and_where_option(filter.kind.map(|kind| Expr::col("kind").eq(kind_text(kind))));
        found.and_where_option(filter.state.map(|state| Expr::col("state").eq(state_text(state))));
        found.and_where_option(filter.user_id.map(|id| Expr::col("user_id").eq(id)));
        let listed = self.list_by(&found, COLUMNS, page, Order::Desc).await?;
        let rows: Vec<JobRow> = listed.items;
        let mut parts = parts_of(&mut self.reading().await?, rows.iter().map(|row| row.id)).await?;
        let items = rows.into_iter().map(|row| {
            let own = parts.extract_if(.., |part| part.job_id == row.id).collect();
            row.with_parts(own)
        });
        Ok(Listed { items: items.collect(), total: listed.total })
    }

    /// What is overdue has failed, also when nobody has said so yet.
    pub async fn job(&self, id: i64, now: i64) -> Result<Job, JobError> {
        let mut on = self.reading().await?;
        let row = fetch(&mut on, id).await?;
        if !row.state.0.has_ended() && row.ends_at_ms < now {
            drop(on);
            self.end_overdue_jobs(now).await?;
            on = self.reading().await?;
        }
        whole(&mut on, id).await
    }

    pub async fn create_job(&self, new: &NewJob<'_>) -> Result<Job, JobError> {
        let mut tx = self.begin().await?;
        for target in new.targets {
            refuse_too_many(&mut tx, target, new.now).await?;
        }
        let row = [
            ("task_id", new.task_id.into()),
            ("kind", kind_text(new.kind).into()),
            ("bio", new.bio.into()),
            ("args", json(new.args)?),
            ("secrets", new.secrets.into()),
            ("user_id", new.user_id.into()),
            ("state", state_text(JobState::Pending).into()),
            ("ends_at_ms", new.ends_at.into()),
            ("created_at_ms", new.now.into()),
            ("updated_at_ms", new.now.into()),
        ];
        let id = tx.insert(&mut insert("jobs", row)).await?;
        for target in new.targets {
            let part = [
                ("job_id", id.into()),
                ("cluster_id", target.id.into()),
                ("cluster_name", target.name.as_str().into()),
                ("state", state_text(JobState::Pending).into()),
                ("error", "".into()),
                ("progress", "{}".into()),
                ("result", "null".into()),
                ("holder", "".into()),
                ("attempt", 0.into()),
                ("lease_until_ms", 0.into()),
                ("created_at_ms", new.now.into()),
                ("updated_at_ms", new.now.into()),
            ];
            tx.execute(&insert("job_parts", part)).await?;
        }
        let job = whole(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// One that the manager itself has done.
    pub async fn note_done_job(&self, new: &NewJob<'_>) -> Result<Job, JobError> {
        let job = self.create_job(new).await?;
        let mut done = Query::update();
        done.table("jobs").value("state", state_text(JobState::Success)).and_where(Expr::col("id").eq(job.id));
        self.execute(&done).await?;
        self.job(job.id, new.now).await
    }

    pub async fn update_job(
        &self,
        id: i64,
        bio: Option<&str>,
        user_id: Option<i64>,
        now: i64,
    ) -> Result<Job, JobError> {
        let mut tx = self.begin().await?;
        fetch(&mut tx, id).await?;
        let mut update = Query::update();
        update.table("jobs").value("updated_at_ms", now).and_where(Expr::col("id").eq(id));
        update.values(bio.map(|bio| ("bio", bio.into())));
        update.values(user_id.map(|user_id| ("user_id", user_id.into())));
        tx.execute(&update).await?;
        let job = whole(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }

    pub async fn delete_job(&self, id: i64) -> Result<(), JobError> {
        let mut tx = self.begin().await?;
        if tx.execute(Query::delete().from_table("jobs").and_where(Expr::col("id").eq(id))).await? == 0 {
            return Err(JobError::Unknown(id));
        }
        Ok(tx.commit().await?)
    }

    /// What has not ended has failed, for this reason.
    pub async fn cancel_job(&self, id: i64, why: &str, now: i64) -> Result<Job, JobError> {
        let mut tx = self.begin().await?;
        let job = fetch(&mut tx, id).await?;
        if job.state.0.has_ended() {
            return Err(JobError::Ended(id, state_text(job.state.0)));
        }
        fail_parts(&mut tx, &[id], why, now).await?;
        let job = whole(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// What has failed begins anew; what has succeeded stays.
    pub async fn retry_job(&self, id: i64, timeout_ms: i64, now: i64) -> Result<Job, JobError> {
        let mut tx = self.begin().await?;
        let job = fetch(&mut tx, id).await?;
        if job.state.0 != JobState::Failure {
            return Err(JobError::NotFailed(id, state_text(job.state.0)));
        }
        if secrets(&mut tx, id).await? == ERASED {
            return Err(JobError::SecretsGone(id));
        }
        let mut anew = Query::update();
        anew.table("job_parts").and_where(Expr::col("job_id").eq(id));
        anew.and_where(Expr::col("state").eq(state_text(JobState::Failure)));
        anew.values([
            ("state", state_text(JobState::Pending).into()),
            ("error", "".into()),
            ("holder", "".into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&anew).await?;
        let mut update = Query::update();
        update.table("jobs").value("ends_at_ms", now.saturating_add(timeout_ms)).and_where(Expr::col("id").eq(id));
        tx.execute(&update).await?;
        settle(&mut tx, &[id], now).await?;
        let job = whole(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// How many of them there were.
    pub async fn end_overdue_jobs(&self, now: i64) -> Result<usize, DbError> {
        let mut overdue = Query::select();
        overdue.column("id").from("jobs").and_where(Expr::col("ends_at_ms").lt(now));
        overdue.and_where(Expr::col("state").is_in([JobState::Pending, JobState::Started].map(state_text)));
        let known: Vec<(i64,)> = self.fetch_all(&overdue).await?;
        if known.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let ids: Vec<(i64,)> = tx.fetch_all(&overdue).await?;
        let ids: Vec<i64> = ids.into_iter().map(|(id,)| id).collect();
        fail_parts(&mut tx, &ids, "its time is over (timeout)", now).await?;
        tx.commit().await?;
        Ok(ids.len())
    }

    /// Those that ended before.
    pub async fn sweep_jobs(&self, before: i64) -> Result<u64, DbError> {
        let mut old = Expr::col("updated_at_ms").lt(before);
        old = old.and(Expr::col("state").is_in([JobState::Success, JobState::Failure].map(state_text)));
        self.delete_in_parts("jobs", old).await
    }
}

/// Instead of secrets that there were.
const ERASED: &str = "erased";

fn all() -> SelectStatement {
    Query::select().from("jobs").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<JobRow, JobError> {
    let row: Option<JobRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.ok_or(JobError::Unknown(id))
}

async fn whole(on: &mut Connection, id: i64) -> Result<Job, JobError> {
    let row = fetch(on, id).await?;
    let parts = parts_of(on, [id]).await?;
    Ok(row.with_parts(parts))
}

async fn parts_of(on: &mut Connection, jobs: impl IntoIterator<Item = i64>) -> Result<Vec<PartRow>, DbError> {
    let mut parts = Query::select();
    parts.columns(PART_COLUMNS).from("job_parts").and_where(Expr::col("job_id").is_in(jobs));
    on.fetch_all(parts.order_by("id", Order::Asc)).await
}

async fn secrets(on: &mut Connection, job: i64) -> Result<String, DbError> {
    let mut sealed = all();
    let row: Option<(String,)> = on.fetch_optional(sealed.column("secrets").and_where(Expr::col("id").eq(job))).await?;
    Ok(row.map(|(sealed,)| sealed).unwrap_or_default())
}

async fn refuse_too_many(tx: &mut Tx, target: &Target, now: i64) -> Result<(), JobError> {
    let mut recent = Query::select();
    recent.expr(sea_query::Func::count(Expr::col(sea_query::Asterisk))).from("job_parts");
    recent.and_where(Expr::col("cluster_id").eq(target.id));
    // What a clock that was set back has left does not count.
    recent.and_where(Expr::col("created_at_ms").gt(now - 1000)).and_where(Expr::col("created_at_ms").lte(now));
    if tx.count(&recent).await? >= i64::from(target.job_rate_limit) {
        return Err(JobError::TooMany { name: target.name.clone(), limit: target.job_rate_limit });
    }
    Ok(())
}

/// With its cluster goes what nobody can do any more.
pub(super) async fn fail_parts_of_cluster(tx: &mut Tx, cluster_id: i64, now: i64) -> Result<(), DbError> {
    let mut open = Query::select();
    open.column("job_id").from("job_parts").and_where(Expr::col("cluster_id").eq(cluster_id));
    open.and_where(Expr::col("state").is_in([JobState::Pending, JobState::Started].map(state_text)));
    let jobs: Vec<(i64,)> = tx.fetch_all(&open).await?;
    if jobs.is_empty() {
        return Ok(());
    }
    let mut failed = Query::update();
    failed.table("job_parts").and_where(Expr::col("cluster_id").eq(cluster_id));
    failed.and_where(Expr::col("state").is_in([JobState::Pending, JobState::Started].map(state_text)));
    failed.values([
        ("state", state_text(JobState::Failure).into()),
        ("error", "the cluster was deleted".into()),
        ("holder", "".into()),
        ("updated_at_ms", now.into()),
    ]);
    tx.execute(&failed).await?;
    settle(tx, &jobs.into_iter().map(|(job,)| job).collect::<Vec<_>>(), now).await
}

async fn fail_parts(tx: &mut Tx, jobs: &[i64], why: &str, now: i64) -> Result<(), DbError> {
    let mut failed = Query::update();
    failed.table("job_parts").and_where(Expr::col("job_id").is_in(jobs.iter().copied()));
    failed.and_where(Expr::col("state").is_in([JobState::Pending, JobState::Started].map(state_text)));
    failed.values([
        ("state", state_text(JobState::Failure).into()),
        ("error", why.into()),
        ("holder", "".into()),
        ("updated_at_ms", now.into()),
    ]);
    tx.execute(&failed).await?;
    settle(tx, jobs, now).await
}

/// Writes what their parts make of these jobs.
pub(super) async fn settle(tx: &mut Tx, jobs: &[i64], now: i64) -> Result<(), DbError> {
    let mut parts = Query::select();
    parts.columns(["job_id", "state"]).from("job_parts").and_where(Expr::col("job_id").is_in(jobs.iter().copied()));
    let parts: Vec<(i64, String)> = tx.fetch_all(&parts).await?;
    for &job in jobs {
        let own = parts.iter().filter(|(of, _)| *of == job);
        let states = own.filter_map(|(_, state)| Named::try_from(state.clone()).ok()).map(|Named(state)| state);
        let state = JobState::of_all(states);
        let mut update = Query::update();
        update.table("jobs").and_where(Expr::col("id").eq(job));
        update.values([("state", state_text(state).into()), ("updated_at_ms", now.into())]);
        tx.execute(&update).await?;
        if state.has_ended() {
            let mut erase = Query::update();
            erase.table("jobs").value("secrets", ERASED).and_where(Expr::col("id").eq(job));
            tx.execute(erase.and_where(Expr::col("secrets").ne(""))).await?;
        }
    }
    Ok(())
}
