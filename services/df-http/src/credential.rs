//! Cluster credentials: schedulers and piece ports accept only members of their own cluster.
//!
//! **Invariant.** A signature is checked once per credential and set of keys; an expired credential opens nothing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use df_api::cluster::{CredentialClaims, ISSUER, Jwks, Membership, Role, audience};
use df_api::{Code, HostId};
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;

use crate::ApiError;

/// Who may call: holders of a credential of this cluster. Filled by the first answer of the manager, shared by clone.
#[derive(Clone)]
pub struct Gate {
    open: bool,
    membership: Arc<RwLock<Option<Arc<Membership>>>>,
    /// Credentials whose signature was checked, under the keys in force.
    checked: Arc<RwLock<HashMap<String, Arc<CredentialClaims>>>>,
}

/// More members than a cluster has. When so many have called, all are checked anew.
const CHECKED_MAX: usize = 100_000;

/// Who calls; in the extensions of every request that passed [`require_member`].
#[derive(Clone, Debug)]
pub struct Member {
    /// `None` where nobody is asked for a credential.
    claims: Option<Arc<CredentialClaims>>,
}

// === impl Gate ===

impl Gate {
    /// Closed to all until a membership arrives.
    pub fn closed() -> Self {
        Self { open: false, membership: Arc::default(), checked: Arc::default() }
    }

    /// `join: open`, for closed networks: nobody is asked for anything.
    pub fn open() -> Self {
        Self { open: true, membership: Arc::default(), checked: Arc::default() }
    }

    pub fn admit(&self, membership: Membership) {
        let former = self.membership.write().replace(Arc::new(membership));
        let rules = |membership: &Membership| (membership.cluster_id, membership.jwks.clone());
        if former.map(|former| rules(&former)) != self.membership().map(|new| rules(&new)) {
            self.checked.write().clear();
        }
    }

    pub fn membership(&self) -> Option<Arc<Membership>> {
        self.membership.read().clone()
    }

    /// `Authorization` to show to others of the cluster.
    pub fn credential(&self) -> Option<String> {
        self.membership().map(|membership| membership.credential.clone())
    }

    fn check(&self, authorization: Option<&str>) -> Result<Member, ApiError> {
        if self.open {
            return Ok(Member { claims: None });
        }
        let Some(membership) = self.membership() else {
            return Err(ApiError::new(
                Code::Unavailable,
                "not a member of a cluster yet: the manager has not answered",
            ));
        };
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
            ApiError::unauthenticated("a cluster credential is required; discovery at the manager gives one")
        })?;
        let known = self.checked.read().get(token).cloned();
        if let Some(claims) = known.filter(|claims| claims.exp > now_s()) {
            return Ok(Member { claims: Some(claims) });
        }
        let claims = Arc::new(verify(token, &membership.jwks, membership.cluster_id)?);
        let mut checked = self.checked.write();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(token.to_owned(), claims.clone());
        Ok(Member { claims: Some(claims) })
    }
}

// === impl Member ===

impl Member {
    /// A host speaks for itself only.
    pub fn must_be(&self, host: &HostId) -> Result<(), ApiError> {
        match &self.claims {
            Some(claims) if !host.is_of(&claims.sub) => Err(ApiError::forbidden(format!(
                "the credential is of {:?}, and host {host} is another: a host reports for itself only",
                claims.sub
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Others send a seed peer their origin's tokens, and read the first bytes of it: it takes a join token to become one.
    pub fn must_be_seed(&self, host: &HostId) -> Result<(), ApiError> {
        match &self.claims {
            Some(claims) if claims.role != Role::SeedPeer => Err(ApiError::forbidden(format!(
                "host {host} says that it is a seed peer, and its credential is of a {:?}: a seed peer asks the manager for \
                 its own (scheduler.manager.seedPeer.enable, with a join token)",
                claims.role
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Layer for routers of which every route needs a credential.
pub async fn require_member(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match gate.check(authorization) {
        Ok(member) => {
            request.extensions_mut().insert(member);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Seconds since the epoch.
fn now_s() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap_or(i64::MAX)
}

/// Checks signature, issuer, audience and expiry.
pub fn verify(token: &str, jwks: &Jwks, cluster_id: i64) -> Result<CredentialClaims, ApiError> {
    let refuse = |why: String| ApiError::unauthenticated(format!("the cluster credential is not valid: {why}"));
    let header = jsonwebtoken::decode_header(token).map_err(|error| refuse(error.to_string()))?;
    let key = jwks.keys.iter().find(|key| Some(&key.kid) == header.kid.as_ref());
    let key = key.ok_or_else(|| refuse("signed with a key this cluster does not know".to_owned()))?;
    let key = DecodingKey::from_ed_components(&key.x).map_err(|error| refuse(error.to_string()))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Looked at below: who is another cluster's member is known, and may not.
    validation.validate_aud = false;
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    match jsonwebtoken::decode::<CredentialClaims>(token, &key, &validation) {
        Ok(data) if data.claims.aud != audience(cluster_id) => Err(ApiError::forbidden(format!(
            "the credential is of {}, and this is {}",
            data.claims.aud,
            audience(cluster_id)
        ))),
        Ok(data) => Ok(data.claims),
        Err(error) => Err(refuse(error.to_string())),
    }
}
