//! Jobs: asked for by people and programs, done by the schedulers of clusters.
//! **Invariants.** Nothing here opens a connection: whatever a URL names, only hosts of a cluster ask it, by their own
//! rules. A job that nobody could do is refused at once.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::Code;
use df_api::manager::{
    CreateJobRequest, Feature, InstanceState, Job, JobArgs, JobSecrets, JobState, JobSubject, JobType, UpdateJobRequest,
};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use secrecy::SecretString;
use serde::Deserialize;

use crate::access::Caller;
use crate::app::App;
use crate::check_cluster::ensure;
use crate::check_job::{check_bio, check_new_job, timeout_ms};
use crate::config::Join;
use crate::db::instances::{InstanceFilter, Kind};
use crate::db::jobs::{JobFilter, NewJob, Target};
use crate::db::{Page, now_ms};
use crate::paging::{PER_PAGE_DEFAULT, PER_PAGE_WHOLE};
use crate::secret;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<JobType>,
    state: Option<JobState>,
    user_id: Option<i64>,
}

/// List jobs
///
/// The newest first; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    params(ListJobs),
    responses((status = 200, description = "One page", body = Vec<Job>), Problems)
)]
pub async fn list_jobs(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListJobs>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    app.db().end_overdue_jobs(now_ms()).await?;
    let filter = JobFilter { kind: query.kind, state: query.state, user_id: query.user_id };
    let listed = app.db().list_jobs(filter, page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Ask for a job
///
/// Answered at once; what becomes of it, `GET /api/v1/jobs/{id}` says. Refused (409) where no scheduler could do it, and
/// (429) where a cluster is asked for more than its `job_rate_limit`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    operation_id = "create_job",
    tag = "jobs",
    request_body = CreateJobRequest,
    responses((status = 200, description = "Asked for", body = Job), Problems)
)]
pub async fn create_job(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateJobRequest>,
) -> Result<Json<Job>, ApiError> {
    let user_id = body.user_id.unwrap_or(caller.user.id);
    caller.may_act_for(&app, user_id).await?;
    check_new_job(&body)?;
    if body.kind == JobType::Gc {
        return collect_garbage(&app, &body, user_id).await.map(Json);
    }
    Ok(Json(ask(&app, &body, user_id).await?))
}

/// Get a job
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    operation_id = "get_job",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    responses((status = 200, description = "The job, and how far it is", body = Job), Problems)
)]
pub async fn get_job(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Job>, ApiError> {
    Ok(Json(app.db().job(id, now_ms()).await?))
}

/// Change what is written of a job
#[utoipa::path(
    patch,
    path = "/api/v1/jobs/{id}",
    operation_id = "update_job",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    request_body = UpdateJobRequest,
    responses((status = 200, description = "As it is now", body = Job), Problems)
)]
pub async fn update_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<UpdateJobRequest>,
) -> Result<Json<Job>, ApiError> {
    check_bio(body.bio.as_deref().unwrap_or_default())?;
    if let Some(user_id) = body.user_id {
        caller.may_act_for(&app, user_id).await?;
    }
    Ok(Json(app.db().update_job(id, body.bio.as_deref(), body.user_id, now_ms()).await?))
}

/// Delete a job
///
/// One that has not ended is cancelled by that.
#[utoipa::path(
    delete,
    path = "/api/v1/jobs/{id}",
    operation_id = "delete_job",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_job(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_job(id).await?;
    app.board().ring();
    tracing::info!(job = id, "a job was deleted");
    Ok(())
}

/// Cancel a job
///
/// What is done stays; what is not has failed.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/cancel",
    operation_id = "cancel_job",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    responses((status = 200, description = "It has ended", body = Job), Problems)
)]
pub async fn cancel_job(State(app): State<App>, caller: Caller, Path(id): Path<i64>) -> Result<Json<Job>, ApiError> {
    let why = format!("cancelled by {}", caller.user.name);
    let job = app.db().cancel_job(id, &why, now_ms()).await?;
    app.board().ring();
    tracing::info!(job = id, by = caller.user.name, "a job was cancelled");
    Ok(Json(job))
}

