//! Which origins may be asked, and the HTTP client that asks them.
//!
//! **Invariant.** No request reaches a loopback, link-local or private address unless the host is listed: neither by
//! name, nor by address, nor along a redirect. TLS is verified always.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Settings for what lies behind this node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Hosts that may be asked although they are private, and how: `registry.lan:5000` (https),
    /// `http://registry.lan:5000` (plain). Default: none.
    pub allow: Vec<String>,
    /// Ask any public host as well. Default: true.
    pub any_public: bool,
    /// PEM files with further certificate authorities. Default: none.
    pub ca_certs: Vec<PathBuf>,
    /// An HTTP proxy for requests to origins; the environment's `HTTPS_PROXY` and friends count too. Behind a proxy it is
    /// the proxy that resolves names, so it must refuse what is private. Default: none.
    pub proxy: Option<String>,
}

/// What [`UpstreamConfig`] amounts to.
#[derive(Clone, Debug)]
pub struct Upstream {
    rules: Arc<Rules>,
    http: reqwest::Client,
}

#[derive(Debug)]
struct Rules {
    /// `host` or `host:port` → scheme.
    listed: Vec<(String, &'static str)>,
    any_public: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamRefused {
    #[error("{0:?} is not a registry host or an http(s) URL")]
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
    #[error("cannot set up the client for upstreams")]
    Client(#[from] reqwest::Error),
}

/// Docker Hub is asked under another name than it is called.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of an origin within a body; a slow origin is fine, a dead one is not.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), any_public: true, ca_certs: Vec::new(), proxy: None }
    }
}

// === impl Upstream ===

impl Upstream {
    pub fn new(config: &UpstreamConfig) -> Result<Self, UpstreamError> {
        let listed = config.allow.iter().map(|entry| listed(entry)).collect::<Result<_, _>>()?;
        let rules = Arc::new(Rules { listed, any_public: config.any_public });
        let redirect_rules = rules.clone();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("dragonfly/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(GuardedResolver { rules: rules.clone(), proxies: proxy_hosts(config) }))
            .redirect(Policy::custom(move |attempt| match redirect_rules.check(attempt.url()) {
                Err(refused) => attempt.error(refused),
                Ok(()) if attempt.previous().len() > 10 => attempt.error("more than 10 redirects"),
                Ok(()) => attempt.follow(),
            }));
        if let Some(proxy) = &config.proxy {
            http = http.proxy(reqwest::Proxy::all(proxy)?);
        }
        for path in &config.ca_certs {
            let pem = std::fs::read(path).map_err(|source| UpstreamError::CaCerts { path: path.clone(), source })?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem)? {
                http = http.add_root_certificate(certificate);
            }
        }
        Ok(Self { rules, http: http.build()? })
    }

    /// The client; it refuses hosts by itself, also along redirects.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// `ghcr.io`, `reg:5000` or a URL → the base URL to ask, if it may be asked.
    pub fn registry(&self, name: &str) -> Result<Url, UpstreamRefused> {
        let malformed = || UpstreamRefused::Malformed(name.chars().take(200).collect());
        let url = match name.contains("://") {
            true => Url::parse(name),
            false => Url::parse(&format!("{}://{name}", self.rules.scheme_of(name))),
        };
        let mut url = url.map_err(|_| malformed())?;
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if !plain || url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.path() != "/" {
            return Err(malformed());
        }
        if url.host_str() == Some(DOCKER_HUB) && url.set_host(Some(DOCKER_HUB_API)).is_err() {
            return Err(malformed());
        }
        self.check(&url)?;
        Ok(url)
    }

    /// Whether a URL may be asked. What its name resolves to is checked when it is.
    pub fn check(&self, url: &Url) -> Result<(), UpstreamRefused> {
        self.rules.check(url)
    }
}

// === impl Rules ===

impl Rules {
    fn scheme_of(&self, host: &str) -> &'static str {
        self.listed.iter().find(|(listed, _)| listed.eq_ignore_ascii_case(host)).map_or("https", |(_, scheme)| scheme)
    }

    fn lists(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let full = url.port_or_known_default().map(|port| format!("{host}:{port}")).unwrap_or_default();
        let matches = |entry: &str| entry.eq_ignore_ascii_case(host) || entry.eq_ignore_ascii_case(&full);
        self.listed.iter().any(|(entry, scheme)| matches(entry) && (*scheme == url.scheme() || url.scheme() == "https"))
    }

    fn lists_host(&self, name: &str) -> bool {
        let host = |entry: &str| entry.rsplit_once(':').map_or(entry.to_owned(), |(host, _)| host.to_owned());
        self.listed.iter().any(|(entry, _)| host(entry).eq_ignore_ascii_case(name))
    }

