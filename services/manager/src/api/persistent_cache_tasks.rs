//! Imported contents of a cluster: only its schedulers know them, so that each question is a short job.
//! **Invariant:** nobody waits longer than [`PATIENCE`], and no job is left behind.

use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::Code;
use df_api::TaskId;
use df_api::manager::{ClusterResult, CreateJobRequest, Job, JobArgs, JobState, JobType, PersistentCacheTask};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;
use tokio::time::Instant;

use super::jobs;
use crate::access::Caller;
use crate::app::App;
use crate::board::next_look;
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_WHOLE;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OfCluster {
    /// Whose tasks.
    scheduler_cluster_id: i64,
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 1000 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct InCluster {
    /// Whose task.
    scheduler_cluster_id: i64,
}

/// List what was imported into a cluster
#[utoipa::path(
    get,
    path = "/api/v1/persistent-cache-tasks",
    operation_id = "list_persistent_cache_tasks",
    tag = "jobs",
    params(OfCluster),
    responses((status = 200, description = "At most a thousand", body = Vec<PersistentCacheTask>), Problems)
)]
pub async fn list_persistent_cache_tasks(
    State(app): State<App>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<OfCluster>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_WHOLE)?;
    let all = all(&app, &caller, query.scheduler_cluster_id).await?;
    let link = page.link(&uri, all.len() as i64);
    Ok((link, Json(page.of(all))))
}

/// Get what was imported into a cluster
#[utoipa::path(
    get,
    path = "/api/v1/persistent-cache-tasks/{id}",
    operation_id = "get_persistent_cache_task",
    tag = "jobs",
    params(("id" = TaskId, Path, description = "The task"), InCluster),
    responses((status = 200, description = "Who has it", body = PersistentCacheTask), Problems)
)]
pub async fn get_persistent_cache_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
    Query(query): Query<InCluster>,
) -> Result<Json<PersistentCacheTask>, ApiError> {
    let cluster = query.scheduler_cluster_id;
    let all = all(&app, &caller, cluster).await?;
    let found = all.into_iter().find(|task| task.id == id.to_string());
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("nothing was imported into cluster {cluster} as {id}")))
}

/// Delete what was imported into a cluster
///
/// At all of its hosts.
#[utoipa::path(
    delete,
    path = "/api/v1/persistent-cache-tasks/{id}",
    operation_id = "delete_persistent_cache_task",
    tag = "jobs",
    params(("id" = TaskId, Path, description = "The task"), InCluster),
    responses((status = 200, description = "Nobody has it any more"), Problems)
)]
pub async fn delete_persistent_cache_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
    Query(query): Query<InCluster>,
) -> Result<(), ApiError> {
    let args = JobArgs { task_id: Some(id.to_string()), ..JobArgs::default() };
    answer(&app, &caller, query.scheduler_cluster_id, JobType::DeleteTask, args).await.map(drop)
}

async fn all(app: &App, caller: &Caller, cluster: i64) -> Result<Vec<PersistentCacheTask>, ApiError> {
    let kind = JobType::ListPersistentCacheTasks;
    let answered = answer(app, caller, cluster, kind, JobArgs::default()).await?;
    Ok(answered.persistent_cache_tasks)
}

async fn answer(
    app: &App,
    caller: &Caller,
    cluster: i64,
    kind: JobType,
    args: JobArgs,
) -> Result<ClusterResult, ApiError> {
    let timeout = Some(PATIENCE.as_nanos() as u64);
    let new = CreateJobRequest {
        kind,
        args: JobArgs { timeout, ..args },
        bio: String::new(),
        user_id: None,
        scheduler_cluster_ids: vec![cluster],
        seed_peer_cluster_ids: Vec::new(),
    };
    let mut changes = app.board().watch();
    let asked = jobs::ask(app, &new, caller.user.id).await?;
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        let job = app.db().job(asked.id, now_ms()).await?;
        if job.state.has_ended() || app.closing().is_cancelled() || !next_look(&mut changes, until).await {
            break job;
        }
    };
    app.db().delete_job(asked.id).await?;
    app.board().ring();
    result(ended)
}

fn result(job: Job) -> Result<ClusterResult, ApiError> {
    let part = job.result.job_states.into_iter().next().ok_or_else(|| ApiError::internal("a job without a cluster"))?;
    match part.state {
        JobState::Success => Ok(part.results.into_iter().next().unwrap_or_default()),
        JobState::Failure => Err(ApiError::new(Code::Conflict, part.error)),
        JobState::Pending | JobState::Started => {
            Err(ApiError::new(Code::Unavailable, "the schedulers of this cluster do not answer; try again"))
        }
    }
}
