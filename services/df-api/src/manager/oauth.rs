//! Providers that people sign in with.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A provider, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Oauth {
    pub id: i64,
    pub name: String,
    pub bio: String,
    pub client_id: String,
    pub redirect_url: String,
    pub issuer: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateOauthRequest {
    /// `github`, `google`, or, of a provider that speaks OpenID Connect, any of `a-z 0-9 -`. Unique; part of the path by
    /// which people sign in.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 40))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    /// As the provider gave it.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 256))]
    pub client_id: String,
    /// As the provider gave it. It is in no answer.
    #[cfg_attr(feature = "openapi", schema(required = true, format = Password, min_length = 1, max_length = 512))]
    pub client_secret: String,
    /// Where the provider sends people back, as it is registered there:
    /// `https://MANAGER/api/v1/users/signin/NAME/callback`.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 1024))]
    pub redirect_url: String,
    /// Of a provider that speaks OpenID Connect: what its tokens say, and where its metadata are. Of GitHub Enterprise: its
    /// address. Otherwise empty.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    pub issuer: String,
}

/// Only what is present changes. The issuer stays: who people are is its word.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateOauthRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = Password))]
    pub client_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
}