    fn check(&self, url: &Url) -> Result<(), UpstreamRefused> {
        if self.lists(url) {
            return Ok(());
        }
        // One port of a host that is listed opens none of its others.
        if self.lists_host(url.host_str().unwrap_or_default()) {
            return Err(UpstreamRefused::NotAllowed(url.host_str().unwrap_or_default().to_owned()));
        }
        let public = match url.host() {
            Some(Host::Ipv4(ip)) => is_public(ip.into()),
            Some(Host::Ipv6(ip)) => is_public(ip.into()),
            // `localhost` and names without a dot are never public; the rest shows when it resolves.
            Some(Host::Domain(name)) => name.contains('.') && !name.ends_with(".localhost"),
            None => false,
        };
        match public && self.any_public {
            true => Ok(()),
            false => Err(UpstreamRefused::NotAllowed(url.host_str().unwrap_or_default().to_owned())),
        }
    }
}

fn listed(entry: &str) -> Result<(String, &'static str), UpstreamError> {
    let (scheme, host) = match entry.split_once("://") {
        None => ("https", entry),
        Some(("https", host)) => ("https", host),
        Some(("http", host)) => ("http", host),
        Some(_) => return Err(UpstreamError::Entry(entry.to_owned())),
    };
    let host = host.trim_end_matches('/');
    match host.is_empty() || host.contains(['/', '?', '@', ' ']) {
        true => Err(UpstreamError::Entry(entry.to_owned())),
        false => Ok((host.to_owned(), scheme)),
    }
}

/// Resolves by the system, and drops addresses that are not public unless the host is listed, or is our own proxy.
struct GuardedResolver {
    rules: Arc<Rules>,
    proxies: Vec<String>,
}

/// As configured, and as the environment has them.
fn proxy_hosts(config: &UpstreamConfig) -> Vec<String> {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let environment = names.iter().filter_map(|name| std::env::var(name).ok());
    let host = |proxy: String| {
        let url = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        Url::parse(&url).ok()?.host_str().map(str::to_owned)
    };
    config.proxy.clone().into_iter().chain(environment).filter_map(host).collect()
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        let passes = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let listed = passes || rules.lists_host(name.as_str());
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = found.into_iter().filter(|address| listed || is_public(address.ip())).collect();
            match allowed.is_empty() {
                true => Err(UpstreamRefused::NotAllowed(name.as_str().to_owned()).into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Reachable from the internet at large (RFC 6890 and its registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => {
                // Global unicast, without what embeds or stands for something else: 6to4, Teredo and its block, examples.
                let [first, second, ..] = ip.segments();
                let embeds = first == 0x2002 || (first == 0x2001 && (second < 0x200 || second == 0xdb8));
                first & 0xe000 == 0x2000 && !embeds
            }
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let protocol = a == 192 && b == 0 && c == 0;
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    let special = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast();
    !(special || shared || benchmark || protocol || ip.is_documentation() || a == 0 || a >= 240)
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
        assert_eq!(base("docker.io").unwrap(), "https://registry-1.docker.io/");
        assert_eq!(base("reg.lan:5000").unwrap(), "http://reg.lan:5000/");
        assert_eq!(base("http://reg.lan:5000").unwrap(), "http://reg.lan:5000/");
        assert_eq!(base("10.0.0.7").unwrap(), "https://10.0.0.7/");
    }

    #[test]
    fn what_is_not_public_is_refused_by_name() {
        let upstream = upstream(&["http://127.0.0.1:5000"]);
        assert!(upstream.registry("http://127.0.0.1:5000").is_ok());
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
            assert!(matches!(upstream.registry(private), Err(UpstreamRefused::NotAllowed(_))), "{private}");
        }
        let listed = self::upstream(&["http://x.lan.example:5000"]);
        assert!(listed.registry("http://x.lan.example:5000").is_ok());
        for other in ["http://x.lan.example:22", "http://x.lan.example", "x.lan.example"] {
            assert!(matches!(listed.registry(other), Err(UpstreamRefused::NotAllowed(_))), "{other}");
        }
        for nonsense in ["", "ftp://x.y", "http://a@b.c", "a b", "x.y/path", "x.y?q"] {
            assert!(matches!(upstream.registry(nonsense), Err(UpstreamRefused::Malformed(_))), "{nonsense}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_not_asked() {
        let resolver = GuardedResolver { rules: Arc::new(Rules { listed: vec![], any_public: true }), proxies: vec![] };
        let Err(refused) = resolver.resolve("localhost".parse().unwrap()).await else { panic!("resolved") };
        assert!(refused.to_string().contains("localhost"));
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let config = UpstreamConfig { allow: vec!["ftp://x".to_owned()], ..UpstreamConfig::default() };
        assert!(Upstream::new(&config).unwrap_err().to_string().contains("ftp://x"));
    }
}
