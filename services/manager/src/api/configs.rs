//! Named values. `gc` is the manager's own: how long audits and jobs are kept.
//! **Invariant:** the manager can always read its own.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{Config, CreateConfigRequest, UpdateConfigRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::access::Caller;
use crate::app::App;
use crate::check_rules::{check_config, check_new_config};
use crate::db::configs::ConfigFilter;
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_DEFAULT;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListConfigs {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    name: Option<String>,
    value: Option<String>,
    user_id: Option<i64>,
}

/// List configs
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/configs",
    operation_id = "list_configs",
    tag = "settings",
    params(ListConfigs),
    responses((status = 200, description = "One page", body = Vec<Config>), Problems)
)]
pub async fn list_configs(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListConfigs>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let filter = ConfigFilter { name: query.name, value: query.value, user_id: query.user_id };
    let listed = app.db().list_configs(&filter, page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Add a config
#[utoipa::path(
    post,
    path = "/api/v1/configs",
    operation_id = "create_config",
    tag = "settings",
    request_body = CreateConfigRequest,
    responses((status = 200, description = "Made", body = Config), Problems)
)]
pub async fn create_config(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateConfigRequest>,
) -> Result<Json<Config>, ApiError> {
    check_new_config(&body)?;
    let user_id = body.user_id.unwrap_or(caller.user.id);
    let config = app.db().create_config(&body, user_id, now_ms()).await?;
    tracing::info!(config = config.id, name = config.name, "a config was added");
    Ok(Json(config))
}

/// Get a config
#[utoipa::path(
    get,
    path = "/api/v1/configs/{id}",
    operation_id = "get_config",
    tag = "settings",
    params(("id" = i64, Path, description = "The config")),
    responses((status = 200, description = "The config", body = Config), Problems)
)]
pub async fn get_config(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Config>, ApiError> {
    Ok(Json(app.db().config(id).await?))
}

/// Change a config
///
/// Only what is present changes.
#[utoipa::path(
    patch,
    path = "/api/v1/configs/{id}",
    operation_id = "update_config",
    tag = "settings",
    params(("id" = i64, Path, description = "The config")),
    request_body = UpdateConfigRequest,
    responses((status = 200, description = "As it is now", body = Config), Problems)
)]
pub async fn update_config(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateConfigRequest>,
) -> Result<Json<Config>, ApiError> {
    let config = app.db().update_config(id, body, now_ms(), check_config).await?;
    tracing::info!(config = id, name = config.name, "a config was changed");
    Ok(Json(config))
}

/// Delete a config
#[utoipa::path(
    delete,
    path = "/api/v1/configs/{id}",
    operation_id = "delete_config",
    tag = "settings",
    params(("id" = i64, Path, description = "The config")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_config(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_config(id).await?;
    tracing::info!(config = id, "a config was deleted");
    Ok(())
}
