//! Roles and what they permit. Shapes are the incumbent's: names, and triples of role, object and action.
//! **Invariant:** a role permits only what there is, and nobody permits more than the own roles do.

use std::sync::Arc;

use axum::extract::{Extension, State};
use df_api::manager::{CreateRoleRequest, Permission};
use df_http::extract::{Json, Path};
use df_http::{ApiError, Problems};

use crate::access::Caller;
use crate::app::App;
use crate::check_user::{check_new_role, check_permission};
use crate::db::now_ms;

/// Everything that a role can be permitted, as the router knows it.
pub type Permissions = Extension<Arc<[Permission]>>;

/// List what a role can be permitted
#[utoipa::path(
    get,
    path = "/api/v1/permissions",
    operation_id = "list_permissions",
    tag = "accounts",
    responses((status = 200, description = "By object", body = Vec<Permission>), Problems)
)]
pub async fn list_permissions(Extension(known): Permissions) -> Json<Vec<Permission>> {
    Json(known.to_vec())
}

/// List roles
#[utoipa::path(
    get,
    path = "/api/v1/roles",
    operation_id = "list_roles",
    tag = "accounts",
    responses((status = 200, description = "By name", body = Vec<String>), Problems)
)]
pub async fn list_roles(State(app): State<App>) -> Result<Json<Vec<String>>, ApiError> {
    Ok(Json(app.db().list_roles().await?))
}

/// Get what a role permits
#[utoipa::path(
    get,
    path = "/api/v1/roles/{role}",
    operation_id = "get_role",
    tag = "accounts",
    params(("role" = String, Path, description = "The role")),
    responses((status = 200, description = "Role, object and action of each permission", body = Vec<Vec<String>>), Problems)
)]
pub async fn get_role(State(app): State<App>, Path(role): Path<String>) -> Result<Json<Vec<[String; 3]>>, ApiError> {
    let role = app.db().role(&role).await?;
    let triple = |one: Permission| [role.role.clone(), one.object, one.action.as_str().to_owned()];
    Ok(Json(role.permissions.into_iter().map(triple).collect()))
}

/// Add a role
#[utoipa::path(
    post,
    path = "/api/v1/roles",
    operation_id = "create_role",
    tag = "accounts",
    request_body = CreateRoleRequest,
    responses((status = 200, description = "Made"), Problems)
)]
pub async fn create_role(
    State(app): State<App>,
    Extension(known): Permissions,
    caller: Caller,
    Json(body): Json<CreateRoleRequest>,
) -> Result<(), ApiError> {
    check_new_role(&body, &known)?;
    caller.may_all(&body.permissions)?;
    app.db().create_role(&body, now_ms()).await?;
    tracing::info!(role = body.role, "a role was added");
    Ok(())
}

/// Delete a role
#[utoipa::path(
    delete,
    path = "/api/v1/roles/{role}",
    operation_id = "delete_role",
    tag = "accounts",
    params(("role" = String, Path, description = "The role")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_role(State(app): State<App>, Path(role): Path<String>) -> Result<(), ApiError> {
    app.db().delete_role(&role).await?;
    tracing::info!(role, "a role was deleted");
    Ok(())
}

/// Permit a role something
#[utoipa::path(
    post,
    path = "/api/v1/roles/{role}/permissions",
    operation_id = "add_permission",
    tag = "accounts",
    params(("role" = String, Path, description = "The role")),
    request_body = Permission,
    responses((status = 200, description = "Permitted"), Problems)
)]
pub async fn add_permission(
    State(app): State<App>,
    Extension(known): Permissions,
    caller: Caller,
    Path(role): Path<String>,
    Json(body): Json<Permission>,
) -> Result<(), ApiError> {
    check_permission("permission", &body, &known)?;
    caller.may_all(std::slice::from_ref(&body))?;
    app.db().add_permission(&role, &body).await?;
    tracing::info!(role, permission = %body, "a role may more");
    Ok(())
}

/// Permit a role something no longer
#[utoipa::path(
    delete,
    path = "/api/v1/roles/{role}/permissions",
    operation_id = "delete_permission",
    tag = "accounts",
    params(("role" = String, Path, description = "The role")),
    request_body = Permission,
    responses((status = 200, description = "No longer permitted"), Problems)
)]
pub async fn delete_permission(
    State(app): State<App>,
    Path(role): Path<String>,
    Json(body): Json<Permission>,
) -> Result<(), ApiError> {
    app.db().delete_permission(&role, &body).await?;
    tracing::info!(role, permission = %body, "a role may less");
    Ok(())
}
