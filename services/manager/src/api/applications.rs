//! Applications: how the downloads of a program or a team rank, in all clusters.
//! **Invariant:** what is written compiles at the schedulers, which get it with their next lease.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{Application, CreateApplicationRequest, UpdateApplicationRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};

use crate::access::Caller;
use crate::app::App;
use crate::check_rules::{check_application, check_new_application};
use crate::db::{Page, now_ms};
use crate::paging::{PER_PAGE_DEFAULT, Paging};

/// List applications
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/applications",
    operation_id = "list_applications",
    tag = "settings",
    params(Paging),
    responses((status = 200, description = "One page", body = Vec<Application>), Problems)
)]
pub async fn list_applications(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Paging>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_applications(page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Add an application
#[utoipa::path(
    post,
    path = "/api/v1/applications",
    operation_id = "create_application",
    tag = "settings",
    request_body = CreateApplicationRequest,
    responses((status = 200, description = "Made", body = Application), Problems)
)]
pub async fn create_application(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateApplicationRequest>,
) -> Result<Json<Application>, ApiError> {
    check_new_application(&body)?;
    let application = app.db().create_application(&body, body.user_id.unwrap_or(caller.user.id), now_ms()).await?;
    tracing::info!(application = application.id, name = application.name, "an application was added");
    Ok(Json(application))
}

/// Get an application
#[utoipa::path(
    get,
    path = "/api/v1/applications/{id}",
    operation_id = "get_application",
    tag = "settings",
    params(("id" = i64, Path, description = "The application")),
    responses((status = 200, description = "The application", body = Application), Problems)
)]
pub async fn get_application(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Application>, ApiError> {
    Ok(Json(app.db().application(id).await?))
}

/// Change an application
///
/// Only what is present changes; the priority is replaced whole. Schedulers notice with their next lease.
#[utoipa::path(
    patch,
    path = "/api/v1/applications/{id}",
    operation_id = "update_application",
    tag = "settings",
    params(("id" = i64, Path, description = "The application")),
    request_body = UpdateApplicationRequest,
    responses((status = 200, description = "As it is now", body = Application), Problems)
)]
pub async fn update_application(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateApplicationRequest>,
) -> Result<Json<Application>, ApiError> {
    let application = app.db().update_application(id, body, now_ms(), check_application).await?;
    tracing::info!(application = application.id, name = application.name, "an application was changed");
    Ok(Json(application))
}

/// Delete an application
#[utoipa::path(
    delete,
    path = "/api/v1/applications/{id}",
    operation_id = "delete_application",
    tag = "settings",
    params(("id" = i64, Path, description = "The application")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_application(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_application(id).await?;
    tracing::info!(application = id, "an application was deleted");
    Ok(())
}
