//! Personal access tokens: for programs that act for a user.
//! **Invariant:** the secret is in the one answer that made it; a token opens no more than its scopes and its user's roles.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{
    CreatePersonalAccessTokenRequest, PersonalAccessToken, TokenState, UpdatePersonalAccessTokenRequest,
};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::access::Caller;
use crate::app::App;
use crate::check_user::check_token;
use crate::db::personal_access_tokens::{NewToken, TokenFilter};
use crate::db::{Page, now_ms, time};
use crate::paging::PER_PAGE_DEFAULT;
use crate::secret::{self, Purpose};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListPersonalAccessTokens {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    state: Option<TokenState>,
    user_id: Option<i64>,
}

/// List personal access tokens, without their secrets
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/personal-access-tokens",
    operation_id = "list_personal_access_tokens",
    tag = "accounts",
    params(ListPersonalAccessTokens),
    responses((status = 200, description = "One page", body = Vec<PersonalAccessToken>), Problems)
)]
pub async fn list_personal_access_tokens(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListPersonalAccessTokens>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let filter = TokenFilter { state: query.state, user_id: query.user_id };
    let listed = app.db().list_personal_access_tokens(filter, page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Make a personal access token
///
/// Its secret is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/personal-access-tokens",
    operation_id = "create_personal_access_token",
    tag = "accounts",
    request_body = CreatePersonalAccessTokenRequest,
    responses((status = 200, description = "Made", body = PersonalAccessToken), Problems)
)]
pub async fn create_personal_access_token(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreatePersonalAccessTokenRequest>,
) -> Result<Json<PersonalAccessToken>, ApiError> {
    let user_id = body.user_id.unwrap_or(caller.user.id);
    caller.may_act_for(&app, user_id).await?;
    let now = now_ms();
    check_token(&PersonalAccessToken {
        id: 0,
        name: body.name.clone(),
        bio: body.bio.clone(),
        token: None,
        scopes: body.scopes.clone(),
        state: TokenState::Active,
        expired_at: body.expired_at,
        user_id,
        created_at: time(now),
        updated_at: time(now),
    })?;
    let secret = secret::generate(Purpose::PersonalAccess).map_err(ApiError::internal)?;
    let new = NewToken {
        name: &body.name,
        bio: &body.bio,
        hash: &secret::hash(&secret),
        scopes: &body.scopes,
        expires: body.expired_at.timestamp_millis(),
        user_id,
        now,
    };
    let token = app.db().create_personal_access_token(&new).await?;
    tracing::info!(id = token.id, name = token.name, user = user_id, "a personal access token was made");
    Ok(Json(PersonalAccessToken { token: Some(secret), ..token }))
}

/// Get a personal access token, without its secret
#[utoipa::path(
    get,
    path = "/api/v1/personal-access-tokens/{id}",
    operation_id = "get_personal_access_token",
    tag = "accounts",
    params(("id" = i64, Path, description = "The token")),
    responses((status = 200, description = "The token", body = PersonalAccessToken), Problems)
)]
pub async fn get_personal_access_token(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<PersonalAccessToken>, ApiError> {
    Ok(Json(app.db().personal_access_token(id).await?))
}

/// Change a personal access token
///
/// Only what is present changes.
#[utoipa::path(
    patch,
    path = "/api/v1/personal-access-tokens/{id}",
    operation_id = "update_personal_access_token",
    tag = "accounts",
    params(("id" = i64, Path, description = "The token")),
    request_body = UpdatePersonalAccessTokenRequest,
    responses((status = 200, description = "As it is now", body = PersonalAccessToken), Problems)
)]
pub async fn update_personal_access_token(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<UpdatePersonalAccessTokenRequest>,
) -> Result<Json<PersonalAccessToken>, ApiError> {
    refuse_others(&app, &caller, id).await?;
    let token = app.db().update_personal_access_token(id, body, now_ms(), check_token).await?;
    tracing::info!(id, state = ?token.state, "a personal access token was changed");
    Ok(Json(token))
}

/// Delete a personal access token
#[utoipa::path(
    delete,
    path = "/api/v1/personal-access-tokens/{id}",
    operation_id = "delete_personal_access_token",
    tag = "accounts",
    params(("id" = i64, Path, description = "The token")),
    responses((status = 200, description = "It opens nothing any more"), Problems)
)]
pub async fn delete_personal_access_token(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<(), ApiError> {
    refuse_others(&app, &caller, id).await?;
    app.db().delete_personal_access_token(id).await?;
    tracing::info!(id, "a personal access token was deleted");
    Ok(())
}

/// More scopes for a token of another would be that other's rights.
async fn refuse_others(app: &App, caller: &Caller, id: i64) -> Result<(), ApiError> {
    let token = app.db().personal_access_token(id).await?;
    caller.may_act_for(app, token.user_id).await
}
