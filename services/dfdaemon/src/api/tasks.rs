//! Tasks over HTTP: bytes and pieces for whoever asks, new tasks for the programs of this node.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use df_api::dfdaemon::{
    CreateTaskRequest, PIECE_DIGEST_HEADER, PIECE_LENGTH_HEADER, PieceList, TASK_ID_HEADER, TaskStatus,
    VALIDATOR_HEADER,
};
use df_api::range::Requested;
use df_api::task::{Origin, TaskSpec};
use df_api::{Code, TaskId};
use df_http::extract::{Json, Path, Query, Range, Wait};
use df_http::respond::unsatisfiable;
use df_http::serve::Sendfile;
use df_http::{ApiError, Problems};
use df_peer::download::Start;
use df_peer::{Busy, Delivery, Failure, Peer, ReadError, Task, Uploads, UpstreamRefused};
use df_store::Trust;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;
use url::Url;

use super::local_tasks;
use crate::state::AppState;

/// A child may ask before the duty to fetch has reached this host.
const TASK_PATIENCE: Duration = Duration::from_secs(3);

/// Read a task's bytes while they arrive
///
/// The answer waits for the first byte. 206 with `Content-Range` for a range; the digest of the piece when the range lies
/// within a finished one.
#[utoipa::path(get, path = "/v1/tasks/{task_id}/content", operation_id = "get_task_content", tag = "tasks",
    params(("task_id" = TaskId, Path), Checked, ("Range" = Option<String>, Header, description = "RFC 9110")),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "The bytes of the range", content_type = "application/octet-stream"),
        Problems))]
pub async fn get_task_content(
    State(app): State<AppState>,
    Path(task_id): Path<TaskId>,
    Query(Checked { checked }): Query<Checked>,
    range: Range,
    Sendfile(sendfile): Sendfile,
) -> Result<Response, ApiError> {
    let peer = shared(&app)?;
    let task = match app.trust {
        // Content of the mirror is for those whom its registry has accepted.
        Trust::HoldLast => peer.task_for_programs(&task_id),
        _ => peer.task_soon(&task_id, TASK_PATIENCE).await,
    };
    let task = task.ok_or_else(|| unknown(&task_id))?;
    let trust = if checked && app.trust == Trust::Landed { Trust::Checked } else { app.trust };
    content(&app, &task, trust, range.0, sendfile).await
}

/// Read a task's bytes at a seed peer, which fetches what it does not have
///
/// One round trip for a small content that nobody asked for before. Only seed peers do it, and other hosts while no
/// scheduler answers them, and only for origins that they may ask: the cluster still decides who reads from the origin.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/content", operation_id = "fetch_task_content", tag = "tasks",
    request_body = TaskSpec,
    params(("task_id" = TaskId, Path), ("Range" = Option<String>, Header, description = "RFC 9110")),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "The bytes of the range", content_type = "application/octet-stream"),
        Problems),
    security(("credential" = [])))]
pub async fn fetch_task_content(
    State(app): State<AppState>,
    Path(task_id): Path<TaskId>,
    range: Range,
    Sendfile(sendfile): Sendfile,
    Json(spec): Json<TaskSpec>,
) -> Result<Response, ApiError> {
    let peer = shared(&app)?;
    if peer.config().seed_peer_cluster_id.is_none() && !peer.is_without_schedulers().await {
        return Err(ApiError::forbidden("only a seed peer starts tasks for others while a scheduler answers"));
    }
    if spec.id != task_id || !spec.is_consistent() {
        return Err(ApiError::unprocessable(format!("the task described is not {task_id}")));
    }
    if spec.origin.node_only {
        return Err(ApiError::unprocessable("what must not leave a node is fetched by that node"));
    }
    check_origin(&app, &spec.origin.url)?;
    let task = peer.start(spec, Start::Child).map_err(ApiError::internal)?;
    content(&app, &task, app.trust, range.0, sendfile).await
}

fn fetchable(url: &str) -> Result<Url, ApiError> {
    let plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "s3") && url.username().is_empty() && url.password().is_none()
    };
    let parsed = Url::parse(url).ok().filter(plain);
    parsed.ok_or_else(|| ApiError::unprocessable(format!("url {url:?} is not an http(s) or s3 URL")))
}

fn check_origin(app: &AppState, url: &str) -> Result<(), ApiError> {
    let url = Url::parse(url).map_err(ApiError::unprocessable)?;
    app.peer.upstream().check(&url).map_err(|refused| match refused {
        UpstreamRefused::Malformed(_) => ApiError::unprocessable(refused),
        UpstreamRefused::NotAllowed(_) => ApiError::forbidden(refused),
    })
}

