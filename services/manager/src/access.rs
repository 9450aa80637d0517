//! Who calls, and whether that is enough: 401 asks who, 403 says not you.
//! **Invariants.** Every operation has its rule in the one list of `api.rs`, and the document says the same; a path
//! without a rule answers nobody. What is to change something is in the audit log before it is done.

use std::num::NonZeroU64;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use df_api::manager::{Action, ActorType, Permission, Scope, TokenState, User};
use df_api::{Code, Problem};
use df_http::ApiError;
use df_http::rate_limit::RateLimit;
use http::Method;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::request::Parts;

use crate::app::App;
use crate::db::audits::{NewAudit, Outcome};
use crate::db::now_ms;
use crate::operations::Rules;
use crate::secret::{self, Purpose};

pub const SESSION_COOKIE: &str = "df_session";

/// Who may call an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anyone: who that is, is what the operation finds out.
    Anyone,
    /// Anyone, and whoever is signed in says so: the operation looks.
    MaybeSignedIn,
    /// Anyone who comes back from a provider: a change, though a GET.
    Returning,
    /// Schedulers, seed peers and daemons: by [`crate::joiner::Joiner`].
    Component,
    /// Who is signed in.
    SignedIn,
    /// Whose roles permit it; a personal access token with the scope for it, too.
    Permitted(Permission),
    /// The user whose id is in the path; others as before.
    Own(Permission),
}

/// Who is signed in, and what for.
#[derive(Clone)]
pub struct Caller {
    pub user: User,
    permissions: Vec<Permission>,
    by: By,
}

#[derive(Clone)]
enum By {
    /// Its id.
    Session(String),
    Token {
        name: String,
        scopes: Vec<Scope>,
    },
}

/// On an answer: whom the operation found its caller to be.
#[derive(Clone)]
pub struct ActedAs(pub String);

/// On a refusal: whom its caller said to be.
#[derive(Clone)]
pub struct SaidToBe(pub String);

/// How a call that is audited ended.
struct End {
    status_code: u16,
    detail: String,
    actor: Option<(ActorType, String)>,
}

/// As the table takes them.
const AUDITED_PATH_BYTES_MAX: usize = 1024;
const AUDITED_DETAIL_BYTES_MAX: usize = 4096;

/// What [`authorize`] goes by.
pub struct Guard {
    app: App,
    rules: Rules,
    strangers: RateLimit,
}

/// Calls of those who are not signed in yet that are to change something: signing in and up. Each is written down, and
/// may cost a hash; more than a few people at once do not sign in.
const STRANGERS_PER_S: u64 = 100;

/// Around every operation.
pub async fn authorize(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    guard.pass(request, next).await.unwrap_or_else(ApiError::into_response)
}

// === impl Guard ===

impl Guard {
    pub fn new(app: App, rules: Rules) -> Self {
        Self { app, rules, strangers: RateLimit::new(NonZeroU64::new(STRANGERS_PER_S)) }
    }

    async fn pass(&self, request: Request, next: Next) -> Result<Response, ApiError> {
        let (mut parts, body) = request.into_parts();
        let rule = self.rule(&parts)?;
        let caller = match rule {
            Rule::Anyone | Rule::MaybeSignedIn | Rule::Returning | Rule::Component => None,
            Rule::SignedIn | Rule::Permitted(_) | Rule::Own(_) => Some(find_caller(&self.app, &parts.headers).await?),
        };
        let allowed = match &caller {
            Some(caller) => caller.check(rule, &mut parts).await,
            None => Ok(()),
        };
        let call = (parts.method.clone(), parts.uri.path().to_owned());
        let reads = matches!(call.0, Method::GET | Method::HEAD) && *rule != Rule::Returning;
        let is_audited = !reads && *rule != Rule::Component;
        if is_audited && caller.is_none() && !self.strangers.try_take() {
            return Err(ApiError::new(Code::TooManyRequests, "too many sign in at once; try again in a second")
                .with_header(RETRY_AFTER, HeaderValue::from(1)));
        }
        let audit = if is_audited { Some(self.begin_audit(&call, caller.as_ref()).await?) } else { None };
        if let Some(caller) = caller {
            parts.extensions.insert(caller);
        }
        let response = match allowed {
            Ok(()) => next.run(Request::from_parts(parts, body)).await,
            Err(refusal) => refusal.into_response(),
        };
        if let Some(id) = audit {
            self.end_audit(id, &call, End::of(&response)).await;
        }
        Ok(response)
    }

    fn rule(&self, parts: &Parts) -> Result<&Rule, ApiError> {
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let rule = self.rules.of(&parts.method, path);
        rule.ok_or_else(|| ApiError::internal(format!("no rule says who may call {} {path}", parts.method)))
    }

    async fn begin_audit(&self, (method, path): &(Method, String), caller: Option<&Caller>) -> Result<i64, ApiError> {
        let (actor_type, actor_name) = caller.map_or((ActorType::Unknown, String::new()), Caller::actor);
        let path = &path[..path.floor_char_boundary(AUDITED_PATH_BYTES_MAX)];
        let new = NewAudit { actor_type, actor_name: &actor_name, operation: method.as_str(), path, now: now_ms() };
        Ok(self.app.db().begin_audit(&new).await?)
    }

    /// It is done by now, so who asked for it is answered all the same; the row says that its end is not known.
    async fn end_audit(&self, id: i64, (method, path): &(Method, String), end: End) {
        let End { status_code, detail, actor } = end;
        let actor = actor.as_ref().map(|(kind, name)| (*kind, name.as_str()));
        let outcome = Outcome { status_code, detail: &detail, actor };
        if let Err(error) = self.app.db().end_audit(id, &outcome, now_ms()).await {
            let error = df_http::error::chain(&error);
            tracing::error!(audit = id, %method, path, status_code, detail, error, "the end of a call is not in the audit log");
        }
    }
}

