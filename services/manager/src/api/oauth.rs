//! Providers that people sign in with: root writes them down.
//! **Invariant:** a provider's secret is in no answer, and sealed in the database.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{CreateOauthRequest, Oauth, UpdateOauthRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use secrecy::SecretString;

use crate::app::App;
use crate::check_user::{check_oauth, check_oauth_secret};
use crate::db::oauth::{Provider, ProviderChange};
use crate::db::{Page, now_ms, time};
use crate::paging::{PER_PAGE_DEFAULT, Paging};

/// List providers, without their secrets
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/oauth",
    operation_id = "list_oauth",
    tag = "accounts",
    params(Paging),
    responses((status = 200, description = "One page", body = Vec<Oauth>), Problems)
)]
pub async fn list_oauth(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Paging>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_oauth(page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Add a provider
#[utoipa::path(
    post,
    path = "/api/v1/oauth",
    operation_id = "create_oauth",
    tag = "accounts",
    request_body = CreateOauthRequest,
    responses((status = 200, description = "Added", body = Oauth), Problems)
)]
pub async fn create_oauth(
    State(app): State<App>,
    Json(body): Json<CreateOauthRequest>,
) -> Result<Json<Oauth>, ApiError> {
    let CreateOauthRequest { name, bio, client_id, client_secret, redirect_url, issuer } = body;
    let now = now_ms();
    let (created_at, updated_at) = (time(now), time(now));
    let oauth = Oauth { id: 0, name, bio, client_id, redirect_url, issuer, created_at, updated_at };
    check_oauth(&oauth)?;
    let sealed_secret = sealed(&app, &oauth.name, client_secret)?;
    let made = app.db().create_oauth(&Provider { oauth, sealed_secret }, now).await?;
    tracing::info!(name = made.name, "a provider was added");
    Ok(Json(made))
}

/// Get a provider, without its secret
#[utoipa::path(
    get,
    path = "/api/v1/oauth/{id}",
    operation_id = "get_oauth",
    tag = "accounts",
    params(("id" = i64, Path, description = "The provider")),
    responses((status = 200, description = "The provider", body = Oauth), Problems)
)]
pub async fn get_oauth(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Oauth>, ApiError> {
    Ok(Json(app.db().oauth(id).await?.oauth))
}

/// Change a provider
///
/// Only what is present changes. Its name stays, which is part of addresses that others know; and its issuer, by whose word
/// people are who they are here.
#[utoipa::path(
    patch,
    path = "/api/v1/oauth/{id}",
    operation_id = "update_oauth",
    tag = "accounts",
    params(("id" = i64, Path, description = "The provider")),
    request_body = UpdateOauthRequest,
    responses((status = 200, description = "As it is now", body = Oauth), Problems)
)]
pub async fn update_oauth(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateOauthRequest>,
) -> Result<Json<Oauth>, ApiError> {
    let UpdateOauthRequest { bio, client_id, client_secret, redirect_url } = body;
    let name = app.db().oauth(id).await?.oauth.name;
    let sealed_secret = client_secret.map(|secret| sealed(&app, &name, secret)).transpose()?;
    let change = ProviderChange { bio, client_id, redirect_url, sealed_secret };
    let made = app.db().update_oauth(id, change, now_ms(), check_oauth).await?;
    tracing::info!(name = made.name, "a provider was changed");
    Ok(Json(made))
}

/// Delete a provider
///
/// Whoever signs in with nothing else, signs in no more.
#[utoipa::path(
    delete,
    path = "/api/v1/oauth/{id}",
    operation_id = "delete_oauth",
    tag = "accounts",
    params(("id" = i64, Path, description = "The provider")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_oauth(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_oauth(id).await?;
    tracing::info!(id, "a provider was deleted");
    Ok(())
}

fn sealed(app: &App, name: &str, secret: String) -> Result<String, ApiError> {
    check_oauth_secret(&secret)?;
    app.seal().close(&sealed_as(name), &SecretString::from(secret)).map_err(ApiError::internal)
}

/// The row that a secret is sealed for.
pub fn sealed_as(name: &str) -> String {
    format!("oauth/{name}")
}