fn shared(app: &AppState) -> Result<&Arc<Peer>, ApiError> {
    if app.trust == Trust::Landed && app.peer.config().sharing_off {
        return Err(ApiError::forbidden("this host gives nothing to others (upload.disableShared)"));
    }
    Ok(&app.peer)
}

async fn content(
    app: &AppState,
    task: &Arc<Task>,
    trust: Trust,
    range: Requested,
    sendfile: bool,
) -> Result<Response, ApiError> {
    let mut opened = task.open(&app.peer, range, trust, app.first_byte_timeout).await;
    if matches!(opened, Err(ReadError::Idle)) && app.peer.goes_on_soon(task, TASK_PATIENCE).await {
        opened = task.open(&app.peer, range, trust, app.first_byte_timeout).await;
    }
    let content = opened.map_err(|error| read_error(task, error))?;
    let digest = content.range().and_then(|range| task.stored().piece_digest_around(range));
    // Only now: who waits for the first byte holds no slot.
    let upload = app.uploads.as_ref().map(Uploads::begin).transpose().map_err(busy)?;
    let (slice, content_type) = (content.slice, content.content_type.clone());
    let body = Body::from_stream(content.stream(Delivery { sendfile, upload }));
    let mut response = slice.map_or_else(|| Response::new(Body::empty()), |slice| slice.respond(Body::empty()));
    *response.body_mut() = body;
    let headers = response.headers_mut();
    let content_type = content_type.and_then(|value| HeaderValue::from_str(&value).ok());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    let meta = task.stored().meta();
    let piece_length = meta.as_ref().map(|meta| meta.piece_length.to_string());
    let ours = [
        (VALIDATOR_HEADER, meta.and_then(|meta| meta.validator)),
        (TASK_ID_HEADER, Some(task.id().to_string())),
        (PIECE_LENGTH_HEADER, piece_length),
        (PIECE_DIGEST_HEADER, digest.map(|d| d.to_string())),
    ];
    for (name, value) in ours {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Checked {
    /// Nothing of a piece before it has been compared with its digest; otherwise a peer gets bytes as they arrive.
    #[serde(default)]
    checked: bool,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// `next` of the last answer; 0 for everything.
    #[serde(default)]
    since: u64,
}

/// List the pieces this host has finished
///
/// With `Prefer: wait` the answer is held back as long as there is nothing new.
#[utoipa::path(get, path = "/v1/tasks/{task_id}/pieces", operation_id = "list_pieces", tag = "tasks",
    params(("task_id" = TaskId, Path), Since, ("Prefer" = Option<String>, Header, description = "wait=N seconds")),
    responses((status = 200, description = "The pieces, and where to go on", body = PieceList), Problems))]
pub async fn list_pieces(
    State(app): State<AppState>,
    Path(task_id): Path<TaskId>,
    Query(Since { since }): Query<Since>,
    Wait(wait): Wait,
) -> Result<Json<PieceList>, ApiError> {
    let patience = wait.min(TASK_PATIENCE);
    let task = app.peer.task_soon(&task_id, patience).await.ok_or_else(|| unknown(&task_id))?;
    let mut changes = task.stored().subscribe();
    let news = async {
        loop {
            changes.borrow_and_update();
            if task.stored().events_since(since).1 > since || task.stored().is_complete() || task.failure().is_some() {
                return;
            }
            let _ = changes.changed().await;
        }
    };
    // Nothing new in time is an answer too.
    let _ = tokio::time::timeout(wait, news).await;
    match task.failure() {
        Some(failure) => Err(failed(&task, &failure)),
        None => Ok(Json(piece_list(&task, since))),
    }
}

fn piece_list(task: &Task, since: u64) -> PieceList {
    let (stored, running) = (task.stored(), task.is_getting_all());
    let at_origin = running && task.is_at_origin();
    // In this order: a piece that is told of is never ahead of what is said of the whole.
    let complete = stored.is_complete();
    let (pieces, next) = stored.events_since(since);
    let meta = stored.meta();
    let field = |pick: fn(df_store::Meta) -> Option<String>| meta.clone().and_then(pick);
    PieceList {
        content_type: field(|meta| meta.content_type),
        validator: field(|meta| meta.validator),
        length: meta.as_ref().and_then(|meta| meta.length),
        piece_length: meta.as_ref().map(|meta| meta.piece_length),
        digest: meta.and_then(|meta| meta.digest),
        pieces,
        next,
        complete,
        running,
        at_origin,
    }
}

