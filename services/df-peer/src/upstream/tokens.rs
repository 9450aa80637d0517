//! What registries have accepted of this node: Basic, a token for a configured credential, or the token that anybody gets.
//! Fetched once at a time, remembered per repository while it is good.

use std::collections::HashMap;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{HeaderValue, Method, StatusCode};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use super::Upstream;
use super::challenge::Challenge;
use super::client::read_at_most;

/// By holder, registry and repository.
#[derive(Debug)]
pub(super) struct Tokens {
    kept: Cache<Key, Kept>,
}

/// Who holds it: the name of a configured credential, or nobody.
type Key = (Option<String>, String, String);

/// What to answer a challenge with, or why there is nothing.
#[derive(Clone, Debug)]
struct Kept {
    /// Marked as sensitive: its `Debug` shows nothing.
    answer: Result<HeaderValue, TokenError>,
    until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// It will say the same again.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows what it would have said.
    #[error("{0}")]
    Down(String),
}

/// Passwords in files change.
const BASIC_KEPT: Duration = Duration::from_secs(300);
/// Whatever a token service says.
const TOKEN_KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// token.md: a token without `expires_in` is good for this long.
const TOKEN_KEPT: Duration = Duration::from_secs(60);
/// Used no longer than this before it expires: it has to arrive.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);
/// A token service that fails is not asked for this long.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
const TOKEN_BYTES_MAX: usize = 64 * 1024;
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);
const KEPT_MAX: u64 = 10_000;

/// What a token service has given.
pub struct Token {
    pub token: SecretString,
    pub expires_in: Duration,
}

// === impl Tokens ===

impl Tokens {
    pub fn new() -> Self {
        Self { kept: Cache::builder().max_capacity(KEPT_MAX).time_to_live(TOKEN_KEPT_MAX).build() }
    }

    /// What was accepted for this part of the registry a moment ago.
    pub async fn remembered(&self, holder: Option<&str>, url: &Url) -> Option<HeaderValue> {
        let kept = self.kept.get(&key(holder, url)).await.filter(|kept| kept.until > Instant::now())?;
        kept.answer.ok()
    }

    /// The `Authorization` that answers the challenge: not `refused`, which was no good. `basic` is what the holder
    /// shows; nobody has none.
    pub async fn answer(
        &self,
        upstream: &Upstream,
        url: &Url,
        challenge: Challenge,
        (holder, basic): (Option<&str>, Option<HeaderValue>),
        refused: Option<HeaderValue>,
    ) -> Result<HeaderValue, TokenError> {
        let fetched = async {
            let answer = match (challenge, basic) {
                (Challenge::Basic, Some(basic)) => Ok((basic, BASIC_KEPT)),
                (Challenge::Basic, None) => Err(TokenError::Refused("it wants a password".to_owned())),
                (Challenge::Bearer { realm, service, scope }, basic) => {
                    let scope = scope.or_else(|| Some(format!("repository:{}:pull", repository(url)?)));
                    let realm = realm_url(upstream, url, &realm, &[("service", service), ("scope", scope)]);
                    match realm {
                        Ok(realm) => bearer(upstream, realm, basic).await,
                        Err(error) => Err(error),
                    }
                }
            };
            let now = Instant::now();
            match answer {
                Ok((value, kept)) => Kept { answer: Ok(value), until: now + kept },
                Err(error) => Kept { answer: Err(error), until: now + FAILURE_KEPT },
            }
        };
        let no_good = |kept: &Kept| refused.is_some() && kept.answer.as_ref().ok() == refused.as_ref();
        let unfit = |kept: &Kept| kept.until <= Instant::now() || no_good(kept);
        self.kept.entry(key(holder, url)).or_insert_with_if(fetched, unfit).await.into_value().answer
    }
}

fn key(holder: Option<&str>, url: &Url) -> Key {
    (holder.map(str::to_owned), url.origin().ascii_serialization(), part(url))
}

async fn bearer(
    upstream: &Upstream,
    realm: Url,
    basic: Option<HeaderValue>,
) -> Result<(HeaderValue, Duration), TokenError> {
    let Token { token, expires_in } = fetch(upstream, realm, basic).await?;
    let value = secret_header(&SecretString::from(format!("Bearer {}", token.expose_secret())))?;
    Ok((value, expires_in.min(TOKEN_KEPT_MAX).saturating_sub(TOKEN_MARGIN)))
}

