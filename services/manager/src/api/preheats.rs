//! The incumbent's first protocol for preheats, which registries speak (Harbor's provider "Dragonfly"): a job each.

use axum::extract::State;
use df_api::manager::{
    CreateJobRequest, CreatePreheatRequest, CreatedPreheat, JobArgs, JobState, JobType, Preheat, PreheatStatus,
};
use df_http::extract::{Json, Path};
use df_http::{ApiError, Problems};

use super::jobs;
use crate::access::Caller;
use crate::app::App;
use crate::check_job::check_new_job;
use crate::db::now_ms;

/// Whether somebody is there
///
/// A registry asks before it lets people choose this platform.
#[utoipa::path(
    get,
    path = "/_ping",
    operation_id = "get_ping",
    tag = "jobs",
    responses((status = 200, description = "Yes"), Problems)
)]
pub async fn get_ping() {}

/// Preheat what a registry names
///
/// In all clusters, as a job of type `preheat`.
#[utoipa::path(
    post,
    path = "/preheats",
    operation_id = "create_preheat",
    tag = "jobs",
    request_body = CreatePreheatRequest,
    responses((status = 200, description = "Asked for", body = CreatedPreheat), Problems)
)]
pub async fn create_preheat(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreatePreheatRequest>,
) -> Result<Json<CreatedPreheat>, ApiError> {
    let args = JobArgs {
        subject: Some(body.subject),
        url: Some(body.url),
        filtered_query_params: body.filtered_query_params.filter(|names| !names.is_empty()),
        headers: body.headers,
        ..JobArgs::default()
    };
    let new = CreateJobRequest {
        kind: JobType::Preheat,
        args,
        bio: String::new(),
        user_id: None,
        scheduler_cluster_ids: Vec::new(),
        seed_peer_cluster_ids: Vec::new(),
    };
    check_new_job(&new)?;
    let job = jobs::ask(&app, &new, caller.user.id).await?;
    Ok(Json(CreatedPreheat { id: job.id.to_string() }))
}

/// How a preheat stands
#[utoipa::path(
    get,
    path = "/preheats/{id}",
    operation_id = "get_preheat",
    tag = "jobs",
    params(("id" = i64, Path, description = "The job")),
    responses((status = 200, description = "As registries understand it", body = Preheat), Problems)
)]
pub async fn get_preheat(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Preheat>, ApiError> {
    let job = app.db().job(id, now_ms()).await?;
    let status = match job.state {
        JobState::Pending => PreheatStatus::Waiting,
        JobState::Started => PreheatStatus::Running,
        JobState::Success => PreheatStatus::Success,
        JobState::Failure => PreheatStatus::Fail,
    };
    let finish_time = if job.state.has_ended() { job.updated_at.to_rfc3339() } else { String::new() };
    Ok(Json(Preheat { id: job.id.to_string(), status, start_time: job.created_at.to_rfc3339(), finish_time }))
}
