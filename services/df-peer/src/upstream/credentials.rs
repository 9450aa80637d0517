//! Credentials of this node for registries: Basic, or a token fetched with them, remembered while it is good.
//!
//! **Invariant.** A password is shown to the registry it is configured for, and to the token service that registry
//! names: over TLS unless the registry itself is plain, and only where requests may go at all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use super::challenge::{Challenge, challenge};
use super::{RegistryConfig, Upstream, UpstreamError, api_host, is_host};

#[derive(Debug)]
pub(super) struct Credentials {
    all: Vec<Credential>,
}

#[derive(Debug)]
pub(super) struct Credential {
    host: String,
    username: String,
    password: Password,
    /// What was accepted last, per part of the registry.
    remembered: Mutex<HashMap<String, Remembered>>,
}

#[derive(Debug)]
enum Password {
    Text(SecretString),
    File(PathBuf),
}

#[derive(Debug)]
struct Remembered {
    /// Marked as sensitive: its `Debug` shows nothing.
    value: HeaderValue,
    until: Instant,
}

/// Passwords in files change.
const BASIC_KEPT: Duration = Duration::from_secs(300);
/// Whatever a token service says.
const TOKEN_KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// token.md: a token without `expires_in` is good for this long.
const TOKEN_KEPT: Duration = Duration::from_secs(60);
/// Used no longer than this before it expires: it has to arrive.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);
const TOKEN_BYTES_MAX: usize = 64 * 1024;
const REMEMBERED_MAX: usize = 1000;

struct TokenAnswer {
    token: Option<SecretString>,
    expires_in: Option<u64>,
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
            all.push(Credential {
                host: api_host(&registry.host).to_owned(),
                username,
                password,
                remembered: Mutex::default(),
            });
        }
        Ok(Self { all })
    }

    pub fn of(&self, url: &Url) -> Option<&Credential> {
        self.all.iter().find(|credential| is_host(&credential.host, url))
    }
}

// === impl Credential ===

impl Credential {
    /// What was accepted for this part of the registry a moment ago.
    pub fn remembered(&self, url: &Url) -> Option<HeaderValue> {
        let entries = self.remembered.lock();
        let entry = entries.get(&part(url)).filter(|entry| entry.until > Instant::now())?;
        Some(entry.value.clone())
    }

    /// The `Authorization` that answers the challenge; `None` when there is none, and the caller gets the challenge.
    pub async fn answer(&self, upstream: &Upstream, url: &Url, headers: &HeaderMap) -> Option<HeaderValue> {
        let answered = match challenge(headers)? {
            Challenge::Basic => self.basic().map(|value| (value, BASIC_KEPT)),
            Challenge::Bearer { realm, service, scope } => {
                let parameters = [("service", service), ("scope", scope)];
                self.token(upstream, url, &realm, parameters).await
            }
        };
        let (value, kept) = match answered {
            Ok(answered) => answered,
            Err(why) => {
                tracing::warn!(registry = self.host, why, "the configured credential could not be used");
                return None;
            }
        };
        let now = Instant::now();
        let mut entries = self.remembered.lock();
        if entries.len() >= REMEMBERED_MAX {
            entries.retain(|_, entry| entry.until > now);
        }
        if entries.len() < REMEMBERED_MAX {
            entries.insert(part(url), Remembered { value: value.clone(), until: now + kept });
        }
        Some(value)
    }

    fn basic(&self) -> Result<HeaderValue, String> {
        let password = self.password.read().map_err(|(path, error)| format!("{}: {error}", path.display()))?;
        let pair = SecretString::from(format!("{}:{}", self.username, password.expose_secret()));
        let value = SecretString::from(format!("Basic {}", STANDARD.encode(pair.expose_secret())));
        secret_header(&value)
    }

    /// distribution: `spec/auth/token.md`.
    async fn token(
        &self,
        upstream: &Upstream,
        url: &Url,
        realm: &str,
        parameters: [(&str, Option<String>); 2],
    ) -> Result<(HeaderValue, Duration), String> {
        let mut realm = Url::parse(realm).map_err(|_| format!("the token service {realm:?} is not a URL"))?;
        if realm.scheme() != "https" && url.scheme() == "https" {
            return Err(format!("the token service {realm} is not https"));
        }
        upstream.check(&realm).map_err(|refused| refused.to_string())?;
        let given = parameters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        realm.query_pairs_mut().extend_pairs(given);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.basic()?)]);
        let request = upstream.client_for(&realm).request(Method::GET, realm).headers(headers);
        let response = request.send().await.map_err(|error| df_http::error::chain(&error.without_url()))?;
        if !response.status().is_success() {
            return Err(format!("the token service answered {}", response.status()));
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await
            && body.len() + chunk.len() <= TOKEN_BYTES_MAX
        {
            body.extend_from_slice(&chunk);
        }
        let fields: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&body).map_err(|_| "the token service does not answer with JSON".to_owned())?;
        let answer = TokenAnswer::from_fields(fields);
        let token = answer.token.ok_or("the token service gave no token")?;
        let value = secret_header(&SecretString::from(format!("Bearer {}", token.expose_secret())))?;
        let kept = answer.expires_in.map_or(TOKEN_KEPT, Duration::from_secs).min(TOKEN_KEPT_MAX);
        Ok((value, kept.saturating_sub(TOKEN_MARGIN)))
    }
}

// === impl TokenAnswer ===

impl TokenAnswer {
    /// Services give `token`, `access_token` or both.
    fn from_fields(mut fields: HashMap<String, serde_json::Value>) -> Self {
        let mut text = |name: &str| match fields.remove(name) {
            Some(serde_json::Value::String(text)) => Some(SecretString::from(text)),
            _ => None,
        };
        let token = text("token").or_else(|| text("access_token"));
        Self { token, expires_in: fields.get("expires_in").and_then(serde_json::Value::as_u64) }
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

fn secret_header(value: &SecretString) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| "it is no header value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// `/v2/team/app/blobs/sha256:…` and `/v2/team/app/manifests/v1` are one part: `/v2/team/app`.
fn part(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    let mut segments = path.rsplitn(3, '/');
    let (last, before) = (segments.next(), segments.next());
    match (last, before, segments.next()) {
        (_, _, Some(part)) => part.to_owned(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_one_part() {
        let part = |path: &str| super::part(&Url::parse(&format!("https://r{path}")).unwrap());
        assert_eq!(part("/v2/team/app/blobs/sha256:0"), "/v2/team/app");
        assert_eq!(part("/v2/team/app/manifests/v1"), "/v2/team/app");
        assert_eq!(part("/v2/"), "/v2");
        assert_ne!(part("/v2/team/other/manifests/v1"), "/v2/team/app");
    }

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
