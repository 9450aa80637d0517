//! Who did what when.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum ActorType {
    /// Nobody who was signed in: signing in and up.
    Unknown,
    User,
    /// A personal access token; its user is the actor.
    Pat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    Api,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum AuditState {
    Success,
    /// Also what nobody knows the end of: the manager went away in the middle, and `status_code` is 0.
    Failure,
}

/// One call that was to change something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Audit {
    pub id: i64,
    pub actor_type: ActorType,
    /// The user's name. Of who could not sign in: the name that was tried; else empty.
    pub actor_name: String,
    pub event_type: EventType,
    /// The HTTP method.
    pub operation: String,
    /// Without its query.
    pub path: String,
    pub status_code: u16,
    pub state: AuditState,
    /// Why it was refused.
    pub detail: String,
    pub operated_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}