// === impl End ===

impl End {
    fn of(response: &Response) -> Self {
        let extensions = response.extensions();
        let acted = extensions.get::<ActedAs>().map(|ActedAs(name)| (ActorType::User, name.clone()));
        let said = extensions.get::<SaidToBe>().map(|SaidToBe(name)| (ActorType::Unknown, name.clone()));
        let detail = extensions.get::<Problem>().map_or("", |problem| problem.detail.as_str());
        Self {
            status_code: response.status().as_u16(),
            detail: detail[..detail.floor_char_boundary(AUDITED_DETAIL_BYTES_MAX)].to_owned(),
            actor: acted.or(said),
        }
    }
}

// === impl Caller ===

impl Caller {
    /// The session by which it is; a token has none.
    pub fn session(&self) -> Option<&str> {
        match &self.by {
            By::Session(id) => Some(id),
            By::Token { .. } => None,
        }
    }

    pub fn may(&self, wanted: &Permission) -> Result<(), ApiError> {
        if let By::Token { name, scopes } = &self.by
            && !scopes.iter().any(|scope| scope.object() == wanted.object)
        {
            let has = match scopes.iter().map(|scope| scope.object()).collect::<Vec<_>>() {
                objects if objects.is_empty() => "nothing".to_owned(),
                objects => objects.join(", "),
            };
            return Err(ApiError::forbidden(format!("token {name} opens {has}, not {}", wanted.object)));
        }
        if self.permissions.iter().any(|permission| permission.covers(wanted)) {
            return Ok(());
        }
        let roles = if self.user.roles.is_empty() { "none".to_owned() } else { self.user.roles.join(", ") };
        Err(ApiError::forbidden(format!(
            "this takes {wanted}; the roles of {} ({roles}) do not permit it; root gives roles",
            self.user.name
        )))
    }

    /// Whether it may do all of these: nobody gives, or takes over, more than the own rights.
    pub fn may_all(&self, wanted: &[Permission]) -> Result<(), ApiError> {
        let lacking = wanted.iter().find(|wanted| !self.permissions.iter().any(|own| own.covers(wanted)));
        lacking.map_or(Ok(()), |lacking| {
            Err(ApiError::forbidden(format!("that is more than {} may do: it takes {lacking} as well", self.user.name)))
        })
    }

    /// Whether it may change this account, or act for it. Of others: with the right to write users, and no less rights than
    /// theirs.
    pub async fn may_act_for(&self, app: &App, user_id: i64) -> Result<(), ApiError> {
        if user_id == self.user.id {
            return Ok(());
        }
        self.may_write_users()?;
        self.may_all(&app.db().permissions_of(user_id).await?)
    }

    /// Whether it may also change the accounts of others.
    pub fn may_write_users(&self) -> Result<(), ApiError> {
        self.may(&Permission { object: "users".to_owned(), action: Action::All })
    }

    async fn check(&self, rule: &Rule, parts: &mut Parts) -> Result<(), ApiError> {
        match rule {
            Rule::Anyone | Rule::MaybeSignedIn | Rule::Returning | Rule::Component => Ok(()),
            Rule::SignedIn => self.session().map(drop).ok_or_else(|| {
                ApiError::forbidden("this is for users who are signed in; a personal access token does not open it")
            }),
            Rule::Permitted(permission) => self.may(permission),
            Rule::Own(permission) => {
                let params = RawPathParams::from_request_parts(parts, &()).await.map_err(ApiError::internal)?;
                let own = self.user.id.to_string();
                let is_own = params.iter().any(|(name, value)| name == "id" && value == own);
                if is_own && self.session().is_some() { Ok(()) } else { self.may(permission) }
            }
        }
    }

    fn actor(&self) -> (ActorType, String) {
        match &self.by {
            By::Session(_) => (ActorType::User, self.user.name.clone()),
            By::Token { name, .. } => (ActorType::Pat, format!("{}/{name}", self.user.name)),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("an operation that anyone may call asked who calls"))
    }
}

/// By a user's token, as bearer or cookie, or by a personal access token.
pub async fn find_caller(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let token = bearer(headers).or_else(|| cookie(headers, SESSION_COOKIE)).ok_or_else(|| {
        ApiError::unauthenticated("sign in first: POST /api/v1/users/signin, then Authorization: Bearer or the cookie")
    })?;
    let now = now_ms();
    if Purpose::PersonalAccess.is_of(token) {
        let wrong = || ApiError::unauthenticated("this personal access token is not known, inactive or has expired");
        let hash = secret::hash(token);
        let found = app.lately().tokens.read(app.db(), &hash, app.db().token_user(&hash)).await?;
        let (token, user, permissions) = found
            .filter(|(token, ..)| token.state == TokenState::Active && token.expired_at.timestamp_millis() > now)
            .ok_or_else(wrong)?;
        return Ok(Caller { user, permissions, by: By::Token { name: token.name, scopes: token.scopes } });
    }
    let over = || ApiError::unauthenticated("the session is over or was signed out; sign in again");
    let claims = app.key_ring().check_session(token).await?.ok_or_else(over)?;
    let read = app.db().session_user(&claims.jti, now);
    let (user, permissions) = app.lately().sessions.read(app.db(), &claims.jti, read).await?.ok_or_else(over)?;
    Ok(Caller { user, permissions, by: By::Session(claims.jti) })
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let headers = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = headers.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(known, value)| (known == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let request = http::Request::builder().header(COOKIE, "a=b; df_session=x.y.z; c=d").body(()).unwrap();
        assert_eq!((cookie(request.headers(), SESSION_COOKIE), bearer(request.headers())), (Some("x.y.z"), None));
    }
}
