//! Signing in with a provider: there, and back.
//! **Invariant:** who comes back is who went (the state is in a cookie that only this path gets), and ends at `/` and
//! nowhere else.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use df_api::Code;
use df_api::manager::UserState;
use df_http::extract::{Path, Query};
use df_http::{ApiError, Problems};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use serde::Deserialize;

use crate::access::{ActedAs, cookie};
use crate::api::oauth::sealed_as;
use crate::api::sessions::{begin_session, hidden_cookie, is_https};
use crate::app::App;
use crate::db::now_ms;
use crate::db::oauth::Provider;
use crate::provider::ProviderError;

const STATE_COOKIE: &str = "df_oauth";
/// Time to sign in there.
const STATE_SECS: u64 = 600;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Returned {
    /// For which the provider gives a token.
    code: Option<String>,
    /// As it went out.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Go and sign in with a provider
#[utoipa::path(
    get,
    path = "/api/v1/users/signin/{name}",
    operation_id = "sign_in_with",
    tag = "accounts",
    params(("name" = String, Path, description = "The provider: `github`, `google`, or another that root has added")),
    responses((status = 302, description = "To the provider, which sends back to the callback"), Problems)
)]
pub async fn sign_in_with(
    State(app): State<App>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let Provider { oauth, .. } = app.db().oauth_named(&name).await?;
    let start = app.providers().start(&oauth).await.map_err(|error| failed(&name, error))?;
    let cookie =
        state_cookie(&format!("{name}.{}.{}", start.state, start.verifier), STATE_SECS, is_https(&app, &headers))?;
    Ok((StatusCode::FOUND, [cookie, (LOCATION, location(start.url.as_str())?)]).into_response())
}

/// Come back from a provider
///
/// Signed in: with the cookie. Where `signUp` is switched on, a user is made the first time, a guest.
#[utoipa::path(
    get,
    path = "/api/v1/users/signin/{name}/callback",
    operation_id = "return_from",
    tag = "accounts",
    params(("name" = String, Path, description = "The provider"), Returned),
    responses((status = 302, description = "To the console"), Problems)
)]
pub async fn return_from(
    State(app): State<App>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<Returned>,
) -> Result<Response, ApiError> {
    let kept = cookie(&headers, STATE_COOKIE).and_then(|kept| kept.rsplit_once('.'));
    let went = kept.and_then(|(went, verifier)| Some((went.rsplit_once('.')?, verifier)));
    // Another provider's answer is none of this one's.
    let went = went.filter(|((to, _), _)| *to == name);
    let ((_, state), verifier) = went.ok_or_else(|| {
        ApiError::forbidden("this browser did not start to sign in here, or too long ago; start anew")
    })?;
    if query.state.as_deref() != Some(state) {
        return Err(ApiError::forbidden("this answer of a provider is for another sign-in; start anew"));
    }
    let Some(code) = query.code else {
        let why = query.error.unwrap_or_else(|| "no reason".to_owned());
        let why: String = why.chars().filter(|c| !c.is_control()).take(100).collect();
        return Err(ApiError::forbidden(format!("{name} lets nobody in: {why}")));
    };
    let Provider { oauth, sealed_secret } = app.db().oauth_named(&name).await?;
    let secret = app.seal().open(&sealed_as(&name), &sealed_secret).map_err(ApiError::internal)?;
    let person = app.providers().finish(&oauth, &secret, code, verifier.to_owned()).await;
    let person = person.map_err(|error| failed(&name, error))?;
    let user = app.db().user_of(oauth.id, &person, app.config().sign_up, now_ms()).await?;
    if user.state == UserState::Disable {
        return Err(ApiError::forbidden(format!("account {} is disabled; root can enable it", user.name)));
    }
    tracing::info!(user = user.id, provider = name, "a user signed in with a provider");
    let session = begin_session(&user);
    app.db().start_session(&session.row()).await?;
    let secure = is_https(&app, &headers);
    let over = state_cookie("", 0, secure)?;
    let (_, cookie) = session.token(&app, &headers)?;
    let home = (LOCATION, HeaderValue::from_static("/"));
    let mut response = (StatusCode::FOUND, [over, home], Extension(ActedAs(user.name))).into_response();
    response.headers_mut().append(cookie.0, cookie.1);
    Ok(response)
}

fn failed(name: &str, error: ProviderError) -> ApiError {
    if let ProviderError::Refused(_) = error {
        return ApiError::forbidden(format!("{name} does not say who this is; start anew")).with_cause(error);
    }
    ApiError::new(Code::BadGateway, format!("{name} cannot say who this is; try again")).with_cause(error)
}

fn location(url: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(url).map_err(ApiError::internal)
}

/// Lax, because the provider's page sends the browser here.
fn state_cookie(value: &str, seconds: u64, secure: bool) -> Result<(HeaderName, HeaderValue), ApiError> {
    let path = "/api/v1/users/signin";
    hidden_cookie(&format!("{STATE_COOKIE}={value}; Path={path}; Max-Age={seconds}; SameSite=Lax"), secure)
}
