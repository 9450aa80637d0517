//! Schedulers come by jobs here, and seed peers by what it takes to open an origin.
//! **Invariant:** nobody but a seed peer of the cluster, by its credential, learns a secret; and only while the job runs.

use axum::extract::State;
use df_api::Code;
use df_api::cluster::Role;
use df_api::manager::{
    ClusterResult, JOB_ENTRIES_MAX, JOB_REPORTS_MAX, JOB_ROOM_MAX, JobReport, JobSecrets, JobState, JobSyncRequest,
    JobSyncResponse,
};
use df_http::extract::{Json, Path, Wait};
use df_http::{ApiError, Problems};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::jobs::seal_name;
use crate::app::App;
use crate::board::next_look;
use crate::check_cluster::{at_most, ensure};
use crate::db::job_leases::Holder;
use crate::db::now_ms;
use crate::joiner::Joiner;

/// A scheduler that is silent for this long loses its jobs.
const LEASE_MS: i64 = 10_000;
const REFRESH_AFTER_MS: u64 = 3_000;
const ERROR_CHARS_MAX: usize = 4096;
const HOSTNAME_CHARS_MAX: usize = 255;

/// Say how jobs stand, and get more
///
/// Idempotent: the request names all that the scheduler has in hand, the answer all that it is to have. With
/// `Prefer: wait=N` it is held back until that is something else.
#[utoipa::path(
    put,
    path = "/api/v1/leases/jobs",
    operation_id = "sync_jobs",
    tag = "components",
    params(("prefer" = Option<String>, Header, description = "`wait=N`: hold the answer back up to N seconds (RFC 7240)")),
    request_body = JobSyncRequest,
    responses((status = 200, description = "What the scheduler is to have in hand", body = JobSyncResponse), Problems)
)]
pub async fn sync_jobs(
    State(app): State<App>,
    joiner: Joiner,
    Wait(wait): Wait,
    Json(body): Json<JobSyncRequest>,
) -> Result<Json<JobSyncResponse>, ApiError> {
    joiner.may_join(body.scheduler_cluster_id, Role::Scheduler, &body.hostname)?;
    check(&body)?;
    let until = Instant::now() + wait;
    let mut changes = app.board().watch();
    let holder =
        || Holder { cluster_id: body.scheduler_cluster_id, name: &body.holder, now: now_ms(), lease_ms: LEASE_MS };
    let room = u64::from(body.room);
    let mut jobs = app.db().sync_jobs(holder(), &body.jobs, room).await?;
    if body.jobs.iter().any(|report| report.state.has_ended()) {
        app.board().ring();
    }
    let open: Vec<JobReport> = body.jobs.iter().filter(|report| !report.state.has_ended()).cloned().collect();
    let named = || open.iter().map(|report| (report.id, report.attempt));
    let mut news = body.jobs.len() > open.len() || !jobs.iter().map(|job| (job.id, job.attempt)).eq(named());
    while !news && !app.closing().is_cancelled() && next_look(&mut changes, until).await {
        if app.db().has_news(holder(), &open, room).await? {
            jobs = app.db().sync_jobs(holder(), &open, room).await?;
            news = true;
        }
    }
    Ok(Json(JobSyncResponse { jobs, lease_ms: LEASE_MS.unsigned_abs(), refresh_after_ms: REFRESH_AFTER_MS }))
}

/// What opens the origin of a job
///
/// For seed peers of its cluster, by their credential, while it runs.
#[utoipa::path(
    get,
    path = "/api/v1/leases/jobs/{id}/secrets",
    operation_id = "get_job_secrets",
    tag = "components",
    params(("id" = i64, Path, description = "The assignment")),
    responses((status = 200, description = "To show to that origin, and nobody else", body = JobSecrets), Problems)
)]
pub async fn get_job_secrets(
    State(app): State<App>,
    joiner: Joiner,
    Path(id): Path<i64>,
) -> Result<Json<JobSecrets>, ApiError> {
    let Joiner::Member { cluster_id, role: Role::SeedPeer, .. } = joiner else {
        return Err(ApiError::forbidden("secrets of jobs are for seed peers, by the credential of their cluster"));
    };
    let unknown = || ApiError::not_found(format!("no job with secrets runs in cluster {cluster_id} as {id}"));
    let sealed = app.db().secrets_of_part(id, cluster_id).await?.filter(|found| !found.secrets.is_empty());
    let sealed = sealed.ok_or_else(unknown)?;
    let opened = app
        .seal()
        .open(&seal_name(&sealed.task_id), &sealed.secrets)
        .map_err(|error| ApiError::new(Code::Unavailable, error.to_string()))?;
    Ok(Json(serde_json::from_str(opened.expose_secret()).map_err(ApiError::internal)?))
}

fn check(body: &JobSyncRequest) -> Result<(), ApiError> {
    let holder = body.holder.as_str();
    let sane =
        (8..=64).contains(&holder.len()) && holder.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    ensure(sane, "holder", "", || "8 to 64 of A-Z a-z 0-9 . _ -".to_owned())?;
    at_most("hostname", &body.hostname, HOSTNAME_CHARS_MAX)?;
    ensure(body.room <= JOB_ROOM_MAX, "room", body.room, || format!("at most {JOB_ROOM_MAX}"))?;
    ensure(body.jobs.len() <= JOB_REPORTS_MAX, "jobs", format!("({})", body.jobs.len()), || {
        format!("at most {JOB_REPORTS_MAX}")
    })?;
    for report in &body.jobs {
        at_most("jobs.error", &report.error, ERROR_CHARS_MAX)?;
        let longest = report.result.as_ref().map_or(0, longest_list);
        ensure(longest <= JOB_ENTRIES_MAX, "jobs.result", format!("({longest})"), || {
            format!("at most {JOB_ENTRIES_MAX} in each list")
        })?;
        ensure(report.state != JobState::Pending, "jobs.state", "PENDING", || "what is in hand has begun".to_owned())?;
    }
    Ok(())
}

fn longest_list(result: &ClusterResult) -> usize {
    let ClusterResult { success_tasks, failure_tasks, peers, persistent_cache_tasks, .. } = result;
    let tasks = success_tasks.len().max(failure_tasks.len());
    tasks.max(peers.len()).max(persistent_cache_tasks.len())
}
