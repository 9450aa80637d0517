//! Tasks: take part, leave, look.

use axum::extract::State;
use df_api::scheduler::{PeerDecision, PeerReport, TaskView};
use df_api::task::{PIECE_LENGTH_MAX, PIECE_LENGTH_MIN};
use df_api::{PeerId, TaskId};
use df_http::extract::{Json, Path, Wait};
use df_http::{ApiError, Problems};
use http::StatusCode;

use super::{check_length, check_url, full};
use crate::App;
use crate::task::host_of;

/// Tell a peer's state, and get its parents
///
/// With `Prefer: wait=N` the answer is held back as long as the decision is `wait`, or is what the peer reports to be
/// doing already and no fact of the task is news to it.
#[utoipa::path(
    put,
    path = "/v1/tasks/{task_id}/peers/{peer_id}",
    operation_id = "report_peer",
    tag = "tasks",
    params(
        ("task_id" = TaskId, Path),
        ("peer_id" = PeerId, Path, description = "Spelled like the id of its host: a host has one peer in a task"),
        ("prefer" = Option<String>, Header, description = "`wait=N`: hold the answer back up to N seconds (RFC 7240)"),
    ),
    request_body = PeerReport,
    responses((status = 200, description = "Whom to read from", body = PeerDecision), Problems)
)]
pub async fn report_peer(
    State(app): State<App>,
    Path((task_id, peer_id)): Path<(TaskId, PeerId)>,
    Wait(wait): Wait,
    Json(report): Json<PeerReport>,
) -> Result<Json<PeerDecision>, ApiError> {
    tracing::Span::current().record("dragonfly.task_id", task_id.as_str());
    check(&peer_id, &report)?;
    let host_id = report.host_id.clone();
    let decision = app.swarm().report_peer(&task_id, &host_id, report, wait).await.map_err(full)?;
    let decision =
        decision.ok_or_else(|| ApiError::not_found(format!("peer {peer_id} left task {task_id} while it waited")))?;
    metrics::counter!("dragonfly_scheduler_decisions_total", "decision" => name(&decision)).increment(1);
    Ok(Json(decision))
}

/// A peer leaves a task, and no longer has its pieces
#[utoipa::path(
    delete,
    path = "/v1/tasks/{task_id}/peers/{peer_id}",
    operation_id = "delete_peer",
    tag = "tasks",
    params(("task_id" = TaskId, Path), ("peer_id" = PeerId, Path)),
    responses((status = 204, description = "It is not there any more"), Problems)
)]
pub async fn delete_peer(State(app): State<App>, Path((task_id, peer_id)): Path<(TaskId, PeerId)>) -> StatusCode {
    app.swarm().delete_peer(&task_id, &host_of(&peer_id));
    StatusCode::NO_CONTENT
}

/// A task, and who holds what of it
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_id}",
    operation_id = "get_task",
    tag = "tasks",
    params(("task_id" = TaskId, Path)),
    responses((status = 200, description = "Peers in join order", body = TaskView), Problems)
)]
pub async fn get_task(State(app): State<App>, Path(id): Path<TaskId>) -> Result<Json<TaskView>, ApiError> {
    let task = app.swarm().task(&id);
    task.map(Json).ok_or_else(|| ApiError::not_found(format!("nobody in this cluster has a part in task {id}")))
}

fn check(peer_id: &PeerId, report: &PeerReport) -> Result<(), ApiError> {
    if report.host_id.as_str() != peer_id.as_str() {
        let host_id = &report.host_id;
        return Err(ApiError::unprocessable(format!(
            "host_id {host_id} differs from the peer id {peer_id} in the path; a host's peer is spelled like the host"
        )));
    }
    // What was imported has none.
    if !report.origin.url.is_empty() || report.digest.is_none() {
        check_url("origin.url", &report.origin.url)?;
    }
    if report.origin.for_the_cluster() != report.origin {
        let detail = "origin.authorization: only a Bearer token may leave the node; leave it out and set node_only";
        return Err(ApiError::unprocessable(detail));
    }
    if let Some(length) = report.piece_length
        && !(length.is_power_of_two() && (PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&length))
    {
        return Err(ApiError::unprocessable(format!(
            "piece_length {length} is not a power of two between {PIECE_LENGTH_MIN} and {PIECE_LENGTH_MAX}"
        )));
    }
    check_length("complaints", report.complaints.len())?;
    check_length("parents", report.parents.len())
}

fn name(decision: &PeerDecision) -> &'static str {
    use df_api::scheduler::Decision;
    match decision.decision {
        Decision::Parents => "parents",
        Decision::Origin => "origin",
        Decision::Wait => "wait",
    }
}
