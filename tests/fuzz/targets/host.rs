//! The name of a registry, as `ns`, a header or a path has it: whatever it says, nothing private is asked.

#![no_main]

use std::sync::OnceLock;

use df_peer::{Upstream, UpstreamConfig};
use libfuzzer_sys::fuzz_target;
use url::Host;

fuzz_target!(|name: &str| {
    static UPSTREAM: OnceLock<Upstream> = OnceLock::new();
    let upstream = UPSTREAM.get_or_init(|| match Upstream::new(&UpstreamConfig::default()) {
        Ok(upstream) => upstream,
        Err(error) => panic!("{error}"),
    });
    let Some(url) = upstream.registry(name).ok().filter(|url| upstream.check(url).is_ok()) else { return };
    assert!(matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none(), "{name:?}: {url}");
    assert!(url.username().is_empty() && url.password().is_none(), "{name:?}: {url}");
    match url.host() {
        Some(Host::Ipv4(ip)) => {
            assert!(!ip.is_loopback() && !ip.is_private() && !ip.is_link_local() && !ip.is_unspecified(), "{name:?}");
        }
        Some(Host::Ipv6(ip)) => {
            assert!(!ip.is_loopback() && !ip.is_unspecified() && ip.to_ipv4_mapped().is_none(), "{name:?}");
        }
        Some(Host::Domain(domain)) => assert!(domain.contains('.') && domain != "localhost", "{name:?}"),
        None => panic!("{name:?}: {url} has no host"),
    }
});
