//! Which component calls, and which cluster it may join: what leases and discovery declare.
//! **Invariant:** a credential renews what it is; it makes nobody more, and a member of no other cluster.

use axum::extract::FromRequestParts;
use df_api::cluster::Role;
use df_http::ApiError;
use http::request::Parts;

use crate::access::bearer;
use crate::app::App;
use crate::config::Join;
use crate::secret;

/// A component that may join some cluster; [`Joiner::may_join`] says whether this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joiner {
    /// `join: open`.
    Anyone,
    /// Holder of a join token, for one cluster or for all.
    Token { cluster_id: Option<i64> },
    /// Holder of a credential.
    Member { cluster_id: i64, role: Role, hostname: String },
}

// === impl Joiner ===

impl FromRequestParts<App> for Joiner {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if app.config().join == Join::Open {
            return Ok(Self::Anyone);
        }
        let secret = bearer(&parts.headers).ok_or_else(|| {
            ApiError::unauthenticated("Authorization: Bearer with a join token or a cluster credential is required")
        })?;
        if let Some((cluster_id, claims)) = app.key_ring().check_credential(secret).await? {
            return Ok(Self::Member { cluster_id, role: claims.role, hostname: claims.sub });
        }
        let hash = secret::hash(secret);
        match app.lately().join_tokens.read(app.db(), &hash, app.db().join_token(&hash)).await? {
            Some(token) => Ok(Self::Token { cluster_id: token.cluster_id }),
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

    /// A credential renews what it is: one of a peer, which other peers get to see, makes nobody a scheduler, and of
    /// no other host.
    pub fn may_join(&self, cluster: i64, role: Role, host: &str) -> Result<(), ApiError> {
        match self {
            Self::Anyone | Self::Token { cluster_id: None } => Ok(()),
            Self::Token { cluster_id: Some(own) } if *own == cluster => Ok(()),
            Self::Token { cluster_id: Some(own) } => {
                Err(ApiError::forbidden(format!("this join token is for cluster {own}, not for cluster {cluster}")))
            }
            Self::Member { cluster_id: own, .. } if *own != cluster => Err(ApiError::forbidden(format!(
                "this credential is of cluster {own}; joining cluster {cluster} takes a join token"
            ))),
            Self::Member { hostname, .. } if hostname != host => Err(ApiError::forbidden(format!(
                "this credential is of host {hostname}; joining as {host} takes a join token"
            ))),
            // Every member may do what a plain peer may.
            Self::Member { role: own, .. } if *own == role || role == Role::Peer => Ok(()),
            Self::Member { role: own, .. } => Err(ApiError::forbidden(format!(
                "this credential is of a {own:?}; joining as {role:?} takes a join token"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use df_api::Code;

    use super::*;

    #[test]
    fn a_token_of_one_cluster_opens_that_one() {
        let bound = Joiner::Token { cluster_id: Some(2) };
        assert!(bound.may_join(2, Role::Scheduler, "a").is_ok());
        assert_eq!(bound.may_join(1, Role::Peer, "a").unwrap_err().code(), Code::Forbidden);
        assert!(Joiner::Token { cluster_id: None }.may_join(7, Role::SeedPeer, "a").is_ok());
    }

    #[test]
    fn a_peer_cannot_make_itself_a_scheduler() {
        let member = |role| Joiner::Member { cluster_id: 2, role, hostname: "a".to_owned() };
        let peer = member(Role::Peer);
        assert!(peer.may_join(2, Role::Peer, "a").is_ok());
        assert!(peer.may_join(2, Role::Scheduler, "a").is_err() && peer.may_join(2, Role::SeedPeer, "a").is_err());
        let seed = member(Role::SeedPeer);
        assert!(seed.may_join(2, Role::SeedPeer, "a").is_ok() && seed.may_join(2, Role::Peer, "a").is_ok());
        assert!(seed.may_join(1, Role::SeedPeer, "a").is_err());
    }

    #[test]
    fn a_member_is_no_other_host() {
        let seed = Joiner::Member { cluster_id: 2, role: Role::SeedPeer, hostname: "a".to_owned() };
        let refused = seed.may_join(2, Role::SeedPeer, "b").unwrap_err();
        assert!(refused.detail().contains("host a") && refused.detail().contains("as b"), "{}", refused.detail());
    }
}
