//! Signing in, going on, signing out.
//! **Invariant:** a refused sign-in tells nobody whether the account exists, neither in words nor in time.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use df_api::Code;
use df_api::manager::{SignInRequest, SignInResponse, User, UserState};
use df_http::extract::Json;
use df_http::{ApiError, Problems};
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE};
use uuid::Uuid;

use crate::access::{ActedAs, Caller, SESSION_COOKIE, SaidToBe};
use crate::app::App;
use crate::check_cluster::{at_most, ensure};
use crate::db::sessions::NewSession;
use crate::db::tries::{TRIES_MAX, Try};
use crate::db::{now_ms, time};
use crate::keys::SESSION_LIFETIME;

const NAME_CHARS_MAX: usize = 100;
const PASSWORD_CHARS_MAX: usize = 1024;

/// Sign in with a password
///
/// After 5 wrong tries sign-in of that name pauses for a minute: 429 with `Retry-After`.
#[utoipa::path(
    post,
    path = "/api/v1/users/signin",
    operation_id = "sign_in",
    tag = "accounts",
    request_body = SignInRequest,
    responses((status = 200, description = "Signed in; the cookie is set too", body = SignInResponse), Problems)
)]
pub async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    Json(body): Json<SignInRequest>,
) -> Result<Response, ApiError> {
    let SignInRequest { name, password } = body;
    at_most("name", &name, NAME_CHARS_MAX)?;
    // The value stays out of the message.
    ensure(password.chars().count() <= PASSWORD_CHARS_MAX, "password", "", || {
        format!("at most {PASSWORD_CHARS_MAX} characters")
    })?;

    let left = count_try(&app, &name).await?;
    let (user, hash) = app.db().account(&name).await?.map(|account| (account.user, account.password_hash)).unzip();
    let right = app.passwords().verify(password, hash).await?;
    let refused = |error: ApiError| (Extension(SaidToBe(name.clone())), error).into_response();
    let Some(user) = user.filter(|_| right) else {
        tracing::info!(left, "a sign-in was refused");
        return Ok(refused(wrong(left)));
    };
    if user.state == UserState::Disable {
        return Ok(refused(ApiError::forbidden(format!("account {name} is disabled; root can enable it"))));
    }
    app.db().forget_tries(&name).await?;
    let session = begin_session(&user);
    app.db().start_session(&session.row()).await?;
    session.answer(&app, &headers, user)
}

/// Sign out
///
/// The token is worth nothing from now on, wherever else it is kept.
#[utoipa::path(
    post,
    path = "/api/v1/users/signout",
    operation_id = "sign_out",
    tag = "accounts",
    responses((status = 200, description = "Signed out"), Problems)
)]
pub async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    app.db().revoke_session(caller.session().unwrap_or_default(), now_ms()).await?;
    Ok([set_cookie("", 0, is_https(&app, &headers))?])
}

/// Go on being signed in
///
/// A new token for the one that asks, which is worth nothing from now on.
#[utoipa::path(
    post,
    path = "/api/v1/users/refresh_token",
    operation_id = "refresh_token",
    tag = "accounts",
    responses((status = 200, description = "The new token; the cookie is set too", body = SignInResponse), Problems)
)]
pub async fn refresh_token(State(app): State<App>, headers: HeaderMap, caller: Caller) -> Result<Response, ApiError> {
    let session = begin_session(&caller.user);
    if !app.db().replace_session(caller.session().unwrap_or_default(), &session.row()).await? {
        return Err(ApiError::unauthenticated("the session was signed out meanwhile; sign in again"));
    }
    session.answer(&app, &headers, caller.user)
}

/// Who is signed in
#[utoipa::path(
    get,
    path = "/api/v1/session",
    operation_id = "get_session",
    tag = "accounts",
    responses((status = 200, description = "The user of this session", body = User), Problems)
)]
pub async fn get_session(caller: Caller) -> Json<User> {
    Json(caller.user)
}

/// One that is about to begin.
pub struct Session {
    id: String,
    user_id: i64,
    now: i64,
    expires: i64,
}

pub fn begin_session(user: &User) -> Session {
    let now = now_ms();
    // Whole seconds, as in the token.
    let expires = (now / 1000 + SESSION_LIFETIME.as_secs() as i64) * 1000;
    Session { id: Uuid::new_v4().to_string(), user_id: user.id, now, expires }
}

// === impl Session ===

impl Session {
    pub fn row(&self) -> NewSession<'_> {
        NewSession { id: &self.id, user_id: self.user_id, now: self.now, expires: self.expires }
    }

    /// And the cookie that holds it.
    pub fn token(&self, app: &App, headers: &HeaderMap) -> Result<(String, (HeaderName, HeaderValue)), ApiError> {
        let token = app.keys().sign_session(self.user_id, &self.id, self.now).map_err(ApiError::internal)?;
        let cookie = set_cookie(&token, SESSION_LIFETIME.as_secs(), is_https(app, headers))?;
        Ok((token, cookie))
    }

    /// The token, as answer and as cookie.
    fn answer(self, app: &App, headers: &HeaderMap, user: User) -> Result<Response, ApiError> {
        let (token, cookie) = self.token(app, headers)?;
        let acted = Extension(ActedAs(user.name.clone()));
        Ok(([cookie], acted, Json(SignInResponse { token, expire: time(self.expires), user })).into_response())
    }
}

/// Before the password is looked at: how many are left after this one.
pub async fn count_try(app: &App, name: &str) -> Result<i64, ApiError> {
    match app.db().begin_try(name, now_ms()).await? {
        Try::Counted { left } => Ok(left),
        Try::Paused { ms } => Err(paused(ms)),
    }
}

pub fn wrong(left: i64) -> ApiError {
    ApiError::unauthenticated(match left {
        0 => "Account or password is wrong. Sign-in now pauses for a minute.".to_owned(),
        1 => format!("Account or password is wrong. After {TRIES_MAX} tries sign-in pauses for a minute; 1 is left."),
        _ => format!(
            "Account or password is wrong. After {TRIES_MAX} tries sign-in pauses for a minute; {left} are left."
        ),
    })
}

fn paused(ms: i64) -> ApiError {
    let seconds = (ms + 999) / 1000;
    ApiError::new(
        Code::TooManyRequests,
        format!("Sign-in of this account pauses after {TRIES_MAX} wrong tries; try again in {seconds} s."),
    )
    .with_header(RETRY_AFTER, HeaderValue::from(seconds))
}

/// `X-Forwarded-Proto` may be made up; then the caller only gets a cookie that its own browser does not send over http.
pub fn is_https(app: &App, headers: &HeaderMap) -> bool {
    app.config().https || headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https")
}

fn set_cookie(token: &str, seconds: u64, secure: bool) -> Result<(HeaderName, HeaderValue), ApiError> {
    hidden_cookie(&format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={seconds}; SameSite=Strict"), secure)
}

/// Out of reach of scripts, and of logs.
pub fn hidden_cookie(cookie: &str, secure: bool) -> Result<(HeaderName, HeaderValue), ApiError> {
    let secure = if secure { "; Secure" } else { "" };
    let mut value = HeaderValue::from_str(&format!("{cookie}; HttpOnly{secure}")).map_err(ApiError::internal)?;
    value.set_sensitive(true);
    Ok((SET_COOKIE, value))
}
