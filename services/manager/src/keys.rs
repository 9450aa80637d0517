//! The manager's Ed25519 keys: signs users' tokens and cluster credentials, publishes the public halves as JWKS.
//! **Invariant:** what is signed for one audience is refused for any other: a user's token opens no cluster, and a
//! cluster credential opens no console and no other cluster.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use df_api::cluster::{CredentialClaims, ISSUER, Jwk, Jwks, Role, audience};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Days, so that a manager that is down stops nothing.
pub const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A working day.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

const CONSOLE: &str = "console";

/// Claims of a user's token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionClaims {
    pub iss: String,
    pub aud: String,
    /// The user's id.
    pub sub: String,
    /// The session; signing out revokes it.
    pub jti: String,
    pub iat: i64,
    pub exp: i64,
}

/// Signs with the newest, checks with all.
pub struct Keys {
    kid: String,
    signing: EncodingKey,
    jwks: Jwks,
    checking: Vec<(String, DecodingKey)>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the database has no signing key")]
    None,
    #[error("the signing key {0} in the database is not Ed25519 in PKCS#8")]
    Broken(String),
    #[error("no randomness")]
    Random,
    #[error("cannot sign")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A random key: its id (RFC 7638 thumbprint) and PKCS#8.
pub fn generate() -> Result<(String, Vec<u8>), KeyError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Random)?;
    Ok((thumbprint(&public(&pair)), pkcs8.as_ref().to_vec()))
}

fn public(pair: &Ed25519KeyPair) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())
}

fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

// === impl Keys ===

impl Keys {
    /// Key ids and PKCS#8, newest first.
    pub fn new(stored: Vec<(String, Vec<u8>)>) -> Result<Self, KeyError> {
        let mut jwks = Jwks::default();
        let mut checking = Vec::new();
        for (kid, pkcs8) in &stored {
            let broken = |_| KeyError::Broken(kid.clone());
            let x = public(&Ed25519KeyPair::from_pkcs8(pkcs8).map_err(broken)?);
            checking.push((kid.clone(), DecodingKey::from_ed_components(&x)?));
            jwks.keys.push(jwk(kid, x));
        }
        let (kid, pkcs8) = stored.into_iter().next().ok_or(KeyError::None)?;
        Ok(Self { kid, signing: EncodingKey::from_ed_der(&pkcs8), jwks, checking })
    }

    pub fn jwks(&self) -> &Jwks {
        &self.jwks
    }

    /// A cluster credential for the host `hostname`.
    pub fn sign_credential(
        &self,
        cluster_id: i64,
        hostname: &str,
        role: Role,
        now_ms: i64,
    ) -> Result<String, KeyError> {
        let iat = now_ms / 1000;
        self.sign(&CredentialClaims {
            iss: ISSUER.to_owned(),
            aud: audience(cluster_id),
            sub: hostname.to_owned(),
            role,
            iat,
            exp: iat + CREDENTIAL_LIFETIME.as_secs() as i64,
        })
    }

    pub fn sign_session(&self, user: i64, session: &str, now_ms: i64) -> Result<String, KeyError> {
        let iat = now_ms / 1000;
        self.sign(&SessionClaims {
            iss: ISSUER.to_owned(),
            aud: CONSOLE.to_owned(),
            sub: user.to_string(),
            jti: session.to_owned(),
            iat,
            exp: iat + SESSION_LIFETIME.as_secs() as i64,
        })
    }

    /// `None` for anything but a valid user's token.
    pub fn check_session(&self, token: &str) -> Option<SessionClaims> {
        let mut validation = validation();
        validation.set_audience(&[CONSOLE]);
        self.check(token, &validation)
    }

