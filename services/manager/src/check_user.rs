//! What accounts, roles and tokens look like: pure checks before anything is written.
//! **Invariant:** a refusal names the field and the rule, and never repeats a password.

use std::collections::HashSet;

use df_api::manager::{CreateRoleRequest, Oauth, Permission, PersonalAccessToken, SignUpRequest, User};
use url::Url;

use crate::check_cluster::{Refused, at_most, ensure, quoted};
use crate::provider::{self, GITHUB, GOOGLE};

const NAME_CHARS_MIN: usize = 3;
const NAME_CHARS_MAX: usize = 40;
const PASSWORD_CHARS_MIN: usize = 8;
const PASSWORD_CHARS_MAX: usize = 128;
/// RFC 5321 §4.5.3.1.3 leaves so many for an address.
const EMAIL_CHARS_MAX: usize = 254;
const AVATAR_CHARS_MAX: usize = 255;
const FIELD_CHARS_MAX: usize = 100;
const BIO_CHARS_MAX: usize = 400;
const PERMISSIONS_MAX: usize = 100;
const CLIENT_ID_CHARS_MAX: usize = 256;
const SECRET_CHARS_MAX: usize = 512;
const URL_CHARS_MAX: usize = 1024;
/// What nobody has to guess.
pub const KNOWN_PASSWORD: &str = "dragonfly";

pub fn check_new_user(new: &SignUpRequest) -> Result<(), Refused> {
    check_name("name", &new.name, NAME_CHARS_MIN)?;
    check_new_password("password", &new.password)?;
    ensure(!new.email.is_empty(), "email", "\"\"", || "an address is required".to_owned())?;
    check_fields(&new.email, [&new.phone, &new.avatar, &new.location, &new.bio])
}

pub fn check_user(user: &User) -> Result<(), Refused> {
    check_fields(&user.email, [&user.phone, &user.avatar, &user.location, &user.bio])
}

