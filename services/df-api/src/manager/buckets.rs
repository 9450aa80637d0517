//! Buckets of the object storage that the manager is configured with, and what is in them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bucket {
    pub name: String,
    /// Where the storage tells.
    #[serde(rename = "createAt", default, skip_serializing_if = "Option::is_none")]
    pub create_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateBucketRequest {
    /// 3 to 63 of `a-z 0-9 . -`, as Amazon's rules have it.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 3, max_length = 63))]
    pub name: String,
}

/// A part of what is in a bucket, in the order of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectList {
    pub metadatas: Vec<ObjectMetadata>,
    /// What keys begin with, up to the delimiter.
    pub common_prefixes: Vec<String>,
    /// To ask for the next part with; absent with the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectMetadata {
    pub key: String,
    /// In bytes.
    pub content_length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<DateTime<Utc>>,
}
