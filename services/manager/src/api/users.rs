//! Users: who has an account, and in which roles.
//! **Invariant:** no answer has anything of a password in it.

use axum::extract::{Extension, OriginalUri, State};
use axum::response::IntoResponse;
use df_api::Code;
use df_api::manager::{ResetPasswordRequest, SignUpRequest, UpdateUserRequest, User};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use http::header::HeaderMap;
use serde::Deserialize;

use crate::access::{ActedAs, Caller, find_caller};
use crate::api::sessions::{count_try, wrong};
use crate::app::App;
use crate::check_user::{check_new_password, check_new_user, check_user};
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_DEFAULT;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    /// Only the one of this name.
    name: Option<String>,
}

/// Add a user
///
/// With the role `guest`; it is not signed in by that. For who may write users; for everybody where `signUp` is switched on.
#[utoipa::path(
    post,
    path = "/api/v1/users/signup",
    operation_id = "sign_up",
    tag = "accounts",
    request_body = SignUpRequest,
    responses((status = 200, description = "Added", body = User), Problems)
)]
pub async fn sign_up(
    State(app): State<App>,
    headers: HeaderMap,
    Json(body): Json<SignUpRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let mut actor = body.name.clone();
    if !app.config().sign_up {
        let caller = find_caller(&app, &headers).await.map_err(|error| match error.code() {
            Code::Unauthenticated => {
                ApiError::forbidden("sign-up is switched off; root adds users, or sets signUp: true")
            }
            _ => error,
        })?;
        caller.may_write_users()?;
        actor = caller.user.name;
    }
    check_new_user(&body)?;
    let hash = app.passwords().hash(body.password.clone()).await?;
    let user = app.db().create_user(&body, &hash, now_ms()).await?;
    tracing::info!(user = user.id, name = user.name, "a user was added");
    Ok((Extension(ActedAs(actor)), Json(user)))
}

/// List users
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    operation_id = "list_users",
    tag = "accounts",
    params(ListUsers),
    responses((status = 200, description = "One page", body = Vec<User>), Problems)
)]
pub async fn list_users(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListUsers>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_users(query.name.as_deref(), page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Get a user
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    operation_id = "get_user",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, description = "The user", body = User), Problems)
)]
pub async fn get_user(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<User>, ApiError> {
    Ok(Json(app.db().user(id).await?))
}

/// Change a user
///
/// Only what is present changes. Who is disabled is signed out everywhere.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    operation_id = "update_user",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user")),
    request_body = UpdateUserRequest,
    responses((status = 200, description = "As it is now", body = User), Problems)
)]
pub async fn update_user(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<UpdateUserRequest>,
) -> Result<Json<User>, ApiError> {
    if body.state.is_some() && caller.user.id == id {
        return Err(ApiError::unprocessable("state: nobody disables or enables the own account"));
    }
    caller.may_act_for(&app, id).await?;
    let user = app.db().update_user(id, body, now_ms(), check_user).await?;
    tracing::info!(user = id, state = ?user.state, "a user was changed");
    Ok(Json(user))
}

/// Set a new password
///
/// The own one with the old one; wrong ones count as tries to sign in. Signs the user out everywhere else.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/reset_password",
    operation_id = "reset_password",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user")),
    request_body = ResetPasswordRequest,
    responses((status = 200, description = "It is the new one from now on"), Problems)
)]
pub async fn reset_password(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<ResetPasswordRequest>,
) -> Result<(), ApiError> {
    check_new_password("new_password", &body.new_password)?;
    let is_own = caller.user.id == id;
    if is_own {
        let name = &caller.user.name;
        let left = count_try(&app, name).await?;
        let hash = app.db().account(name).await?.map(|account| account.password_hash);
        if !app.passwords().verify(body.old_password, hash).await? {
            return Err(wrong(left));
        }
        app.db().forget_tries(name).await?;
    }
    caller.may_act_for(&app, id).await?;
    let hash = app.passwords().hash(body.new_password).await?;
    let kept = caller.session().filter(|_| is_own);
    app.db().set_password(id, &hash, kept, now_ms()).await?;
    tracing::info!(user = id, "a password was set");
    Ok(())
}

/// List the roles of a user
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/roles",
    operation_id = "list_user_roles",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, description = "By name", body = Vec<String>), Problems)
)]
pub async fn list_user_roles(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Vec<String>>, ApiError> {
    Ok(Json(app.db().user(id).await?.roles))
}

/// Give a user a role
///
/// One that permits no more than the caller's own.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}/roles/{role}",
    operation_id = "add_user_role",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user"), ("role" = String, Path, description = "The role")),
    responses((status = 200, description = "The user has it"), Problems)
)]
pub async fn add_user_role(
    State(app): State<App>,
    caller: Caller,
    Path((id, role)): Path<(i64, String)>,
) -> Result<(), ApiError> {
    caller.may_all(&app.db().role(&role).await?.permissions)?;
    app.db().add_user_role(id, &role).await?;
    tracing::info!(user = id, role, "a role was given");
    Ok(())
}

/// Take a role from a user
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}/roles/{role}",
    operation_id = "delete_user_role",
    tag = "accounts",
    params(("id" = i64, Path, description = "The user"), ("role" = String, Path, description = "The role")),
    responses((status = 200, description = "The user does not have it any more"), Problems)
)]
pub async fn delete_user_role(
    State(app): State<App>,
    caller: Caller,
    Path((id, role)): Path<(i64, String)>,
) -> Result<(), ApiError> {
    caller.may_act_for(&app, id).await?;
    app.db().delete_user_role(id, &role).await?;
    tracing::info!(user = id, role, "a role was taken");
    Ok(())
}