pub fn check_new_password(field: &str, password: &str) -> Result<(), Refused> {
    let chars = password.chars().count();
    ensure((PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars), field, format!("({chars} characters)"), || {
        format!("{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
    })?;
    ensure(password != KNOWN_PASSWORD, field, "", || "everybody knows this one; take another".to_owned())
}

fn check_fields(email: &str, [phone, avatar, location, bio]: [&str; 4]) -> Result<(), Refused> {
    check_email(email)?;
    at_most("phone", phone, FIELD_CHARS_MAX)?;
    at_most("avatar", avatar, AVATAR_CHARS_MAX)?;
    let is_picture = avatar.is_empty() || avatar.starts_with("https://") || avatar.starts_with("http://");
    ensure(is_picture, "avatar", quoted(avatar), || "the http or https URL of a picture".to_owned())?;
    at_most("location", location, FIELD_CHARS_MAX)?;
    at_most("bio", bio, BIO_CHARS_MAX)
}

/// One, or none.
pub fn check_email(email: &str) -> Result<(), Refused> {
    at_most("email", email, EMAIL_CHARS_MAX)?;
    // Whether mail arrives there, nothing but mail would tell.
    let is_address = |email: &str| {
        let parts = email.split_once('@');
        parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
            && !email.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    ensure(email.is_empty() || is_address(email), "email", quoted(email), || "an address, NAME@HOST".to_owned())
}

fn check_name(field: &str, name: &str, min: usize) -> Result<(), Refused> {
    let sane = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = (min..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(sane);
    // It is part of paths, in which . and .. mean something else.
    ensure(fits && !name.starts_with('.'), field, quoted(name), || {
        format!("{min} to {NAME_CHARS_MAX} of A-Z a-z 0-9 . _ -, not beginning with a dot")
    })
}

/// `known` is what there is to permit.
pub fn check_new_role(new: &CreateRoleRequest, known: &[Permission]) -> Result<(), Refused> {
    check_name("role", &new.role, 1)?;
    let count = new.permissions.len();
    ensure(count <= PERMISSIONS_MAX, "permissions", format!("({count})"), || format!("at most {PERMISSIONS_MAX}"))?;
    let mut seen = HashSet::new();
    for permission in &new.permissions {
        check_permission("permissions", permission, known)?;
        ensure(seen.insert(permission), "permissions", permission, || "is listed twice".to_owned())?;
    }
    Ok(())
}

pub fn check_permission(field: &str, permission: &Permission, known: &[Permission]) -> Result<(), Refused> {
    let object = permission.object.as_str();
    let is_known = object == "*" || known.iter().any(|known| known.object == object);
    ensure(is_known, &format!("{field}.object"), quoted(object), || {
        "there is no such resource; GET /api/v1/permissions lists them; * is all".to_owned()
    })
}

pub fn check_oauth(oauth: &Oauth) -> Result<(), Refused> {
    let Oauth { name, bio, client_id, redirect_url, issuer, .. } = oauth;
    let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(sane);
    ensure(fits, "name", quoted(name), || format!("1 to {NAME_CHARS_MAX} of a-z 0-9 -"))?;
    at_most("bio", bio, BIO_CHARS_MAX)?;
    ensure(!client_id.is_empty(), "client_id", "\"\"", || "as the provider gave it".to_owned())?;
    at_most("client_id", client_id, CLIENT_ID_CHARS_MAX)?;
    at_most("redirect_url", redirect_url, URL_CHARS_MAX)?;
    let path = format!("/api/v1/users/signin/{name}/callback");
    let back = Url::parse(redirect_url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == path
            && url.query().is_none()
            && url.fragment().is_none()
    });
    ensure(back, "redirect_url", quoted(redirect_url), || format!("https://MANAGER{path}, as it is registered there"))?;
    at_most("issuer", issuer, URL_CHARS_MAX)?;
    match name.as_str() {
        GOOGLE => ensure(issuer.is_empty(), "issuer", quoted(issuer), || "google has one; leave it out".to_owned()),
        GITHUB if issuer.is_empty() => Ok(()),
        _ => ensure(provider::check_url(issuer).is_ok(), "issuer", quoted(issuer), || {
            "https://…, where /.well-known/openid-configuration is; http on this machine only".to_owned()
        }),
    }
}

pub fn check_oauth_secret(secret: &str) -> Result<(), Refused> {
    let chars = secret.chars().count();
    ensure((1..=SECRET_CHARS_MAX).contains(&chars), "client_secret", format!("({chars} characters)"), || {
        format!("1 to {SECRET_CHARS_MAX} characters, as the provider gave it")
    })
}

pub fn check_token(token: &PersonalAccessToken) -> Result<(), Refused> {
    ensure(!token.name.trim().is_empty(), "name", quoted(&token.name), || {
        "say where it is used, so that you know which to withdraw".to_owned()
    })?;
    at_most("name", &token.name, FIELD_CHARS_MAX)?;
    at_most("bio", &token.bio, BIO_CHARS_MAX)?;
    let mut seen = Vec::new();
    for scope in &token.scopes {
        ensure(!seen.contains(scope), "scopes", scope.object(), || "is listed twice".to_owned())?;
        seen.push(*scope);
    }
    // Of what is changed as of what is new: a token is withdrawn by its state, or deleted.
    let expires = token.expired_at;
    ensure(expires > token.updated_at, "expired_at", expires.to_rfc3339(), || "must lie in the future".to_owned())
}

#[cfg(test)]
mod tests {
    use df_api::manager::Action;

    use super::*;

    fn new_user(change: impl FnOnce(&mut SignUpRequest)) -> Result<(), String> {
        let mut new = SignUpRequest {
            name: "alice".to_owned(),
            password: "correct horse".to_owned(),
            email: "alice@example.com".to_owned(),
            ..SignUpRequest::default()
        };
        change(&mut new);
        check_new_user(&new).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_refusal_names_field_and_rule_and_no_password() {
        assert_eq!(new_user(|_| ()), Ok(()));
        assert_eq!(
            new_user(|new| new.name = "al".into()).unwrap_err(),
            r#"name "al": 3 to 40 of A-Z a-z 0-9 . _ -, not beginning with a dot"#
        );
        assert_eq!(
            new_user(|new| new.password = "hunter2".into()).unwrap_err(),
            "password (7 characters): 8 to 128 characters"
        );
        assert!(new_user(|new| new.password = "dragonfly".into()).unwrap_err().contains("everybody knows"));
        for email in ["", "alice", "@example.com", "alice@", "a b@example.com", "a@b@c"] {
            assert!(new_user(|new| new.email = email.into()).unwrap_err().starts_with("email"), "{email:?}");
        }
        assert!(new_user(|new| new.avatar = "javascript:alert(1)".into()).unwrap_err().starts_with("avatar"));
    }

    #[test]
    fn a_role_permits_what_there_is() {
        let permission = |object: &str| Permission { object: object.to_owned(), action: Action::Read };
        let known = [permission("clusters")];
        let role = |objects: &[&str]| CreateRoleRequest {
            role: "ops".to_owned(),
            permissions: objects.iter().map(|object| permission(object)).collect(),
        };
        assert_eq!(check_new_role(&role(&["clusters", "*"]), &known), Ok(()));
        let refusal = |objects: &[&str]| check_new_role(&role(objects), &known).unwrap_err().to_string();
        assert!(refusal(&["cluster"]).starts_with(r#"permissions.object "cluster": there is no such resource"#));
        assert_eq!(refusal(&["*", "*"]), "permissions *:read: is listed twice");
    }
}
