//! Credentials of this node for registries.
//!
//! **Invariant.** A password is shown to the registry it is configured for, and to the token service that registry
//! names: over TLS unless the registry itself is plain, and only where requests may go at all.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::tokens::{TokenError, secret_header};
use super::{RegistryConfig, UpstreamError, api_host};

#[derive(Debug)]
pub(super) struct Credentials {
    all: Vec<Credential>,
}

#[derive(Debug)]
pub(super) struct Credential {
    host: String,
    username: String,
    password: Password,
}

#[derive(Debug)]
enum Password {
    Text(SecretString),
    File(PathBuf),
}

// === impl Credentials ===

impl Credentials {
    pub fn new(registries: &[RegistryConfig]) -> Result<Self, UpstreamError> {
        let mut all = Vec::new();
        for registry in registries {
            let host = || registry.host.clone();
            let password = match (&registry.password, &registry.password_file) {
                (Some(text), None) => Password::Text(text.clone()),
                (None, Some(path)) => Password::File(path.clone()),
                (None, None) if registry.username.is_none() => continue,
                _ => return Err(UpstreamError::Credential { host: host() }),
            };
            let Some(username) = registry.username.clone() else {
                return Err(UpstreamError::Credential { host: host() });
            };
            // Missing at the start is a mistake; later it may be about to be replaced.
            password.read().map_err(|(path, source)| UpstreamError::PasswordFile { host: host(), path, source })?;
            all.push(Credential { host: api_host(&registry.host).to_owned(), username, password });
        }
        Ok(Self { all })
    }

    pub fn of(&self, url: &Url) -> Option<&Credential> {
        let host = url.host_str()?;
        let port = url.port_or_known_default()?;
        let full = format!("{host}:{port}");
        // Without a port, an image's name means the usual one; on another may listen somebody else.
        let is_own =
            |own: &str| own.eq_ignore_ascii_case(&full) || (url.port().is_none() && own.eq_ignore_ascii_case(host));
        self.all.iter().find(|credential| is_own(&credential.host))
    }
}

// === impl Credential ===

impl Credential {
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The value of `Authorization` that shows it.
    pub fn basic(&self) -> Result<HeaderValue, TokenError> {
        let unreadable =
            |(path, error): (PathBuf, std::io::Error)| TokenError::Down(format!("{}: {error}", path.display()));
        let password = self.password.read().map_err(unreadable)?;
        let pair = SecretString::from(format!("{}:{}", self.username, password.expose_secret()));
        secret_header(&SecretString::from(format!("Basic {}", STANDARD.encode(pair.expose_secret()))))
    }
}

// === impl Password ===

impl Password {
    /// Without the line break that editors put at a file's end.
    fn read(&self) -> Result<SecretString, (PathBuf, std::io::Error)> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| (path.clone(), error))?;
                Ok(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_credential_is_a_mistake() {
        let registry = |username: Option<&str>, password: Option<&str>| RegistryConfig {
            host: "r.lan".to_owned(),
            username: username.map(str::to_owned),
            password: password.map(SecretString::from),
            password_file: None,
            ca_certs: Vec::new(),
        };
        assert!(Credentials::new(&[registry(None, None)]).is_ok_and(|none| none.all.is_empty()));
        for half in [registry(Some("u"), None), registry(None, Some("p"))] {
            assert!(Credentials::new(&[half]).unwrap_err().to_string().contains("r.lan"));
        }
        let missing = RegistryConfig { password_file: Some("/nonexistent".into()), ..registry(Some("u"), None) };
        assert!(Credentials::new(&[missing]).unwrap_err().to_string().contains("/nonexistent"));
    }
}