/// Start fetching a URL, or join the download that runs
#[utoipa::path(post, path = "/v1/tasks", operation_id = "create_task", tag = "tasks", request_body = CreateTaskRequest,
    responses((status = 200, description = "The task; read its content next", body = TaskStatus), Problems))]
pub async fn create_task(
    State(app): State<AppState>,
    Json(request): Json<CreateTaskRequest>,
) -> Result<Json<TaskStatus>, ApiError> {
    let request = match request.url.as_str() {
        // Something imported, which its digest names.
        "" => request,
        url => CreateTaskRequest { url: fetchable(url)?.into(), ..request },
    };
    let prefetch = request.prefetch;
    let start = request.range.filter(|_| !prefetch).map_or(Start::Ask, Start::AskPart);
    let mut spec = request.into_spec().map_err(ApiError::unprocessable)?;
    if !spec.origin.url.is_empty() {
        check_origin(&app, &spec.origin.url)?;
    }
    // What this node's own credential opens is not for nodes without one.
    if spec.origin.scope.is_none()
        && Url::parse(&spec.origin.url).is_ok_and(|url| app.peer.upstream().has_credential(&url))
    {
        spec = TaskSpec::for_programs(Origin { scope: Some("configured".to_owned()), ..spec.origin }, spec.digest);
    }
    if spec.origin.is_signed() {
        let scope = Some(app.signed.scope(&app.peer, &spec).await);
        spec = TaskSpec::for_programs(Origin { scope, ..spec.origin }, spec.digest);
    }
    let origin = spec.origin.clone();
    let task = app.peer.start(spec, start).map_err(ApiError::internal)?;
    if prefetch {
        app.mirror.prefetch().begin(&task, Some(true));
    }
    if !task.is_for_programs() {
        local_tasks::give(&task, move |task| task.give_to_programs(&origin)).await?;
    }
    Ok(Json(task.status()))
}

/// Show a task of this host, and where its bytes came from
#[utoipa::path(get, path = "/v1/tasks/{task_id}", operation_id = "get_task", tag = "tasks",
    params(("task_id" = TaskId, Path)),
    responses((status = 200, description = "The task", body = TaskStatus), Problems))]
pub async fn get_task(State(app): State<AppState>, Path(task_id): Path<TaskId>) -> Result<Json<TaskStatus>, ApiError> {
    app.peer.task(&task_id).map(|task| Json(task.status())).ok_or_else(|| unknown(&task_id))
}

/// Layer for what peers ask: not more often than allowed.
pub async fn limit_requests(State(uploads): State<Arc<Uploads>>, request: Request, next: Next) -> Response {
    match uploads.admit() {
        Ok(()) => next.run(request).await,
        Err(refused) => busy(refused).into_response(),
    }
}

fn busy(busy: Busy) -> ApiError {
    let code = match busy {
        Busy::Slots => Code::Unavailable,
        Busy::Requests => Code::TooManyRequests,
    };
    ApiError::new(code, busy.to_string()).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(super) fn unknown(task_id: &TaskId) -> ApiError {
    ApiError::not_found(format!("task {task_id} is not on this host"))
}

fn read_error(task: &Task, error: ReadError) -> ApiError {
    match error {
        ReadError::Unsatisfiable { total } => unsatisfiable(total),
        ReadError::Failed(failure) => failed(task, &failure),
        ReadError::Timeout(_) => ApiError::new(Code::Timeout, error.to_string()),
        ReadError::Idle => ApiError::not_found(error),
    }
}

pub(super) fn failed(task: &Task, failure: &Failure) -> ApiError {
    let code = match failure {
        Failure::Origin { status: 401, .. } => Code::Unauthenticated,
        Failure::Origin { status: 403, .. } | Failure::Refused(_) => Code::Forbidden,
        Failure::Blocked(_) => Code::Blocked,
        Failure::Origin { status: 404 | 410, .. } | Failure::Nobody(_) => Code::NotFound,
        Failure::Origin { .. } | Failure::Unreachable(_) | Failure::Malformed(_) | Failure::WrongDigest { .. } => {
            Code::BadGateway
        }
        Failure::Storage(_) => Code::Internal,
    };
    // An object is named: where it is holds no secret, as a URL may.
    let place = task.spec().origin.content_url();
    let named = if place.starts_with("s3://") { format!("{place}: ") } else { String::new() };
    ApiError::new(code, format!("{named}{failure}"))
}
