//! Join tokens.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
