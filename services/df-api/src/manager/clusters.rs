//! Clusters: the whole, and as the incumbent also shows them, in two parts: a scheduler cluster and a seed peer cluster. Here
//! the parts are views of one cluster and have its id.

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::rules::{BlockList, Weights};

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

// --- scheduler clusters ---

/// What seed peers are to refuse to download.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SeedClientConfig {
    pub block_list: BlockList,
}

/// The other part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterPart {
    pub id: i64,
    pub name: String,
    pub bio: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateSchedulerClusterRequest {
    /// As a cluster's.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 40))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    pub config: SchedulerClusterConfig,
    /// Of its peers.
    pub client_config: PeerClusterConfig,
    pub seed_client_config: SeedClientConfig,
    pub scopes: Scopes,
    pub is_default: bool,
}

/// Only what is present changes; a part that is present is replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSchedulerClusterRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<SchedulerClusterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_config: Option<PeerClusterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulerCluster {
    pub id: i64,
    pub name: String,
    pub bio: String,
    pub config: SchedulerClusterConfig,
    pub client_config: PeerClusterConfig,
    pub seed_client_config: SeedClientConfig,
    pub scopes: Scopes,
    pub is_default: bool,
    /// One, with the same id.
    pub seed_peer_clusters: Vec<ClusterPart>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

// --- seed peer clusters ---

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateSeedPeerClusterRequest {
    /// As a cluster's.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 40))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    pub config: SeedPeerClusterConfig,
}

/// Only what is present changes; the config is replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSeedPeerClusterRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<SeedPeerClusterConfig>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeedPeerCluster {
    pub id: i64,
    pub name: String,
    pub bio: String,
    pub config: SeedPeerClusterConfig,
    /// One, with the same id.
    pub scheduler_clusters: Vec<ClusterPart>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

// === impl Cluster ===

impl Cluster {
    pub fn into_scheduler_cluster(self) -> SchedulerCluster {
        SchedulerCluster {
            id: self.id,
            seed_peer_clusters: vec![ClusterPart { id: self.id, name: self.name.clone(), bio: self.bio.clone() }],
            name: self.name,
            bio: self.bio,
            config: self.scheduler_cluster_config,
            client_config: self.peer_cluster_config,
            seed_client_config: SeedClientConfig { block_list: self.seed_peer_cluster_config.block_list },
            scopes: self.scopes,
            is_default: self.is_default,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    pub fn into_seed_peer_cluster(self) -> SeedPeerCluster {
        SeedPeerCluster {
            id: self.id,
            scheduler_clusters: vec![ClusterPart { id: self.id, name: self.name.clone(), bio: self.bio.clone() }],
            name: self.name,
            bio: self.bio,
            config: self.seed_peer_cluster_config,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