/// Where the token is to be had, if it may be asked at all.
pub(super) fn realm_url(
    upstream: &Upstream,
    registry: &Url,
    realm: &str,
    parameters: &[(&str, Option<String>)],
) -> Result<Url, TokenError> {
    let refused = |why: String| TokenError::Refused(why);
    let mut realm = Url::parse(realm).map_err(|_| refused(format!("the token service {realm:?} is not a URL")))?;
    let in_clear = registry.scheme() == "http" && realm.scheme() == "http";
    if realm.scheme() != "https" && !in_clear {
        return Err(refused(format!("the token service {realm} is not https")));
    }
    upstream.check(&realm).map_err(|error| refused(error.to_string()))?;
    let given = parameters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    realm.query_pairs_mut().extend_pairs(given);
    Ok(realm)
}

/// distribution: `spec/auth/token.md`.
pub(super) async fn fetch(upstream: &Upstream, realm: Url, basic: Option<HeaderValue>) -> Result<Token, TokenError> {
    let down = |why: String| TokenError::Down(why);
    let headers: HeaderMap = basic.map(|value| (AUTHORIZATION, value)).into_iter().collect();
    let request = upstream.client_for(&realm).request(Method::GET, realm).headers(headers);
    let response = request.send().await.map_err(|error| down(df_http::error::chain(&error.without_url())))?;
    let status = response.status();
    if !status.is_success() {
        let why = format!("the token service answered {status}");
        let settled = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        return Err(if settled { TokenError::Refused(why) } else { TokenError::Down(why) });
    }
    let body = read_at_most(response, TOKEN_BYTES_MAX, TOKEN_PATIENCE).await;
    let fields = serde_json::from_slice(&body);
    let fields = fields.map_err(|_| down("the token service does not answer with JSON".to_owned()))?;
    token_of(fields).ok_or_else(|| down("the token service gave no token".to_owned()))
}

/// Services give `token`, `access_token` or both.
fn token_of(mut fields: HashMap<String, serde_json::Value>) -> Option<Token> {
    let mut text = |name: &str| match fields.remove(name) {
        Some(serde_json::Value::String(text)) => Some(SecretString::from(text)),
        _ => None,
    };
    let token = text("token").or_else(|| text("access_token"))?;
    let expires_in = fields.get("expires_in").and_then(serde_json::Value::as_u64);
    Some(Token { token, expires_in: expires_in.map_or(TOKEN_KEPT, Duration::from_secs) })
}

pub(super) fn secret_header(value: &SecretString) -> Result<HeaderValue, TokenError> {
    let value = HeaderValue::from_str(value.expose_secret());
    let mut value = value.map_err(|_| TokenError::Refused("the credential is no header value".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `/v2/team/app/blobs/sha256:…` and `/v2/team/app/manifests/v1` are one part: `/v2/team/app`.
fn part(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/tags/list").unwrap_or_else(|| path.rsplitn(3, '/').nth(2).unwrap_or(path));
    path.to_owned()
}

fn repository(url: &Url) -> Option<String> {
    part(url).strip_prefix("/v2/").filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_one_part() {
        let part = |path: &str| super::part(&Url::parse(&format!("https://r{path}")).unwrap());
        assert_eq!(part("/v2/team/app/blobs/sha256:0"), "/v2/team/app");
        assert_eq!(part("/v2/team/app/manifests/v1"), "/v2/team/app");
        assert_eq!(part("/v2/team/app/tags/list"), "/v2/team/app");
        assert_eq!(part("/v2/"), "/v2");
        assert_ne!(part("/v2/team/other/manifests/v1"), "/v2/team/app");
    }

    #[test]
    fn a_token_has_two_names_and_a_usual_age() {
        let token = |text: &str| token_of(serde_json::from_str(text).unwrap());
        let found = token(r#"{"access_token":"a","expires_in":300}"#).unwrap();
        assert_eq!((found.token.expose_secret(), found.expires_in.as_secs()), ("a", 300));
        let found = token(r#"{"token":"t","access_token":"a","issued_at":"now"}"#).unwrap();
        assert_eq!((found.token.expose_secret(), found.expires_in), ("t", TOKEN_KEPT));
        assert!(token(r#"{"token":7}"#).is_none());
    }
}
