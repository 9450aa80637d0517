//! The manager's resources. Paths and field names follow the incumbent's `/api/v1`, so that scripts keep working;
//! leases and discovery are the components' own calls beside them.

mod accounts;
mod audits;
mod discovery;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cluster::{Membership, Place};
use crate::rules::{ApplicationPriority, ApplicationRule, BlockList, Weights};
pub use accounts::{
    Action, CreatePersonalAccessTokenRequest, CreateRoleRequest, Permission, PersonalAccessToken, ResetPasswordRequest,
    RolePermissions, Scope, SignInRequest, SignInResponse, SignUpRequest, TokenState, UpdatePersonalAccessTokenRequest,
    UpdateUserRequest, User, UserState,
};
pub use audits::{ActorType, Audit, AuditState, EventType};
pub use discovery::{ConsideredCluster, DiscoveryRequest, DiscoveryResponse, LocationFit, Verdict};

// --- clusters ---

/// Which peers a cluster takes. Priority: CIDRs, hostnames, IDC, location; empty matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Scopes {
    /// One or several separated by `|`; letter case does not matter. At most 100 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub idc: String,
    /// `area|country|province|city`. At most 100 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub location: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 1000))]
    pub cidrs: Vec<IpNet>,
    /// Regular expressions that may match anywhere in the name, as the incumbent's do.
    #[cfg_attr(feature = "openapi", schema(max_items = 30))]
    pub hostnames: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerClusterConfig {
    /// Those who have the whole content that one peer reads from, 1 to 20. Rows of relays have a width of their own.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 20))]
    pub candidate_parent_limit: u32,
    /// Of those who have the whole content, so many are looked at for one answer, 10 to 1000.
    #[cfg_attr(feature = "openapi", schema(minimum = 10, maximum = 1000))]
    pub filter_parent_limit: u32,
    /// Jobs a minute, 1 to 1,000,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000000))]
    pub job_rate_limit: u32,
    pub weights: Weights,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SeedPeerClusterConfig {
    /// Children served at once by a seed peer, 1 to 50,000; less where the host itself takes fewer.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 50000))]
    pub load_limit: u32,
    pub block_list: BlockList,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PeerClusterConfig {
    /// Children served at once by a peer, 1 to 2,000; less where the host itself takes fewer.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2000))]
    pub load_limit: u32,
    pub block_list: BlockList,
}

impl Default for SchedulerClusterConfig {
    fn default() -> Self {
        Self { candidate_parent_limit: 3, filter_parent_limit: 15, job_rate_limit: 10, weights: Weights::default() }
    }
}

impl Default for SeedPeerClusterConfig {
    fn default() -> Self {
        Self { load_limit: 2000, block_list: BlockList::default() }
    }
}

impl Default for PeerClusterConfig {
    fn default() -> Self {
        Self { load_limit: 200, block_list: BlockList::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateClusterRequest {
    /// Unique, 1 to 40 of `A-Z a-z 0-9 @ $ ! % * ? & . _ -`.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 40))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    pub scopes: Scopes,
    pub scheduler_cluster_config: SchedulerClusterConfig,
    pub seed_peer_cluster_config: SeedPeerClusterConfig,
    pub peer_cluster_config: PeerClusterConfig,
    /// Takes every peer that no scope claims. Setting it moves the mark from the former default.
    pub is_default: bool,
    /// Peers of this cluster are never sent to another one, not even while no scheduler of it is alive, and no unmatched
    /// peer lands here.
    pub strict: bool,
}

/// Only what is present changes; a part that is present is replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateClusterRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_cluster_config: Option<SchedulerClusterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_peer_cluster_config: Option<SeedPeerClusterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_cluster_config: Option<PeerClusterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cluster {
    pub id: i64,
    pub name: String,
    pub bio: String,
    pub scopes: Scopes,
    /// What a scheduler is configured with (`schedulerClusterID`).
    pub scheduler_cluster_id: i64,
    /// What a seed peer is configured with (`seedPeer.clusterID`).
    pub seed_peer_cluster_id: i64,
    pub scheduler_cluster_config: SchedulerClusterConfig,
    pub seed_peer_cluster_config: SeedPeerClusterConfig,
    pub peer_cluster_config: PeerClusterConfig,
    pub is_default: bool,
    pub strict: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

// --- applications ---

/// A program or a team, as `X-Dragonfly-Application` and dfget's `--application` name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Application {
    pub id: i64,
    pub name: String,
    pub url: String,
    pub bio: String,
    pub priority: ApplicationPriority,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateApplicationRequest {
    /// Unique, 1 to 1024 characters.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 1024))]
    pub name: String,
    /// For people: where it is described.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    pub url: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    /// How its downloads rank, in all clusters.
    pub priority: ApplicationPriority,
}

/// Only what is present changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateApplicationRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<ApplicationPriority>,
}

// --- schedulers and seed peers ---

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
    pub features: Vec<String>,
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
    pub port: u16,
    /// Where it serves pieces.
    pub url: String,
    pub idc: String,
    pub location: String,
    pub state: InstanceState,
    pub seed_peer_cluster_id: i64,
    pub last_keep_alive_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

// --- join tokens ---

/// A secret with which daemons, seed peers and schedulers join; discovery turns it into a cluster credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateJoinTokenRequest {
    /// For people: where it is used.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 100))]
    pub name: String,
    /// Good for this cluster only; for the whole platform when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<i64>,
}

/// Without the secret: only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinToken {
    pub id: i64,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<i64>,
    pub created_at: DateTime<Utc>,
}

/// The only time the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedJoinToken {
    pub token: String,
    pub join_token: JoinToken,
}

// --- the components' own calls ---

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
