//! Who calls: extractors by which every operation declares what it needs. 401 asks who, 403 says not you.
//! **Invariant:** a handler without one of these extractors is public; a test lists the public ones.

use axum::extract::FromRequestParts;
use df_api::cluster::Role;
use df_api::manager::User;
use df_http::ApiError;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;

use crate::app::App;
use crate::config::Join;
use crate::db::now_ms;
use crate::join_token;

pub const SESSION_COOKIE: &str = "df_session";

/// A signed-in user who may read.
pub struct Reader {
    pub user: User,
    pub session: String,
}

/// A signed-in user who may do everything.
pub struct Root;

/// A component that may join some cluster; [`Joiner::may_join`] says whether this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joiner {
    /// `join: open`.
    Anyone,
    /// Holder of a join token, for one cluster or for all.
    Token { cluster_id: Option<i64> },
    /// Holder of a credential.
    Member { cluster_id: i64, role: Role },
}

// === impl Reader ===

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(parts).or_else(|| cookie(parts)).ok_or_else(|| {
            ApiError::unauthenticated(
                "sign in first: POST /api/v1/users/signin, then Authorization: Bearer or the cookie",
            )
        })?;
        let over = || ApiError::unauthenticated("the session is over or was signed out; sign in again");
        let claims = app.keys_for(token).await?.check_session(token).ok_or_else(over)?;
        let user = app.db().session_user(&claims.jti, now_ms()).await?.ok_or_else(over)?;
        if !user.roles.iter().any(|role| matches!(role.as_str(), "root" | "guest")) {
            return Err(ApiError::forbidden(format!("{} has no role; root gives one", user.name)));
        }
        Ok(Self { user, session: claims.jti })
    }
}

// === impl Root ===

impl FromRequestParts<App> for Root {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let user = Reader::from_request_parts(parts, app).await?.user;
        match user.roles.iter().any(|role| role == "root") {
            true => Ok(Self),
            false => {
                Err(ApiError::forbidden(format!("only root may do this; {} is {}", user.name, user.roles.join(", "))))
            }
        }
    }
}

// === impl Joiner ===

impl FromRequestParts<App> for Joiner {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if app.config().join == Join::Open {
            return Ok(Self::Anyone);
        }
        let secret = bearer(parts).ok_or_else(|| {
            ApiError::unauthenticated("Authorization: Bearer with a join token or a cluster credential is required")
        })?;
        if let Some(token) = app.db().join_token(&join_token::hash(secret)).await? {
            return Ok(Self::Token { cluster_id: token.cluster_id });
        }
        match app.keys_for(secret).await?.check_credential(secret) {
            Some((cluster_id, claims)) => Ok(Self::Member { cluster_id, role: claims.role }),
            None => Err(ApiError::unauthenticated(
                "neither a join token of this manager nor a valid cluster credential; root makes join tokens",
            )),
        }
    }
}

impl Joiner {
    /// Where it has to be, since it may be nowhere else.
    pub fn only_cluster(&self) -> Option<i64> {
        match *self {
            Self::Anyone => None,
            Self::Token { cluster_id } => cluster_id,
            Self::Member { cluster_id, .. } => Some(cluster_id),
        }
    }

    /// A credential renews what it is: one of a peer, which other peers get to see, makes nobody a scheduler.
    pub fn may_join(&self, cluster: i64, role: Role) -> Result<(), ApiError> {
        match *self {
            Self::Anyone | Self::Token { cluster_id: None } => Ok(()),
            Self::Token { cluster_id: Some(own) } if own == cluster => Ok(()),
            Self::Token { cluster_id: Some(own) } => {
                Err(ApiError::forbidden(format!("this join token is for cluster {own}, not for cluster {cluster}")))
            }
            Self::Member { cluster_id: own, .. } if own != cluster => Err(ApiError::forbidden(format!(
                "this credential is of cluster {own}; joining cluster {cluster} takes a join token"
            ))),
            // Every member may do what a plain peer may.
            Self::Member { role: own, .. } if own == role || role == Role::Peer => Ok(()),
            Self::Member { role: own, .. } => Err(ApiError::forbidden(format!(
                "this credential is of a {own:?}; joining as {role:?} takes a join token"
            ))),
        }
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(parts: &Parts) -> Option<&str> {
    let headers = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = headers.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
}

#[cfg(test)]
mod tests {
    use df_api::Code;

    use super::*;

    #[test]
    fn a_token_of_one_cluster_opens_that_one() {
        let bound = Joiner::Token { cluster_id: Some(2) };
        assert!(bound.may_join(2, Role::Scheduler).is_ok());
        assert_eq!(bound.may_join(1, Role::Peer).unwrap_err().code(), Code::Forbidden);
        assert!(Joiner::Token { cluster_id: None }.may_join(7, Role::SeedPeer).is_ok());
    }

    #[test]
    fn a_peer_cannot_make_itself_a_scheduler() {
        let peer = Joiner::Member { cluster_id: 2, role: Role::Peer };
        assert!(peer.may_join(2, Role::Peer).is_ok());
        assert!(peer.may_join(2, Role::Scheduler).is_err() && peer.may_join(2, Role::SeedPeer).is_err());
        let seed = Joiner::Member { cluster_id: 2, role: Role::SeedPeer };
        assert!(seed.may_join(2, Role::SeedPeer).is_ok() && seed.may_join(2, Role::Peer).is_ok());
        assert!(seed.may_join(1, Role::SeedPeer).is_err());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let request = http::Request::builder().header(COOKIE, "a=b; df_session=x.y.z; c=d").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        assert_eq!((cookie(&parts), bearer(&parts)), (Some("x.y.z"), None));
    }
}
