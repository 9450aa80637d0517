//! Hosts: announce, leave, look.

use axum::Extension;
use axum::extract::State;
use df_api::HostId;
use df_api::scheduler::{DutyReport, HELD_MAX, HostDecision, HostReport, HostView, TASKS_OF_DUTY_MAX};
use df_http::credential::Member;
use df_http::extract::{Json, Path, Query, Wait};
use df_http::{ApiError, Problems};
use http::StatusCode;

use super::{Farewell, check_length, check_url, unanswered, unreachable};
use crate::App;

const DUTY_ERROR_CHARS_MAX: usize = 4096;

/// Announce a host, and wait for duties
///
/// The answer renews the lease. With `Prefer: wait=N` it is held back until there are duties, at most for
/// `refresh_after_ms`. Duties are repeated until `duties_taken` names them. A report with a smaller `seq` than a former
/// one changes nothing. A host that says to be a seed peer must have the credential of one.
#[utoipa::path(
    put,
    path = "/v1/hosts/{host_id}",
    operation_id = "report_host",
    tag = "hosts",
    params(
        ("host_id" = HostId, Path, description = "Stable over restarts"),
        ("prefer" = Option<String>, Header, description = "`wait=N`: hold the answer back up to N seconds (RFC 7240)"),
    ),
    request_body = HostReport,
    responses((status = 200, description = "The lease, and what to do", body = HostDecision), Problems)
)]
pub async fn report_host(
    State(app): State<App>,
    Extension(member): Extension<Member>,
    Path(id): Path<HostId>,
    Wait(wait): Wait,
    Json(report): Json<HostReport>,
) -> Result<Json<HostDecision>, ApiError> {
    member.must_be(&id)?;
    if report.seed {
        member.must_be_seed(&id)?;
    }
    app.doors().pass(&id)?;
    check_url("url", &report.url)?;
    check_length("duties_taken", report.duties_taken.len())?;
    if let Some(count) = report.tasks.as_ref().map(Vec::len).filter(|count| *count > HELD_MAX) {
        return Err(ApiError::unprocessable(format!("tasks has {count} entries; at most {HELD_MAX} are taken")));
    }
    if let Some(held) = report.tasks.iter().flatten().find(|held| held.piece_length == 0) {
        return Err(ApiError::unprocessable(format!("tasks: piece_length of task {} is 0", held.id)));
    }
    let decision = app.swarm().report_host(&id, report, wait).await.map_err(unanswered)?;
    decision.map(Json).ok_or_else(|| ApiError::not_found(format!("host {id} left while it waited")))
}

/// A host leaves, and all its peers with it
#[utoipa::path(
    delete,
    path = "/v1/hosts/{host_id}",
    operation_id = "delete_host",
    tag = "hosts",
    params(("host_id" = HostId, Path), Farewell),
    responses((status = 204, description = "It is not there any more, or has announced itself anew since"), Problems)
)]
pub async fn delete_host(
    State(app): State<App>,
    Extension(member): Extension<Member>,
    Path(id): Path<HostId>,
    Query(farewell): Query<Farewell>,
) -> Result<StatusCode, ApiError> {
    member.must_be(&id)?;
    app.swarm().delete_host(id, farewell.seq).await.map_err(unreachable)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say how a duty of a job stands
///
/// As often as something changes, and once when it has ended. One that is not known (404) is to be dropped.
#[utoipa::path(
    put,
    path = "/v1/hosts/{host_id}/duties/{duty_id}",
    operation_id = "report_duty",
    tag = "hosts",
    params(("host_id" = HostId, Path), ("duty_id" = u64, Path, description = "As it was given")),
    request_body = DutyReport,
    responses((status = 204, description = "Heard"), Problems)
)]
pub async fn report_duty(
    State(app): State<App>,
    Extension(member): Extension<Member>,
    Path((host_id, duty_id)): Path<(HostId, u64)>,
    Json(report): Json<DutyReport>,
) -> Result<StatusCode, ApiError> {
    member.must_be(&host_id)?;
    check_duty("error", &report.error, report.tasks.len().max(report.contents.len()))?;
    for task in &report.tasks {
        check_duty("tasks.error", &task.error, 0)?;
    }
    if let Some(odd) = report.contents.iter().find(|content| !content.task.is_consistent()) {
        return Err(ApiError::unprocessable(format!("contents: task {} describes another content", odd.task.id)));
    }
    match app.swarm().report_duty(host_id, duty_id, report).await.map_err(unreachable)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!("nobody waits for duty {duty_id} any more"))),
    }
}

fn check_duty(field: &str, error: &str, tasks: usize) -> Result<(), ApiError> {
    if error.chars().count() > DUTY_ERROR_CHARS_MAX {
        return Err(ApiError::unprocessable(format!("{field} has more than {DUTY_ERROR_CHARS_MAX} characters")));
    }
    if tasks > TASKS_OF_DUTY_MAX {
        return Err(ApiError::unprocessable(format!("{tasks} entries; at most {TASKS_OF_DUTY_MAX} are taken")));
    }
    Ok(())
}

/// The hosts of the cluster
#[utoipa::path(
    get,
    path = "/v1/hosts",
    operation_id = "list_hosts",
    tag = "hosts",
    responses((status = 200, description = "In the order of their ids", body = Vec<HostView>), Problems)
)]
pub async fn list_hosts(State(app): State<App>) -> Result<Json<Vec<HostView>>, ApiError> {
    app.swarm().hosts().await.map(Json).map_err(unreachable)
}
