//! What people settle for all clusters: applications, and named values.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::rules::ApplicationPriority;

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
    /// Who made it, or for whom.
    pub user_id: i64,
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
    /// The caller when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
}

// --- configs ---

/// A named value. `gc` is the manager's own: how long audits and jobs are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Config {
    pub id: i64,
    pub name: String,
    pub value: String,
    pub bio: String,
    /// Who made it, or for whom.
    pub user_id: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateConfigRequest {
    /// Unique, 1 to 100 characters.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 100))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 1024))]
    pub value: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    /// The caller when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
}

/// Only what is present changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfigRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
}
