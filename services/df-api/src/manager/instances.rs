//! Schedulers and seed peers: what people see of them, and how they say that they are there.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{PeerClusterConfig, SchedulerClusterConfig, SeedPeerClusterConfig};
use crate::cluster::{Membership, Place};
use crate::rules::ApplicationRule;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Its lease is running.
    Active,
    /// Its lease has run out, or it left.
    Inactive,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scheduler {
    pub id: i64,
    pub host_name: String,
    pub ip: String,
    pub port: u16,
    /// Where it answers, `http://…` or `https://…`.
    pub url: String,
    pub idc: String,
    pub location: String,
    pub state: InstanceState,
    pub features: Vec<Feature>,
    pub scheduler_cluster_id: i64,
    pub last_keep_alive_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeedPeer {
    pub id: i64,
    pub host_name: String,
    /// Always `super`; kept for scripts.
    #[serde(rename = "type")]
    pub kind: String,
    pub ip: String,
    /// Where it serves pieces.
    pub port: u16,
    /// The same as `port`.
    pub download_port: u16,
    pub url: String,
    pub idc: String,
    pub location: String,
    pub state: InstanceState,
    pub seed_peer_cluster_id: i64,
    pub last_keep_alive_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a scheduler is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Peers ask it for parents.
    Schedule,
    /// It is given jobs.
    Preheat,
}

// === impl Feature ===

impl Feature {
    pub const ALL: [Feature; 2] = [Feature::Schedule, Feature::Preheat];
}

/// A scheduler that is expected: it is inactive until it renews a lease with this host name and ip in this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateSchedulerRequest {
    pub host_name: String,
    pub ip: String,
    pub port: u16,
    pub scheduler_cluster_id: i64,
    #[serde(default)]
    pub idc: String,
    #[serde(default)]
    pub location: String,
    /// All of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Feature>>,
}

/// Only what is present changes; with its next renewal a scheduler says anew where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSchedulerRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Without one it is used for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Feature>>,
}

/// A seed peer that is expected: it is inactive until it renews a lease with this host name and ip in this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateSeedPeerRequest {
    pub host_name: String,
    /// `super`: there are no others.
    #[serde(rename = "type")]
    pub kind: String,
    pub ip: String,
    /// Where it serves pieces.
    pub port: u16,
    /// The same as `port`, or left out: pieces are served there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_port: Option<u16>,
    pub seed_peer_cluster_id: i64,
    #[serde(default)]
    pub idc: String,
    #[serde(default)]
    pub location: String,
}

/// Only what is present changes; with its next renewal a seed peer says anew where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSeedPeerRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

// --- leases ---

/// A scheduler says that it is there: registers the first time, renews afterwards. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SchedulerLeaseRequest {
    pub place: Place,
    /// Where peers reach it.
    pub url: String,
    pub scheduler_cluster_id: i64,
}

/// A seed peer says that it is there. Idempotent. Its credential is discovery's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SeedPeerLeaseRequest {
    pub place: Place,
    /// Where peers reach it.
    pub url: String,
    pub seed_peer_cluster_id: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulerLease {
    pub id: i64,
    /// Silent for this long, it counts as gone.
    pub lease_ms: u64,
    /// Renew after this long.
    pub refresh_after_ms: u64,
    pub membership: Membership,
    pub config: SchedulerClusterConfig,
    pub seed_peer_config: SeedPeerClusterConfig,
    pub peer_config: PeerClusterConfig,
    pub applications: Vec<ApplicationRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeedPeerLease {
    pub id: i64,
    pub lease_ms: u64,
    pub refresh_after_ms: u64,
}