    /// `None` for anything but a valid credential of some cluster; says of which.
    pub fn check_credential(&self, token: &str) -> Option<(i64, CredentialClaims)> {
        let mut validation = validation();
        // The audience is what is to be found out; it is read from the checked claims below.
        validation.validate_aud = false;
        let claims: CredentialClaims = self.check(token, &validation)?;
        let cluster_id = claims.aud.strip_prefix("cluster:")?.parse().ok()?;
        Some((cluster_id, claims))
    }

    fn sign<T: Serialize>(&self, claims: &T) -> Result<String, KeyError> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, claims, &self.signing)?)
    }

    /// False when a key has signed it that is not among these.
    pub fn may_have_signed(&self, token: &str) -> bool {
        let kid = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
        kid.is_none_or(|kid| self.checking.iter().any(|(known, _)| *known == kid))
    }

    fn check<T: serde::de::DeserializeOwned + Clone>(&self, token: &str, validation: &Validation) -> Option<T> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let (_, key) = self.checking.iter().find(|(known, _)| *known == kid)?;
        Some(jsonwebtoken::decode::<T>(token, key, validation).ok()?.claims)
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.leeway = 0;
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation
}

fn jwk(kid: &str, x: String) -> Jwk {
    Jwk {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        kid: kid.to_owned(),
        x,
        alg: "EdDSA".to_owned(),
        usage: "sig".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use df_http::credential::verify;

    use super::*;
    use crate::db::now_ms;

    fn keys() -> Keys {
        Keys::new(vec![generate().unwrap()]).unwrap()
    }

    #[test]
    fn every_member_can_check_a_credential_with_the_published_keys() {
        let keys = keys();
        let token = keys.sign_credential(2, "node-1", Role::SeedPeer, now_ms()).unwrap();
        let claims = verify(&token, keys.jwks(), 2).unwrap();
        assert_eq!((claims.sub.as_str(), claims.role), ("node-1", Role::SeedPeer));
        assert_eq!(claims.exp - claims.iat, 7 * 24 * 3600);
        assert!(verify(&token, keys.jwks(), 1).is_err(), "worth nothing in another cluster");
        assert!(verify(&token, Keys::jwks(&self::keys()), 2).is_err(), "worth nothing under another manager");
        assert_eq!(keys.check_credential(&token).unwrap().0, 2);
    }

    #[test]
    fn audiences_do_not_mix() {
        let keys = keys();
        let session = keys.sign_session(1, "s", now_ms()).unwrap();
        let credential = keys.sign_credential(1, "node-1", Role::Peer, now_ms()).unwrap();
        assert_eq!(keys.check_session(&session).unwrap().jti, "s");
        assert!(keys.check_session(&credential).is_none() && keys.check_credential(&session).is_none());
        assert!(verify(&session, keys.jwks(), 1).is_err());
    }

    #[test]
    fn what_has_expired_or_was_altered_is_refused() {
        let keys = keys();
        let week = CREDENTIAL_LIFETIME.as_millis() as i64;
        let old = keys.sign_credential(1, "node-1", Role::Peer, now_ms() - week - 1_000).unwrap();
        assert!(keys.check_credential(&old).is_none());
        let token = keys.sign_session(1, "s", now_ms()).unwrap();
        let (head, tail) = token.rsplit_once('.').unwrap();
        assert!(keys.check_session(&format!("{head}x.{tail}")).is_none() && keys.check_session("").is_none());
    }

    #[test]
    fn the_newest_key_signs_and_all_check() {
        let old = generate().unwrap();
        let before = Keys::new(vec![old.clone()]).unwrap();
        let after = Keys::new(vec![generate().unwrap(), old]).unwrap();
        let token = before.sign_credential(1, "n", Role::Peer, now_ms()).unwrap();
        assert!(after.check_credential(&token).is_some() && verify(&token, after.jwks(), 1).is_ok());
        let token = after.sign_credential(1, "n", Role::Peer, now_ms()).unwrap();
        assert!(before.check_credential(&token).is_none());
        assert!(!before.may_have_signed(&token) && after.may_have_signed(&token) && before.may_have_signed("made up"));
    }
}
