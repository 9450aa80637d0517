//! Cluster credentials: schedulers and piece ports accept only members of their own cluster.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use df_api::Code;
use df_api::cluster::{CredentialClaims, ISSUER, Jwks, Membership, audience};
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;

use crate::ApiError;

/// Who may call: holders of a credential of this cluster. Filled by the first answer of the manager, shared by clone.
#[derive(Clone)]
pub struct Gate {
    open: bool,
    membership: Arc<RwLock<Option<Arc<Membership>>>>,
}

// === impl Gate ===

impl Gate {
    /// Closed to all until a membership arrives.
    pub fn closed() -> Self {
        Self { open: false, membership: Arc::default() }
    }

    /// `join: open`, for closed networks: nobody is asked for anything.
    pub fn open() -> Self {
        Self { open: true, membership: Arc::default() }
    }

    pub fn admit(&self, membership: Membership) {
        *self.membership.write() = Some(Arc::new(membership));
    }

    pub fn membership(&self) -> Option<Arc<Membership>> {
        self.membership.read().clone()
    }

    /// `Authorization` to show to others of the cluster.
    pub fn credential(&self) -> Option<String> {
        self.membership().map(|membership| membership.credential.clone())
    }

    fn check(&self, authorization: Option<&str>) -> Result<(), ApiError> {
        if self.open {
            return Ok(());
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
        verify(token, &membership.jwks, membership.cluster_id).map(drop)
    }
}

/// Layer for routers of which every route needs a credential.
pub async fn require_member(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match gate.check(authorization) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Checks signature, issuer, audience and expiry.
pub fn verify(token: &str, jwks: &Jwks, cluster_id: i64) -> Result<CredentialClaims, ApiError> {
    let refuse = |why: String| ApiError::unauthenticated(format!("the cluster credential is not valid: {why}"));
    let header = jsonwebtoken::decode_header(token).map_err(|error| refuse(error.to_string()))?;
    let key = jwks.keys.iter().find(|key| Some(&key.kid) == header.kid.as_ref());
    let key = key.ok_or_else(|| refuse("signed with a key this cluster does not know".to_owned()))?;
    let key = DecodingKey::from_ed_components(&key.x).map_err(|error| refuse(error.to_string()))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience(cluster_id)]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    match jsonwebtoken::decode::<CredentialClaims>(token, &key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(refuse(error.to_string())),
    }
}
