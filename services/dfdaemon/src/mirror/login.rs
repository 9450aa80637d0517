//! The way in for clients that show a registry's password only to whom they ask: containers/image, crane, Docker.
//!
//! They read the challenge from `GET /v2/`, where no repository is known yet. Ours names a token endpoint of our own, at
//! the address they came to. There the password is exchanged for the registry's own token. A registry without tokens gets
//! the password itself each time; the client has a word of ours that stands for it, in memory, on this node.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_peer::upstream::{LogIn, LogInError, Token};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

use super::Mirror;
use super::caller;
use super::refusal::Refusal;
use crate::namespace::{self, Located};

/// Words of ours that stand for a password at one registry.
#[derive(Clone)]
pub struct Words {
    words: Cache<String, Arc<Word>>,
}

struct Word {
    registry: String,
    /// The value of `Authorization`.
    basic: SecretString,
}

/// Tokens that begin so are ours.
const OURS: &str = "dragonfly.";
/// Stands for no credential at all.
const ANYBODY: &str = "dragonfly.anybody";
/// `:` in base64, which clients without a password send: no user, no password.
const NOBODY: &str = "Og==";
const KEPT: Duration = Duration::from_secs(3600);
/// A client is told to come again so much earlier.
const MARGIN_S: u64 = 300;
const WORDS_MAX: u64 = 10_000;
const FORM_BYTES_MAX: usize = 16 * 1024;

// === impl Words ===

impl Words {
    pub fn new() -> Self {
        Self { words: Cache::builder().max_capacity(WORDS_MAX).time_to_live(KEPT).build() }
    }

    async fn stand_for(&self, registry: String, basic: SecretString) -> String {
        let word = format!("{OURS}{}", uuid::Uuid::new_v4().simple());
        self.words.insert(word.clone(), Arc::new(Word { registry, basic })).await;
        word
    }

    /// Puts what a word of ours stands for into its place.
    pub async fn open(&self, headers: &mut HeaderMap, registry: &str) -> Result<(), Refusal> {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let scheme = shown.and_then(|value| value.split_once(' '));
        let Some((_, word)) =
            scheme.filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.starts_with(OURS))
        else {
            return Ok(());
        };
        let anybody = word == ANYBODY;
        let known = self.words.get(word).await.filter(|word| word.registry == registry);
        headers.remove(AUTHORIZATION);
        match known {
            _ if anybody => Ok(()),
            Some(word) => {
                let value = HeaderValue::from_str(word.basic.expose_secret());
                let mut value = value.map_err(|_| Refusal::credential("the credential is no header value"))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                Ok(())
            }
            None => Err(Refusal::forgotten(&challenge(headers, None, Some("invalid_token")))),
        }
    }
}

/// `GET /v2/`: all are welcome, and those who have a password are told where to show it.
pub fn base(headers: &HeaderMap, located: &Located) -> Response {
    let version = ("docker-distribution-api-version", "registry/2.0");
    match challenge(headers, located.prefix.as_deref(), None) {
        Some(challenge) if !headers.contains_key(AUTHORIZATION) => {
            let mut response = Refusal::forgotten(&Some(challenge)).into_response();
            response.headers_mut().insert(version.0, HeaderValue::from_static(version.1));
            response
        }
        _ => (StatusCode::OK, [version], Json(serde_json::json!({}))).into_response(),
    }
}

/// The realm is where the client came to: some accept no other on a private address. `None` without `Host`.
fn challenge(headers: &HeaderMap, prefix: Option<&str>, error: Option<&str>) -> Option<HeaderValue> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = host.parse().ok()?;
    let prefix = prefix.map(|prefix| format!("/{prefix}")).unwrap_or_default();
    let error = error.map(|error| format!(",error=\"{error}\"")).unwrap_or_default();
    let line = format!("Bearer realm=\"http://{authority}{prefix}/v2/token\",service=\"dragonfly\"{error}");
    HeaderValue::from_str(&line).ok()
}

