//! Which hosts' TLS is ended here. Pure.

use std::net::IpAddr;

use url::{Host, Url};

/// `proxy.intercept`, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intercepted(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Name,
    /// `None`: all of them.
    port: Option<u16>,
}

/// Whom the authority may sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Host(String),
    /// All names that end in `.domain`.
    Below(String),
    Ip(IpAddr),
}

#[derive(Debug, thiserror::Error)]
#[error("proxy.intercept has {0:?}: use host, host:port or *.domain")]
pub struct InterceptError(String);

// === impl Intercepted ===

impl Intercepted {
    pub fn new(entries: &[String]) -> Result<Self, InterceptError> {
        let parse = |entry: &String| Entry::parse(entry).ok_or_else(|| InterceptError(entry.clone()));
        entries.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether host and port of `url` are.
    pub fn matches(&self, url: &Url) -> bool {
        self.0.iter().any(|entry| entry.matches(url))
    }

    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|entry| &entry.name)
    }
}

// === impl Entry ===

impl Entry {
    fn parse(entry: &str) -> Option<Self> {
        let (below, rest) = match entry.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        if rest.is_empty() || rest.contains(['/', '?', '#', '@', '*', '\\', ' ']) {
            return None;
        }
        let url = Url::parse(&format!("http://{rest}/")).ok()?;
        let name = match url.host()? {
            Host::Domain(name) if below => Name::Below(name.to_owned()),
            Host::Domain(name) => Name::Host(name.to_owned()),
            _ if below => return None,
            Host::Ipv4(ip) => Name::Ip(ip.into()),
            Host::Ipv6(ip) => Name::Ip(ip.into()),
        };
        let port = port_of(rest);
        Some(Self { name, port })
    }

    fn matches(&self, url: &Url) -> bool {
        let host = match (&self.name, url.host()) {
            (Name::Host(name), Some(Host::Domain(host))) => host == name,
            (Name::Below(domain), Some(Host::Domain(host))) => {
                host.strip_suffix(domain.as_str()).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            }
            (Name::Ip(ip), Some(Host::Ipv4(host))) => *ip == IpAddr::V4(host),
            (Name::Ip(ip), Some(Host::Ipv6(host))) => *ip == IpAddr::V6(host),
            _ => false,
        };
        host && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

// === impl Name ===

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// What is behind the last colon, unless that is within an IPv6 address.
fn port_of(text: &str) -> Option<u16> {
    text.rsplit_once(':').filter(|_| !text.ends_with(']'))?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_ports_and_domains_are_told_apart() {
        let entries = ["ghcr.io", "reg.lan:5000", "*.example.org", "10.0.0.7", "[2001:db8::7]:8443"].map(str::to_owned);
        let intercepted = Intercepted::new(&entries).unwrap();
        let matches = |url: &str| intercepted.matches(&url.parse().unwrap());
        for yes in [
            "https://GHCR.io/",
            "https://ghcr.io:8443/",
            "https://reg.lan:5000/",
            "https://a.b.example.org/",
            "https://10.0.0.7:1/",
            "https://[2001:db8::7]:8443/",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "https://x.ghcr.io/",
            "https://reg.lan/",
            "https://example.org/",
            "https://.example.org/",
            "https://badexample.org/",
            "https://10.0.0.8/",
            "https://[2001:db8::7]/",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for wrong in ["", "*", "*.", "https://x.y", "x/y", "a@b", "*.10.0.0.1", "a b", "x:port"] {
            assert!(Intercepted::new(&[wrong.to_owned()]).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(entry in "[a-z0-9.:*\\[\\]@/-]{0,20}") {
            let _ = Intercepted::new(&[entry]);
        }
    }
}
