//! Cluster credentials: schedulers and piece ports accept only members of their own cluster.
//!
//! **Invariants.** A signature is checked once per credential and set of keys; an expired credential opens nothing. What was
//! checked is remembered together with the cluster and the keys that it was checked under, and forgotten with them.

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
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::ApiError;

/// Who may call: holders of a credential of this cluster. Filled by the first answer of the manager, shared by clone.
#[derive(Clone)]
pub struct Gate {
    open: bool,
    admitted: Arc<RwLock<Option<Admitted>>>,
}

/// A membership, and the credentials whose signature was checked under it. Whoever checks one while the membership
/// changes remembers it in the former's, which nobody looks at any more.
#[derive(Clone)]
struct Admitted {
    membership: Arc<Membership>,
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

/// What documents call a credential: `modifiers(&CredentialScheme)` explains `security(("credential" = []))`.
pub struct CredentialScheme;

// === impl Gate ===

impl Gate {
    /// Closed to all until a membership arrives.
    pub fn closed() -> Self {
        Self { open: false, admitted: Arc::default() }
    }

    /// `join: open`, for closed networks: nobody is asked for anything.
    pub fn open() -> Self {
        Self { open: true, admitted: Arc::default() }
    }

    pub fn admit(&self, membership: Membership) {
        let mut admitted = self.admitted.write();
        let same = admitted.take().filter(|former| {
            former.membership.cluster_id == membership.cluster_id && former.membership.jwks == membership.jwks
        });
        let checked = same.map(|former| former.checked).unwrap_or_default();
        *admitted = Some(Admitted { membership: Arc::new(membership), checked });
    }

    pub fn membership(&self) -> Option<Arc<Membership>> {
        self.admitted().map(|admitted| admitted.membership)
    }

    fn admitted(&self) -> Option<Admitted> {
        self.admitted.read().clone()
    }

    /// `Authorization` to show to others of the cluster.
    pub fn credential(&self) -> Option<String> {
        self.membership().map(|membership| membership.credential.clone())
    }

    fn check(&self, authorization: Option<&str>) -> Result<Member, ApiError> {
        if self.open {
            return Ok(Member { claims: None });
        }
        let Some(admitted) = self.admitted() else {
            return Err(ApiError::new(
                Code::Unavailable,
                "not a member of a cluster yet: the manager has not answered",
            ));
        };
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
            ApiError::unauthenticated("a cluster credential is required; discovery at the manager gives one")
        })?;
        Ok(Member { claims: Some(admitted.check(token)?) })
    }
}

// === impl Admitted ===

impl Admitted {
    fn check(&self, token: &str) -> Result<Arc<CredentialClaims>, ApiError> {
        let known = self.checked.read().get(token).cloned();
        if let Some(claims) = known.filter(|claims| claims.exp > now_s()) {
            return Ok(claims);
        }
        let claims = Arc::new(verify(token, &self.membership.jwks, self.membership.cluster_id)?);
        let mut checked = self.checked.write();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(token.to_owned(), claims.clone());
        Ok(claims)
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

// === impl CredentialScheme ===

impl Modify for CredentialScheme {
    fn modify(&self, document: &mut OpenApi) {
        let what = "The manager's, for members of a cluster; asked for unless whoever runs this has opened it to all";
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(what)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("credential", SecurityScheme::Http(scheme));
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use df_api::cluster::Jwk;
    use jsonwebtoken::{EncodingKey, Header};

    use super::*;

    /// One key of a manager.
    struct Signer {
        kid: &'static str,
        pkcs8: Vec<u8>,
    }

    impl Signer {
        fn new(kid: &'static str) -> Self {
            let pkcs8 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec();
            Self { kid, pkcs8 }
        }

        fn sign(&self, cluster_id: i64) -> String {
            let (iss, aud, sub) = (ISSUER.to_owned(), audience(cluster_id), "node-1".to_owned());
            let claims = CredentialClaims { iss, aud, sub, role: Role::Peer, iat: now_s(), exp: now_s() + 600 };
            let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&self.pkcs8)).unwrap()
        }

        fn membership(&self, cluster_id: i64) -> Membership {
            let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap();
            let [kid, kty, crv, alg, usage] = [self.kid, "OKP", "Ed25519", "EdDSA", "sig"].map(str::to_owned);
            let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            let jwks = Jwks { keys: vec![Jwk { kty, crv, kid, x, alg, usage }] };
            let (cluster_name, credential) = ("one".to_owned(), self.sign(cluster_id));
            Membership { cluster_id, cluster_name, credential, jwks }
        }
    }

    fn is_let_in(gate: &Gate, token: &str) -> bool {
        gate.check(Some(&format!("Bearer {token}"))).is_ok()
    }

    #[test]
    fn what_is_checked_while_keys_or_cluster_change_is_not_remembered_under_the_new() {
        let (old, new) = (Signer::new("old"), Signer::new("new"));
        let token = old.sign(1);
        for later in [new.membership(1), old.membership(2)] {
            let gate = Gate::closed();
            gate.admit(old.membership(1));
            // A request has come so far as to know whom to check against, when the manager answers.
            let checking = gate.admitted().unwrap();
            gate.admit(later);
            assert!(checking.check(&token).is_ok());
            assert!(!is_let_in(&gate, &token));
        }
    }

    #[test]
    fn a_renewed_credential_of_its_own_makes_nobody_be_checked_anew() {
        let signer = Signer::new("k");
        let (gate, token) = (Gate::closed(), signer.sign(1));
        gate.admit(signer.membership(1));
        assert!(is_let_in(&gate, &token) && !is_let_in(&gate, &Signer::new("k").sign(1)));
        gate.admit(signer.membership(1));
        assert!(gate.admitted().unwrap().checked.read().contains_key(&token));
        assert!(is_let_in(&gate, &token) && !is_let_in(&gate, &signer.sign(2)));
    }
}