/// distribution: `spec/auth/token.md` (GET) and `spec/auth/oauth.md` (POST).
pub async fn token(mirror: &Mirror, located: &Located, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::read(request).await?;
    let Some(basic) = asked.basic.clone() else { return Ok(answer(ANYBODY, KEPT.as_secs())) };
    // `podman login` and others ask so. No registry is named that could judge the password; what is pulled names one.
    let Some(wanted) = asked.wanted(mirror, located) else { return Ok(answer(ANYBODY, KEPT.as_secs())) };
    // Where the rules have its content asked for is who has to accept the password.
    let manifest = Located { path: format!("{}/manifests/latest", wanted.path), ..wanted.clone() };
    let registry = caller::route(mirror, &Uri::default(), &manifest, None)?.url;
    let scope = format!("repository:{}:pull", wanted.path);
    let mut shown = HeaderValue::from_str(basic.expose_secret()).map_err(|_| Refusal::credential("no header value"))?;
    shown.set_sensitive(true);
    let logged_in =
        tokio::time::timeout(mirror.first_byte_timeout, mirror.peer.upstream().log_in(&registry, &scope, shown));
    let name = registry.origin().ascii_serialization();
    match logged_in.await {
        Ok(Ok(LogIn::Token(Token { token, expires_in }))) => Ok(answer(token.expose_secret(), expires_in.as_secs())),
        Ok(Ok(LogIn::Open)) => Ok(answer(ANYBODY, KEPT.as_secs())),
        Ok(Ok(LogIn::Password)) => Ok(answer(&mirror.words.stand_for(name, basic).await, KEPT.as_secs() - MARGIN_S)),
        Ok(Err(LogInError::Refused(why))) => Err(Refusal::credential(&format!("{name}: {why}"))),
        Ok(Err(LogInError::Unanswered(why))) => Err(Refusal::timeout(&name, &why)),
        Err(_) => Err(Refusal::timeout(&name, "it does not answer")),
    }
}

/// Old clients read `token`, others `access_token`; none takes less than a minute.
fn answer(token: &str, expires_in: u64) -> Response {
    let no_store = [(http::header::CACHE_CONTROL, "no-store")];
    let body = serde_json::json!({ "token": token, "access_token": token, "expires_in": expires_in.max(60) });
    (no_store, Json(body)).into_response()
}

struct Asked {
    /// The value of `Authorization` that the registry shall see.
    basic: Option<SecretString>,
    scopes: Vec<String>,
    headers: HeaderMap,
}

// === impl Asked ===

impl Asked {
    async fn read(request: Request) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let form = match parts.method {
            Method::GET => parts.uri.query().unwrap_or_default().to_owned(),
            Method::POST => {
                let body = to_bytes(body, FORM_BYTES_MAX).await;
                let body = body.map_err(|_| Refusal::credential("the form is too long, or broke off"))?;
                String::from_utf8_lossy(&body).into_owned()
            }
            other => return Err(Refusal::method(&other)),
        };
        let fields: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let scopes = fields.iter().filter(|(name, _)| name == "scope");
        let scopes = scopes.flat_map(|(_, value)| value.split(' ').map(str::to_owned)).collect();
        let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.filter(|value| value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic ")));
        let shown = shown.filter(|value| value[6..].trim() != NOBODY);
        // Of a GET it would be in a URL, which is no place for passwords: URLs are logged.
        let pair = field("username").zip(field("password")).filter(|_| parts.method == Method::POST);
        let basic = match (shown, pair) {
            (Some(shown), _) => Some(shown.to_owned()),
            (None, Some((user, password))) => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            (None, None) => None,
        };
        Ok(Self { basic: basic.map(SecretString::from), scopes, headers: parts.headers })
    }

    /// The first repository asked for. Its name in the scope is that of the path the client will ask: with the registry
    /// before it, unless that is in the path of this endpoint.
    fn wanted(&self, mirror: &Mirror, endpoint: &Located) -> Option<Located> {
        let named = |scope: &String| Some(scope.strip_prefix("repository:")?.rsplit_once(':')?.0.to_owned());
        let repository = self.scopes.iter().find_map(named)?;
        if endpoint.registry.is_some() {
            return Some(Located { path: repository, ..endpoint.clone() });
        }
        let uri = format!("/v2/{repository}/tags/list").parse().ok()?;
        let known = |host: &str| mirror.peer.upstream().is_listed(host);
        let located = namespace::locate(&uri, &self.headers, known)?;
        let path = located.path.strip_suffix("/tags/list")?.to_owned();
        Some(Located { path, ..located })
    }
}
