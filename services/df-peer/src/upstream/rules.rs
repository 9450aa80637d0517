//! Which origins may be asked: by name before asking, by address when the name resolves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use secrecy::ExposeSecret as _;
use url::{Host, Url};

use super::{UpstreamConfig, UpstreamError, UpstreamRefused, is_host};

#[derive(Debug)]
pub(super) struct Rules {
    /// `host` or `host:port` → scheme.
    listed: Vec<(String, &'static str)>,
    any_public: bool,
}

// === impl Rules ===

impl Rules {
    pub fn new(config: &UpstreamConfig) -> Result<Self, UpstreamError> {
        let listed = config.allow.iter().map(|entry| listed(entry)).collect::<Result<_, _>>()?;
        Ok(Self { listed, any_public: config.any_public })
    }

    pub fn scheme_of(&self, host: &str) -> &'static str {
        self.listed.iter().find(|(listed, _)| listed.eq_ignore_ascii_case(host)).map_or("https", |(_, scheme)| scheme)
    }

    pub fn has_entry(&self, host: &str) -> bool {
        self.listed.iter().any(|(entry, _)| entry.eq_ignore_ascii_case(host))
    }

    /// Whether an entry means it, in the way it is asked there.
    pub fn lists(&self, url: &Url) -> bool {
        let matches = |entry: &str| is_host(entry, url);
        self.listed.iter().any(|(entry, scheme)| matches(entry) && (*scheme == url.scheme() || url.scheme() == "https"))
    }

    fn lists_host(&self, name: &str) -> bool {
        let host = |entry: &str| entry.rsplit_once(':').map_or(entry.to_owned(), |(host, _)| host.to_owned());
        self.listed.iter().any(|(entry, _)| host(entry).eq_ignore_ascii_case(name))
    }

    /// What a name resolves to, without what may not be asked.
    pub async fn resolve(&self, name: &str, port: u16) -> io::Result<Result<Vec<SocketAddr>, UpstreamRefused>> {
        let listed = self.lists_host(name);
        let found = tokio::net::lookup_host((name, port)).await?;
        let allowed: Vec<_> = found.filter(|address| listed || is_public(address.ip())).collect();
        Ok(match allowed.is_empty() {
            true => Err(UpstreamRefused::NotAllowed(name.to_owned())),
            false => Ok(allowed),
        })
    }

    pub fn check(&self, url: &Url) -> Result<(), UpstreamRefused> {
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
pub(super) struct GuardedResolver {
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
    config.proxy.iter().map(|proxy| proxy.expose_secret().to_owned()).chain(environment).filter_map(host).collect()
}

impl GuardedResolver {
    pub fn new(rules: Arc<Rules>, config: &UpstreamConfig) -> Self {
        Self { rules, proxies: proxy_hosts(config) }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        let passes = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let allowed = match passes {
                true => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
                false => rules.resolve(name.as_str(), 0).await??,
            };
            Ok(Box::new(allowed.into_iter()) as Addrs)
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

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_not_asked() {
        let resolver = GuardedResolver { rules: Arc::new(Rules { listed: vec![], any_public: true }), proxies: vec![] };
        let Err(refused) = resolver.resolve("localhost".parse().unwrap()).await else { panic!("resolved") };
        assert!(refused.to_string().contains("localhost"));
    }
}
