//! Clusters as components see them: where a peer is, which cluster takes it, and the credential that proves it belongs.

use serde::{Deserialize, Serialize};

/// Where a peer stands; matched against the clusters' [`crate::manager::Scopes`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub hostname: String,
    /// The address other peers reach it at, without port.
    pub ip: String,
    #[serde(default)]
    pub idc: String,
    /// `area|country|province|city`, as much of it as is known.
    #[serde(default)]
    pub location: String,
}

/// What a component is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Peer,
    SeedPeer,
    Scheduler,
}

/// Claims of a cluster credential, a JWT signed by the manager with Ed25519. Its audience is [`audience`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialClaims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// `cluster:<id>`: a credential of one cluster is worth nothing in another.
    pub aud: String,
    /// The host's name.
    pub sub: String,
    pub role: Role,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch; days ahead, so that a manager outage stops nothing.
    pub exp: i64,
}

pub const ISSUER: &str = "dragonfly-manager";

pub fn audience(cluster_id: i64) -> String {
    format!("cluster:{cluster_id}")
}

/// Public keys of the manager (RFC 7517), to check cluster credentials with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jwks {
    pub keys: Vec<Jwk>,
}

/// An Ed25519 public key (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jwk {
    /// `OKP`
    pub kty: String,
    /// `Ed25519`
    pub crv: String,
    pub kid: String,
    /// The key, base64url.
    pub x: String,
    /// `EdDSA`
    pub alg: String,
    /// `sig`
    #[serde(rename = "use")]
    pub usage: String,
}

/// What a member of a cluster gets from the manager, besides what it asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Membership {
    pub cluster_id: i64,
    pub cluster_name: String,
    /// Sent as `Authorization: Bearer` to schedulers and peers of the cluster.
    pub credential: String,
    /// To check the credentials of others with.
    pub jwks: Jwks,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("cluster_id", &self.cluster_id)
            .field("cluster_name", &self.cluster_name)
            .field("credential", &"redacted")
            .finish_non_exhaustive()
    }
}
