//! What the programs of this node do with their tasks besides reading them.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use df_api::dfdaemon::{CloneTaskRequest, CloneTaskResult, ImportTaskRequest, TaskList, TaskStatus};
use df_api::{Code, TaskId};
use df_http::extract::{Json, Path, Query, Wait};
use df_http::serve::Caller;
use df_http::{ApiError, Problems};
use df_peer::{CloneError, ImportError, RemoveError, Task};
use futures_util::TryStreamExt as _;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap};
use serde::Deserialize;

use super::tasks::{failed, unknown};
use crate::descriptor;
use crate::state::AppState;

const PAGE_MAX: u32 = 1000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Those with a greater id: `next` of the last answer.
    #[serde(default)]
    after: Option<TaskId>,
    /// Default: 100; at most 1000.
    #[serde(default = "page")]
    limit: u32,
}

fn page() -> u32 {
    100
}

/// List what the programs of this node have asked for or imported
///
/// Not what the registry mirror has brought: that is for those whom its registry accepts.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "list_tasks", tag = "tasks", params(Page),
    responses((status = 200, description = "By id, page by page", body = TaskList), Problems))]
pub async fn list_tasks(
    State(app): State<AppState>,
    Query(Page { after, limit }): Query<Page>,
) -> Result<Json<TaskList>, ApiError> {
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit {limit} is not from 1 to {PAGE_MAX}")));
    }
    let list = move || app.peer.tasks_of_programs(after.as_ref(), limit as usize);
    tokio::task::spawn_blocking(list).await.map(Json).map_err(ApiError::internal)
}

/// Store a file as a task that has no origin
///
/// The body is the file, its length the `Content-Length`. The answer comes when all of it is stored, its digest has
/// matched, and the cluster knows of it: from then on any node of the cluster gets it, with the same digest, tag,
/// application and piece length and no URL. It stays for as long as some node keeps it, like any other content.
#[utoipa::path(post, path = "/v1/tasks/import", operation_id = "import_task", tag = "tasks", params(ImportTaskRequest),
    request_body(content = String, content_type = "application/octet-stream", description = "The file"),
    responses((status = 200, description = "The task", body = TaskStatus), Problems))]
pub async fn import_task(
    State(app): State<AppState>,
    Query(request): Query<ImportTaskRequest>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TaskStatus>, ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: u64 = length.ok_or_else(|| ApiError::invalid("send the file's length as Content-Length"))?;
    let spec = request.to_create().into_spec().map_err(ApiError::unprocessable)?;
    let origin = spec.origin.clone();
    let body = body.into_data_stream().map_err(io::Error::other);
    let task = df_peer::import(&app.peer, spec, length, body).await.map_err(not_imported)?;
    give(&task, move |task| task.give_to_programs(&origin)).await?;
    Ok(Json(task.status()))
}

fn not_imported(error: ImportError) -> ApiError {
    match error {
        ImportError::Busy => ApiError::new(Code::Conflict, error.to_string()),
        ImportError::Body(_) => ApiError::invalid(error),
        ImportError::Length { .. } | ImportError::WrongDigest { .. } | ImportError::Malformed(_) => {
            ApiError::unprocessable(error)
        }
        ImportError::Storage(ref storage) if storage.is_not_storing() => {
            ApiError::new(Code::Unavailable, error.to_string())
        }
        ImportError::Storage(error) => ApiError::internal(error),
    }
}

/// What may write to the disk, on a thread for that.
pub(super) async fn give(task: &Arc<Task>, give: impl FnOnce(&Task) + Send + 'static) -> Result<(), ApiError> {
    let task = task.clone();
    tokio::task::spawn_blocking(move || give(&task)).await.map_err(ApiError::internal)
}

/// Remove a task from this host
///
/// Who is reading it reads on; the cluster is told that this host has it no more. Not while it is being fetched.
#[utoipa::path(delete, path = "/v1/tasks/{task_id}", operation_id = "delete_task", tag = "tasks",
    params(("task_id" = TaskId, Path)),
    responses((status = 204, description = "It is not here any more"), Problems))]
pub async fn delete_task(State(app): State<AppState>, Path(task_id): Path<TaskId>) -> Result<StatusCode, ApiError> {
    let task = app.peer.task(&task_id).filter(|task| task.is_for_programs()).ok_or_else(|| unknown(&task_id))?;
    match app.peer.remove_task(&task).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error @ RemoveError::Running) => Err(ApiError::new(Code::Conflict, format!("task {task_id}: {error}"))),
        Err(error @ RemoveError::Storage(_)) => Err(ApiError::internal(error)),
    }
}

/// Make an empty file of the caller share the bytes of a task
///
/// Over the unix socket only, where the kernel says who asks: the file is one the caller has open and owns, so no path is
/// followed. It works where the store and the file are on one file system that shares blocks between files (btrfs, XFS);
/// elsewhere 409, and the content has to be read. With `Prefer: wait` a task that is not complete is waited for.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/clone", operation_id = "clone_task", tag = "tasks",
    request_body = CloneTaskRequest,
    params(("task_id" = TaskId, Path), ("Prefer" = Option<String>, Header, description = "wait=N seconds")),
    responses((status = 200, description = "Whether it is done", body = CloneTaskResult), Problems))]
pub async fn clone_task(
    State(app): State<AppState>,
    Path(task_id): Path<TaskId>,
    Caller(caller): Caller,
    Wait(wait): Wait,
    Json(request): Json<CloneTaskRequest>,
) -> Result<Json<CloneTaskResult>, ApiError> {
    let impossible = |why: String| ApiError::new(Code::Conflict, why);
    let caller =
        caller.ok_or_else(|| impossible("only over the unix socket it is known whose file it is".to_owned()))?;
    let task = app.peer.task_for_programs(&task_id).ok_or_else(|| unknown(&task_id))?;
    let opened = tokio::task::spawn_blocking(move || descriptor::open(caller, request.descriptor)).await;
    let file = opened.map_err(ApiError::internal)?.map_err(|error| impossible(df_http::error::chain(&error)))?;
    match task.clone_into(Arc::new(file), wait).await {
        Ok(cloned) => Ok(Json(CloneTaskResult { cloned })),
        Err(CloneError::Failed(failure)) => Err(failed(&task, &failure)),
        Err(error @ CloneError::Impossible(_)) => Err(impossible(error.to_string())),
        Err(error @ CloneError::Idle) => Err(ApiError::not_found(error)),
    }
}