/// Retry what has failed of a job
///
/// In the clusters where it has failed; those that have what they were asked for are left alone. One with credentials is
/// refused (409): they were erased when it ended.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/retry",
    operation_id = "retry_job",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    responses((status = 200, description = "It has begun anew", body = Job), Problems)
)]
pub async fn retry_job(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Job>, ApiError> {
    let now = now_ms();
    let known = app.db().job(id, now).await?;
    let job = app.db().retry_job(id, timeout_ms(&known.args), now).await?;
    app.board().ring();
    tracing::info!(job = id, "a job is retried");
    Ok(Json(job))
}

/// What was checked already.
pub async fn ask(app: &App, new: &CreateJobRequest, user_id: i64) -> Result<Job, ApiError> {
    let targets = targets(app, &new.scheduler_cluster_ids).await?;
    let task_id = secret::generate_job_id().map_err(ApiError::internal)?;
    let secrets = match JobSecrets::of(&new.args) {
        Some(secrets) => seal(app, &task_id, &secrets)?,
        None => String::new(),
    };
    let now = now_ms();
    let job = NewJob {
        task_id: &task_id,
        kind: new.kind,
        bio: &new.bio,
        args: &new.args.clone().without_secrets(),
        secrets: &secrets,
        user_id,
        targets: &targets,
        now,
        ends_at: now.saturating_add(timeout_ms(&new.args)),
    };
    let job = app.db().create_job(&job).await?;
    app.board().ring();
    tracing::info!(job = job.id, kind = ?job.kind, clusters = targets.len(), "a job was asked for");
    Ok(job)
}

/// What names the row to [`crate::seal::Seal`].
pub fn seal_name(task_id: &str) -> String {
    format!("jobs/{task_id}")
}

fn seal(app: &App, task_id: &str, secrets: &JobSecrets) -> Result<String, ApiError> {
    // Whoever asks would get them.
    ensure(app.config().join != Join::Open, "args.password", "", || {
        "this manager is open to everybody (join: open) and can keep no secret".to_owned()
    })?;
    let text = serde_json::to_string(secrets).map_err(ApiError::internal)?;
    app.seal().close(&seal_name(task_id), &SecretString::from(text)).map_err(ApiError::internal)
}

/// Those named, or all, that have a scheduler which takes jobs.
async fn targets(app: &App, named: &[i64]) -> Result<Vec<Target>, ApiError> {
    let active = InstanceFilter { state: Some(InstanceState::Active), ..InstanceFilter::default() };
    let page = Page { page: 1, per_page: PER_PAGE_WHOLE };
    let now = now_ms();
    let schedulers = app.db().list_instances(Kind::Scheduler, &active, page, now).await?.items;
    let takes_jobs = |cluster: i64| {
        let mut own = schedulers.iter().filter(|one| one.cluster_id == cluster);
        own.any(|one| one.has_feature(Feature::Preheat))
    };
    let mut targets = Vec::new();
    for cluster in app.db().all_clusters().await? {
        let wanted = named.is_empty() || named.contains(&cluster.id);
        if wanted && takes_jobs(cluster.id) {
            let job_rate_limit = cluster.scheduler_cluster_config.job_rate_limit;
            targets.push(Target { id: cluster.id, name: cluster.name, job_rate_limit });
        } else if named.contains(&cluster.id) {
            let detail = format!("cluster {} has no active scheduler that takes jobs; start one", cluster.name);
            return Err(ApiError::new(Code::Conflict, detail));
        }
    }
    if let Some(unknown) = named.iter().find(|id| !targets.iter().any(|target| target.id == **id)) {
        return Err(ApiError::not_found(format!("there is no cluster {unknown}")));
    }
    if targets.is_empty() {
        return Err(ApiError::new(Code::Conflict, "no cluster has an active scheduler that takes jobs; start one"));
    }
    Ok(targets)
}

/// The one kind that the manager does itself, at once.
async fn collect_garbage(app: &App, new: &CreateJobRequest, user_id: i64) -> Result<Job, ApiError> {
    let now = now_ms();
    let kept = app.db().kept().await?;
    let before = |kept: std::time::Duration| now.saturating_sub_unsigned(kept.as_millis() as u64);
    let gone = match (new.args.subject, kept) {
        (_, None) => 0,
        (Some(JobSubject::Audit), Some(kept)) => app.db().sweep_audits(before(kept.audits)).await?,
        (_, Some(kept)) => app.db().sweep_jobs(before(kept.jobs)).await?,
    };
    let task_id = secret::generate_job_id().map_err(ApiError::internal)?;
    let args = JobArgs { subject: new.args.subject, ..JobArgs::default() };
    let job = NewJob {
        task_id: &task_id,
        kind: JobType::Gc,
        bio: &new.bio,
        args: &args,
        secrets: "",
        user_id,
        targets: &[],
        now,
        ends_at: now,
    };
    tracing::info!(subject = ?args.subject, gone, "garbage was collected");
    Ok(app.db().note_done_job(&job).await?)
}
