//! How to ask an object store for an object, in the name of who asks.

use serde::{Deserialize, Serialize};

/// Of an `s3://bucket/key`. Whatever is not given is as the node that asks has it configured.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StorageAccess {
    /// `http://` or `https://`, of a store that is not Amazon's. One of two stores has another content under one name: it
    /// is part of the task's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// With `access_key_secret`; never logged, and neither leaves this node: it asks the store itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

// === impl StorageAccess ===

impl StorageAccess {
    /// Whether it holds what must not leave this node.
    pub fn has_keys(&self) -> bool {
        self.access_key_id.is_some() || self.access_key_secret.is_some() || self.session_token.is_some()
    }

    /// `url` with the endpoint in it, where every node of the cluster finds it.
    pub fn place(&self, url: &str) -> String {
        let Some(endpoint) = self.endpoint.as_deref().filter(|_| url.starts_with("s3://")) else {
            return url.to_owned();
        };
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}endpoint={}", escaped(endpoint.trim_end_matches('/')))
    }
}

/// RFC 3986 §2.3: all but the unreserved characters.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl std::fmt::Debug for StorageAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let redacted = |secret: &Option<String>| secret.as_ref().map(|_| "redacted");
        f.debug_struct("StorageAccess")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &redacted(&self.access_key_id))
            .field("access_key_secret", &redacted(&self.access_key_secret))
            .field("session_token", &redacted(&self.session_token))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_part_of_the_place_and_no_secret_is_shown() {
        let access = StorageAccess {
            endpoint: Some("http://s.lan:9000/".to_owned()),
            access_key_secret: Some("hidden".to_owned()),
            session_token: Some("hidden".to_owned()),
            ..StorageAccess::default()
        };
        assert_eq!(access.place("s3://b/k"), "s3://b/k?endpoint=http%3A%2F%2Fs.lan%3A9000");
        assert_eq!(access.place("s3://b/k?versionId=1"), "s3://b/k?versionId=1&endpoint=http%3A%2F%2Fs.lan%3A9000");
        assert_eq!(access.place("http://b/k"), "http://b/k");
        assert!(access.has_keys() && !format!("{access:?}").contains("hidden"));
    }
}
