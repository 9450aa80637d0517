//! What lies behind this node: which origins may be asked, and the clients that ask them.
//!
//! **Invariant.** No request reaches a loopback, link-local or private address unless the host is listed: neither by
//! name, nor by address, nor along a redirect. TLS is verified always. A configured credential is shown to its own
//! registry, and to the token service that names, and to nobody else.

mod challenge;
mod client;
mod config;
mod connect;
mod credentials;
mod login;
mod origins;
mod rules;
mod s3;
mod tokens;
mod turn;
mod way_out;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use df_api::dfdaemon::ObjectEntry;
use df_api::task::{Origin, StorageAccess};
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, StatusCode};
use reqwest::{Body, Client, Response};
use url::Url;

use challenge::challenge;
pub use challenge::relayed_challenges;
use client::Clients;
pub use client::read_at_most;
pub use config::{RegistryConfig, S3Config, UpstreamConfig};
pub use connect::{ConnectError, Connection};
use credentials::{Credential, Credentials};
pub use login::{LogIn, LogInError};
pub(crate) use origins::{Origins, StreamPermit};
use rules::Rules;
use s3::S3;
pub use s3::S3Error;
pub use tokens::Token;
use tokens::{TokenError, Tokens};
pub use turn::Turn;
use way_out::WayOut;

