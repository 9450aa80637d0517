//! Contents that were imported at a node: no origin has them, so that the platform keeps them.

use serde::{Deserialize, Serialize};

use super::PeerType;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersistentCacheTask {
    pub id: String,
    pub persistent_replica_count: u32,
    pub piece_length: u64,
    pub content_length: u64,
    pub total_piece_count: u32,
    /// `Succeeded`: the whole of it is there.
    pub state: String,
    /// Who has it.
    pub peers: Vec<PersistentCachePeer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersistentCachePeer {
    pub id: String,
    pub persistent: bool,
    pub state: String,
    pub host: PersistentCacheHost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersistentCacheHost {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: PeerType,
    pub hostname: String,
    pub ip: String,
    /// Where it serves pieces.
    pub port: u16,
}
