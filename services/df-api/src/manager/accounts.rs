//! Users, their roles, and the tokens of programs that act for them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Sign in with a password.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    #[cfg_attr(feature = "openapi", schema(example = "root"))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(format = Password))]
    pub password: String,
}

/// The token is also set as an HttpOnly cookie; programs send it as `Authorization: Bearer`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInResponse {
    pub token: String,
    pub expire: DateTime<Utc>,
    pub user: User,
}

/// A new user, whose role is `guest`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SignUpRequest {
    /// Unique, 3 to 40 of `A-Z a-z 0-9 . _ -`.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 3, max_length = 40))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(required = true, format = Password, min_length = 8, max_length = 128))]
    pub password: String,
    /// Unique.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 254))]
    pub email: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub phone: String,
    /// A URL of a picture.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub avatar: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub location: String,
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
}

/// Only what is present changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateUserRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// Who is disabled is signed out at once, and the user's tokens open nothing. Not for one's own account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<UserState>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ResetPasswordRequest {
    /// For one's own account; who may write users needs none for the account of another.
    #[cfg_attr(feature = "openapi", schema(format = Password))]
    pub old_password: String,
    #[cfg_attr(feature = "openapi", schema(required = true, format = Password, min_length = 8, max_length = 128))]
    pub new_password: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    pub id: i64,
    pub name: String,
    pub email: String,
    pub phone: String,
    pub avatar: String,
    pub location: String,
    pub bio: String,
    pub state: UserState,
    /// By name.
    pub roles: Vec<String>,
    /// The password is still the one everybody knows; the console insists on changing it.
    pub password_is_default: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UserState {
    Enable,
    Disable,
}

// --- roles ---

/// What a role may do with one kind of resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// As paths call it: `clusters`, `seed-peers`; `*` is all of them.
    #[cfg_attr(feature = "openapi", schema(example = "clusters"))]
    pub object: String,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Action {
    #[serde(rename = "read")]
    Read,
    /// Reading and writing.
    #[serde(rename = "*")]
    All,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolePermissions {
    pub role: String,
    pub permissions: Vec<Permission>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateRoleRequest {
    /// Unique, 1 to 40 of `A-Z a-z 0-9 . _ -`.
    #[cfg_attr(feature = "openapi", schema(required = true, min_length = 1, max_length = 40))]
    pub role: String,
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub permissions: Vec<Permission>,
}

// === impl Permission ===

impl Permission {
    /// Whether a role with this may do what takes `wanted`.
    pub fn covers(&self, wanted: &Permission) -> bool {
        (self.object == "*" || self.object == wanted.object)
            && (self.action == Action::All || self.action == wanted.action)
    }
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.object, self.action.as_str())
    }
}

// === impl Action ===

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::All => "*",
        }
    }
}

// --- personal access tokens ---

/// What a personal access token opens, as far as its user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Job,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    Active,
    Inactive,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreatePersonalAccessTokenRequest {
    /// For people: where it is used. 1 to 100 characters, unique among the user's tokens.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub name: String,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 400))]
    pub bio: String,
    /// None opens nothing.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// In the future.
    pub expired_at: DateTime<Utc>,
    /// For whom it acts; the caller when left out. Another than the caller takes the right to write users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
}

/// Only what is present changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdatePersonalAccessTokenRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TokenState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<DateTime<Utc>>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersonalAccessToken {
    pub id: i64,
    pub name: String,
    pub bio: String,
    /// The secret, in the one answer that made it; only its hash is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub scopes: Vec<Scope>,
    pub state: TokenState,
    pub expired_at: DateTime<Utc>,
    pub user_id: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

// === impl Scope ===

impl Scope {
    /// The kind of resource, as paths call it.
    pub const fn object(self) -> &'static str {
        match self {
            Scope::Job => "jobs",
            Scope::Cluster => "clusters",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        let permission = |object: &str, action| Permission { object: object.to_owned(), action };
        let (read, all) = (permission("clusters", Action::Read), permission("clusters", Action::All));
        assert!(read.covers(&read) && all.covers(&read) && all.covers(&all) && !read.covers(&all));
        assert!(permission("*", Action::All).covers(&all) && permission("*", Action::Read).covers(&read));
        assert!(!permission("*", Action::Read).covers(&all) && !permission("users", Action::All).covers(&read));
        assert_eq!((read.to_string(), all.to_string()), ("clusters:read".to_owned(), "clusters:*".to_owned()));
    }
}
