//! Tasks: take part, leave, look.

use axum::Extension;
use axum::extract::State;
use df_api::scheduler::{
    Decision, PeerAnswer, PeerAnswers, PeerDecision, PeerReport, PeerReports, REPORTS_MAX, TaskReport, TaskView,
};
use df_api::task::{PIECE_LENGTH_MAX, PIECE_LENGTH_MIN, piece_count};
use df_api::{HostId, PeerId, TaskId};
use df_http::credential::Member;
use df_http::extract::{Json, Path, Query, Wait};
use df_http::{ApiError, Problems, layers};
use futures_util::future::join_all;
use http::StatusCode;

use super::{Farewell, check_length, check_url, unanswered, unreachable};
use crate::App;

/// Tell a peer's state, and get its parents
///
/// With `Prefer: wait=N` the answer is held back as long as the decision is `wait`, or is of the version that the report
/// names as `known`. A report with a smaller `seq` than a former one changes nothing; its answer is of what is known. What a
/// rule of the cluster forbids is refused with 403, code `blocked`, and the rule's name.
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
    Extension(member): Extension<Member>,
    Path((task_id, peer_id)): Path<(TaskId, PeerId)>,
    Wait(wait): Wait,
    Json(report): Json<PeerReport>,
) -> Result<Json<PeerDecision>, ApiError> {
    // Log lines have it in `http.url`.
    layers::annotate("dragonfly.task_id", task_id.as_str().to_owned());
    let host_id = peer_id.host();
    member.must_be(&host_id)?;
    app.doors().pass(&host_id)?;
    check(&host_id, &report)?;
    let decision = app.swarm().report_peer(&task_id, &host_id, report, wait).await.map_err(unanswered)?;
    answer(&task_id, &host_id, decision).map(Json)
}

/// Tell the state of several peers of one host
///
/// For hosts with many tasks: one request instead of many. It is answered at once, also where a decision is `wait`. A
/// report that is refused does not keep the others from being taken.
#[utoipa::path(
    put,
    path = "/v1/hosts/{host_id}/peers",
    operation_id = "report_peers",
    tag = "tasks",
    params(("host_id" = HostId, Path, description = "Of all the reports")),
    request_body = PeerReports,
    responses((status = 200, description = "Whom to read from, by report", body = PeerAnswers), Problems)
)]
pub async fn report_peers(
    State(app): State<App>,
    Extension(member): Extension<Member>,
    Path(host_id): Path<HostId>,
    Json(body): Json<PeerReports>,
) -> Result<Json<PeerAnswers>, ApiError> {
    member.must_be(&host_id)?;
    app.doors().pass(&host_id)?;
    if body.reports.len() > REPORTS_MAX {
        let count = body.reports.len();
        return Err(ApiError::unprocessable(format!("reports has {count} entries; at most {REPORTS_MAX} are taken")));
    }
    let report_one = async |TaskReport { task_id, report }: TaskReport| {
        check(&host_id, &report)?;
        let decision = app.swarm().report_peer_at_once(&task_id, &host_id, report).await.map_err(unanswered)?;
        answer(&task_id, &host_id, decision)
    };
    let answers = join_all(body.reports.into_iter().map(report_one)).await;
    let answers = answers.into_iter().map(|answer| match answer {
        Ok(decision) => PeerAnswer::Decision(decision),
        Err(refusal) => PeerAnswer::Refused(refusal.into_problem()),
    });
    Ok(Json(PeerAnswers { answers: answers.collect() }))
}

fn answer(task: &TaskId, host: &HostId, decision: Option<PeerDecision>) -> Result<PeerDecision, ApiError> {
    let decision = decision.ok_or_else(|| ApiError::not_found(format!("host {host} has left task {task}")))?;
    metrics::counter!("dragonfly_scheduler_decisions_total", "decision" => name(&decision)).increment(1);
    Ok(decision)
}

/// A peer leaves a task, and no longer has its pieces
#[utoipa::path(
    delete,
    path = "/v1/tasks/{task_id}/peers/{peer_id}",
    operation_id = "delete_peer",
    tag = "tasks",
    params(("task_id" = TaskId, Path), ("peer_id" = PeerId, Path), Farewell),
    responses((status = 204, description = "It is not there any more, or has reported anew since"), Problems)
)]
pub async fn delete_peer(
    State(app): State<App>,
    Extension(member): Extension<Member>,
    Path((task_id, peer_id)): Path<(TaskId, PeerId)>,
    Query(farewell): Query<Farewell>,
) -> Result<StatusCode, ApiError> {
    let host_id = peer_id.host();
    member.must_be(&host_id)?;
    app.swarm().delete_peer(task_id, host_id, farewell.seq).await.map_err(unreachable)?;
    Ok(StatusCode::NO_CONTENT)
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
    let task = app.swarm().task(&id).await.map_err(unreachable)?;
    task.map(Json).ok_or_else(|| ApiError::not_found(format!("nobody in this cluster has a part in task {id}")))
}

fn check(host_id: &HostId, report: &PeerReport) -> Result<(), ApiError> {
    if report.host_id != *host_id {
        return Err(ApiError::unprocessable(format!(
            "host_id {} differs from {host_id} in the path; a host's peer is spelled like the host",
            report.host_id
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
    if let (Some(length), Some(piece_length)) = (report.length, report.piece_length) {
        let count = piece_count(length, piece_length);
        if let Some(beyond) = report.pieces.iter().find(|piece| *piece >= count) {
            return Err(ApiError::unprocessable(format!("pieces names piece {beyond}; the task has {count}")));
        }
    }
    check_length("complaints", report.complaints.len())
}

fn name(decision: &PeerDecision) -> &'static str {
    match decision.decision {
        Decision::Parents => "parents",
        Decision::Origin => "origin",
        Decision::Wait => "wait",
        Decision::Unchanged => "unchanged",
        Decision::Nobody => "nobody",
    }
}
