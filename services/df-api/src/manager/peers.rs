//! Peers: the daemons of nodes, as they told of themselves when they asked where they belong.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::InstanceState;

/// What a daemon tells of itself, for people to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DaemonInfo {
    /// Where it serves pieces; 0 when it does not yet.
    pub port: u16,
    /// As Rust calls it: `linux`.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub os: String,
    /// The distribution: `debian`.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub platform: String,
    /// What the distribution is like: `rhel fedora`.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub platform_family: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub platform_version: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub kernel_version: String,
    /// Of the daemon.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub git_version: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerType {
    /// A seed peer.
    Super,
    #[default]
    Normal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    pub id: i64,
    pub host_name: String,
    #[serde(rename = "type")]
    pub kind: PeerType,
    pub ip: String,
    /// Where it serves pieces.
    pub port: u16,
    /// The same as `port`.
    pub download_port: u16,
    pub idc: String,
    pub location: String,
    /// Active is who asked within the last three minutes.
    pub state: InstanceState,
    pub os: String,
    pub platform: String,
    pub platform_family: String,
    pub platform_version: String,
    pub kernel_version: String,
    pub git_version: String,
    pub scheduler_cluster_id: i64,
    pub last_seen_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A peer that is expected: it is inactive until its daemon asks where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreatePeerRequest {
    pub host_name: String,
    #[serde(rename = "type")]
    pub kind: PeerType,
    pub ip: String,
    pub port: u16,
    /// The same as `port`, or left out: pieces are served there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_port: Option<u16>,
    pub scheduler_cluster_id: i64,
    #[serde(default)]
    pub idc: String,
    #[serde(default)]
    pub location: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub platform: String,
    #[serde(default)]
    pub platform_family: String,
    #[serde(default)]
    pub platform_version: String,
    #[serde(default)]
    pub kernel_version: String,
    #[serde(default)]
    pub git_version: String,
}