/// What [`UpstreamConfig`] amounts to.
#[derive(Clone, Debug)]
pub struct Upstream {
    rules: Arc<Rules>,
    clients: Clients,
    /// With certificate authorities of their own: by `host` or `host:port`.
    special: Arc<Vec<(String, Clients)>>,
    credentials: Arc<Credentials>,
    tokens: Arc<Tokens>,
    origins: Arc<Origins>,
    redirect_kept: Duration,
    s3: S3,
    way_out: WayOut,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamRefused {
    #[error("{0:?} is not a registry host, an http(s) URL or an s3://bucket/key")]
    Malformed(String),
    #[error("upstream {0:?} is not allowed: it is not public, and upstream.allow does not list it")]
    NotAllowed(String),
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.allow has {0:?}: use host, host:port, http://host:port or https://host:port")]
    Entry(String),
    #[error("cannot read the certificates {path}")]
    CaCerts { path: PathBuf, source: std::io::Error },
    #[error("upstream.registries, {host}: give a username with either password or passwordFile")]
    Credential { host: String },
    #[error("upstream.registries, {host}: cannot read the password in {path}")]
    PasswordFile { host: String, path: PathBuf, source: std::io::Error },
    /// Without the URL: it may hold a password.
    #[error("upstream.proxy is not an http://, https:// or socks5:// URL")]
    Proxy,
    #[error("upstream.s3, {of}: the endpoint is an http(s) URL, and accessKeyId and secretAccessKey go together")]
    S3 { of: String },
    #[error("cannot set up the client for upstreams")]
    Client(#[from] reqwest::Error),
}

/// Of an answer 401: the registry's token service could not be asked, so that this says nothing of who may read.
#[derive(Clone, Copy, Debug)]
pub struct TokenServiceDown;

/// Docker Hub is asked under another name than those it is called.
const DOCKER_HUB: [&str; 2] = ["docker.io", "index.docker.io"];
const DOCKER_HUB_API: &str = "registry-1.docker.io";

// === impl Upstream ===

impl Upstream {
    pub fn new(config: &UpstreamConfig) -> Result<Self, UpstreamError> {
        let rules = Arc::new(Rules::new(config)?);
        let clients = client::build(config, &rules, &[])?;
        let mut special = Vec::new();
        for registry in config.registries.iter().filter(|registry| !registry.ca_certs.is_empty()) {
            special.push((api_host(&registry.host).to_owned(), client::build(config, &rules, &registry.ca_certs)?));
        }
        let origins = Origins::new(config.concurrency_per_origin, config.requests_per_second_per_origin);
        let origins = Arc::new(origins);
        Ok(Self {
            s3: S3::new(&config.s3, clients.straight.clone(), rules.clone(), origins.clone())?,
            way_out: WayOut::new(config),
            rules,
            clients,
            special: Arc::new(special),
            credentials: Arc::new(Credentials::new(&config.registries)?),
            tokens: Arc::new(Tokens::new()),
            origins,
            redirect_kept: Duration::from_millis(config.redirect_ttl_ms),
        })
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Whether an origin, which was asked at `front`, is good for another retry; then it counts.
    pub(crate) fn may_retry(&self, origin: &Origin, front: Option<Url>) -> bool {
        front.or_else(|| Url::parse(&origin.url).ok()).is_some_and(|url| self.origins.may_retry(&url))
    }

    /// How long a redirect is remembered.
    pub(crate) fn redirect_kept(&self) -> Duration {
        self.redirect_kept
    }

    /// Asks; the clients refuse hosts by themselves, also along redirects. A request without an `Authorization` of its own
    /// gets, when the registry wants one, that which is configured for it, else the token that anybody gets. Where that
    /// is no good, the answer is the registry's to a stranger; [`TokenServiceDown`] is its extension when nobody knows.
    pub async fn send(&self, method: Method, url: Url, mut headers: HeaderMap) -> reqwest::Result<Response> {
        let http = self.client_for(&url);
        let send = |headers| http.request(method.clone(), url.clone()).headers(headers).send();
        let credential = self.credential(&url);
        if headers.contains_key(AUTHORIZATION) || (credential.is_none() && !url.path().starts_with("/v2/")) {
            return send(headers).await;
        }
        let holder = credential.map(Credential::host);
        let remembered = self.tokens.remembered(holder, &url).await;
        let mut first = headers.clone();
        first.extend(remembered.clone().map(|value| (AUTHORIZATION, value)));
        let mut response = send(first).await?;
        // What a redirect led to has no say in what this registry's password is shown to.
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != url.origin() {
            return Ok(response);
        }
        let Some(challenge) = challenge(response.headers()) else { return Ok(response) };
        let answer = match credential.map(Credential::basic).transpose() {
            Ok(basic) => self.tokens.answer(self, &url, challenge, (holder, basic), remembered).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(value) => {
                headers.insert(AUTHORIZATION, value);
                let second = send(headers).await?;
                let refused = matches!(second.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                Ok(if refused && credential.is_none() { response } else { second })
            }
            Err(why) => {
                match credential {
                    Some(_) => tracing::warn!(registry = holder, %why, "the configured credential could not be used"),
                    None => tracing::debug!(registry = %url.origin().ascii_serialization(), %why, "no anonymous token"),
                }
                if matches!(why, TokenError::Down(_)) {
                    response.extensions_mut().insert(TokenServiceDown);
                }
                Ok(response)
            }
        }
    }

    /// Whether this node has a credential for the registry of `url`.
    pub fn has_credential(&self, url: &Url) -> bool {
        self.credential(url).is_some()
    }

    /// Shown over TLS, or where the configuration itself says to ask without.
    fn credential(&self, url: &Url) -> Option<&Credential> {
        let in_clear = url.scheme() != "https" && !self.rules.lists(url);
        self.credentials.of(url).filter(|_| !in_clear)
    }

    /// Passes a request on as it is: no redirect is followed, no credential of this node is added, and how long to wait
    /// is the caller's to say. The host is checked, as with [`Upstream::send`].
    pub async fn relay(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Body>,
    ) -> reqwest::Result<Response> {
        let request = self.clients_for(&url).relaying.request(method, url).headers(headers);
        body.into_iter().fold(request, reqwest::RequestBuilder::body).send().await
    }

    /// As [`Upstream::send`], but a redirect is an answer like others: the headers are for this place only.
    pub(crate) async fn send_straight(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
    ) -> reqwest::Result<Response> {
        let http = &self.clients_for(&url).straight;
        http.request(method, url).headers(headers).send().await
    }

    fn client_for(&self, url: &Url) -> &Client {
        &self.clients_for(url).following
    }

    fn clients_for(&self, url: &Url) -> &Clients {
        self.special.iter().find(|(host, _)| is_host(host, url)).map_or(&self.clients, |(_, clients)| clients)
    }

    /// `ghcr.io`, `reg:5000` or a URL → the base URL to ask. Whether it may be, [`Upstream::check`] says.
    pub fn registry(&self, name: &str) -> Result<Url, UpstreamRefused> {
        let malformed = || UpstreamRefused::malformed(name);
        let url = match name.contains("://") {
            true => Url::parse(name),
            false => Url::parse(&format!("{}://{name}", self.rules.scheme_of(name))),
        };
        let mut url = url.map_err(|_| malformed())?;
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if !plain || url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.path() != "/" {
            return Err(malformed());
        }
        if url.host_str().is_some_and(|host| DOCKER_HUB.contains(&host)) && url.set_host(Some(DOCKER_HUB_API)).is_err()
        {
            return Err(malformed());
        }
        Ok(url)
    }

    /// Whether the configuration names it, `host` or `host:port`, as one that may be asked.
    pub fn is_listed(&self, host: &str) -> bool {
        self.rules.has_entry(host)
    }

    /// Whether a URL may be asked. What its name resolves to is checked when it is.
    pub fn check(&self, url: &Url) -> Result<(), UpstreamRefused> {
        match url.scheme() {
            "s3" => self.rules.check(&self.s3.place_of(url)?),
            _ => self.rules.check(url),
        }
    }

    /// The http(s) URL to ask an origin at.
    pub(crate) async fn front(&self, origin: &Origin) -> Result<Url, S3Error> {
        if origin.url.starts_with("s3://") {
            return self.s3.sign(origin).await;
        }
        Ok(Url::parse(&origin.url).map_err(|_| UpstreamRefused::malformed(&origin.content_url()))?)
    }

    /// What an object store has below `s3://bucket/prefix/`: `max` objects at most.
    pub async fn list_objects(
        &self,
        url: &Url,
        access: Option<&StorageAccess>,
        max: usize,
    ) -> Result<Vec<ObjectEntry>, S3Error> {
        self.check(url)?;
        self.s3.list(url, access, max).await
    }
}

// === impl UpstreamRefused ===

impl UpstreamRefused {
    /// What precedes an `@` may be a password.
    fn malformed(name: &str) -> Self {
        let (scheme, rest) = name.split_at(name.find("://").map_or(0, |at| at + 3));
        let shown = rest.rsplit_once('@').map_or(name.to_owned(), |(_, host)| format!("{scheme}…@{host}"));
        Self::Malformed(shown.chars().take(200).collect())
    }
}

/// Whether `entry`, `host` for all its ports or `host:port`, means the host of `url`.
fn is_host(entry: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let full = url.port_or_known_default().map(|port| format!("{host}:{port}")).unwrap_or_default();
    entry.eq_ignore_ascii_case(host) || entry.eq_ignore_ascii_case(&full)
}

fn api_host(host: &str) -> &str {
    if DOCKER_HUB.contains(&host) { DOCKER_HUB_API } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(allow: &[&str]) -> Upstream {
        let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
        Upstream::new(&UpstreamConfig { allow, ..UpstreamConfig::default() }).unwrap()
    }

    #[test]
    fn a_registry_name_becomes_its_base_url() {
        let upstream = upstream(&["http://reg.lan:5000", "10.0.0.7"]);
        let base = |name| upstream.registry(name).map(|url| url.to_string());
        assert_eq!(base("ghcr.io").unwrap(), "https://ghcr.io/");
        for hub in ["docker.io", "index.docker.io", "https://index.docker.io"] {
            assert_eq!(base(hub).unwrap(), "https://registry-1.docker.io/");
        }
        assert_eq!(base("reg.lan:5000").unwrap(), "http://reg.lan:5000/");
        assert_eq!(base("http://reg.lan:5000").unwrap(), "http://reg.lan:5000/");
        assert_eq!(base("10.0.0.7").unwrap(), "https://10.0.0.7/");
    }

    #[test]
    fn what_is_not_public_is_refused_by_name() {
        let upstream = upstream(&["http://127.0.0.1:5000"]);
        let ask = |upstream: &Upstream, name: &str| upstream.registry(name).and_then(|url| upstream.check(&url));
        assert!(ask(&upstream, "http://127.0.0.1:5000").is_ok());
        for private in [
            "127.0.0.1",
            "localhost",
            "http://127.0.0.1:5001",
            "10.1.2.3",
            "169.254.169.254",
            "192.168.0.1:5000",
            "[::1]",
            "[fd00::1]",
            "[fec0::1]",
            "[::127.0.0.1]",
            "[2002:7f00:1::]",
            "192.0.0.8",
            "metadata",
            "[::ffff:10.0.0.1]",
            "0.0.0.0",
            "100.64.0.1",
        ] {
            assert!(matches!(ask(&upstream, private), Err(UpstreamRefused::NotAllowed(_))), "{private}");
        }
        let listed = self::upstream(&["http://x.lan.example:5000"]);
        assert!(ask(&listed, "http://x.lan.example:5000").is_ok());
        for other in ["http://x.lan.example:22", "http://x.lan.example", "x.lan.example"] {
            assert!(matches!(ask(&listed, other), Err(UpstreamRefused::NotAllowed(_))), "{other}");
        }
        for nonsense in ["", "ftp://x.y", "http://a@b.c", "a b", "x.y/path", "x.y?q"] {
            assert!(matches!(upstream.registry(nonsense), Err(UpstreamRefused::Malformed(_))), "{nonsense}");
        }
    }

    #[test]
    fn a_configured_credential_is_for_its_own_port_and_not_in_clear() {
        let registry = |host: &str| RegistryConfig {
            host: host.to_owned(),
            username: Some("u".to_owned()),
            password: Some("p".into()),
            password_file: None,
            ca_certs: Vec::new(),
        };
        let upstream = Upstream::new(&UpstreamConfig {
            allow: ["http://plain.lan", "http://plain.lan:5000", "tls.lan"].map(str::to_owned).into(),
            registries: ["ghcr.io", "docker.io", "plain.lan", "plain.lan:5000", "tls.lan:5000"].map(registry).into(),
            ..UpstreamConfig::default()
        });
        let upstream = upstream.unwrap();
        let shown = |url: &str| upstream.has_credential(&upstream.registry(url).unwrap());
        for own in [
            "ghcr.io",
            "https://ghcr.io:443",
            "index.docker.io",
            "http://plain.lan",
            "http://plain.lan:5000",
            "https://plain.lan",
            "https://tls.lan:5000",
        ] {
            assert!(shown(own), "{own}");
        }
        for other in [
            "http://ghcr.io",
            "http://ghcr.io:443",
            "ghcr.io:8443",
            "http://plain.lan:8080",
            "tls.lan",
            "http://tls.lan:5000",
        ] {
            assert!(!shown(other), "{other}");
        }
    }

    #[test]
    fn a_refusal_shows_no_password() {
        let long = format!("https://u:{}hidden@h", "x".repeat(300));
        for name in
            ["http://u:hidden@h", "u:hidden@h", "https://u:hid/hidden@h:5000", "s3://k:hidden@bucket/key", &long]
        {
            let shown = upstream(&[]).registry(name).unwrap_err().to_string();
            assert!(!shown.contains("hidden") && shown.contains("@"), "{shown}");
        }
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let config = UpstreamConfig { allow: vec!["ftp://x".to_owned()], ..UpstreamConfig::default() };
        assert!(Upstream::new(&config).unwrap_err().to_string().contains("ftp://x"));
    }
}
