//! What a component may say of itself: where it stands, and the URL others reach it at.
//! **Invariant:** every address that discovery hands out passed here, so no peer is ever sent to a strange URL.

use std::net::{IpAddr, SocketAddr};

use df_api::HostId;
use df_api::cluster::Place;
use df_api::manager::DaemonInfo;
use url::Url;

use crate::check_cluster::{Refused, at_most, check_location, ensure, quoted};

const HOSTNAME_CHARS_MAX: usize = 253;
const IDC_CHARS_MAX: usize = 100;
const URL_CHARS_MAX: usize = 1024;
const FACT_CHARS_MAX: usize = 100;

pub fn check_place(place: &Place) -> Result<(), Refused> {
    let Place { hostname, ip, idc, location } = place;
    let sane = |c: char| !c.is_whitespace() && !c.is_control();
    ensure(!hostname.is_empty() && hostname.chars().all(sane), "place.hostname", quoted(hostname), || {
        "a host's name, without spaces".to_owned()
    })?;
    at_most("place.hostname", hostname, HOSTNAME_CHARS_MAX)?;
    let reachable = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    ensure(ip.parse().is_ok_and(reachable), "place.ip", quoted(ip), || {
        "an IPv4 or IPv6 address that others reach this host at, without port".to_owned()
    })?;
    at_most("place.idc", idc, IDC_CHARS_MAX)?;
    check_plain("place.idc", idc)?;
    check_plain("place.location", location)?;
    check_location("place.location", location)
}

/// A daemon's name is part of the id that it is known by in its cluster.
pub fn check_daemon(place: &Place, port: u16) -> Result<(), Refused> {
    let address = |ip: IpAddr| SocketAddr::new(ip, port);
    let named = place.ip.parse().is_ok_and(|ip| HostId::of(&place.hostname, address(ip)).is_ok());
    ensure(named, "place.hostname", quoted(&place.hostname), || {
        "letters, digits and . _ : - only, short enough to be part of a host's id".to_owned()
    })
}

pub fn check_daemon_info(daemon: &DaemonInfo) -> Result<(), Refused> {
    let DaemonInfo { port: _, os, platform, platform_family, platform_version, kernel_version, git_version } = daemon;
    let facts = [
        ("os", os),
        ("platform", platform),
        ("platform_family", platform_family),
        ("platform_version", platform_version),
        ("kernel_version", kernel_version),
        ("git_version", git_version),
    ];
    facts.into_iter().try_for_each(|(field, text)| {
        at_most(field, text, FACT_CHARS_MAX)?;
        check_plain(field, text)
    })
}

/// They are written down many at once: one that cannot be would hold up all.
fn check_plain(field: &str, text: &str) -> Result<(), Refused> {
    ensure(!text.contains(char::is_control), field, quoted(text), || "without control characters".to_owned())
}

/// What the incumbent has two ports for.
pub fn check_download_port(port: u16, download_port: Option<u16>) -> Result<(), Refused> {
    let other = download_port.unwrap_or(port);
    ensure(other == port, "download_port", other, || format!("the same as port ({port}): pieces are served there"))
}

/// Where somebody with this address is expected to answer.
pub fn expected_url(ip: &str, port: u16) -> Result<String, Refused> {
    let ip: IpAddr = ip.parse().map_err(|_| Refused::new("ip", ip, "an IPv4 or IPv6 address".to_owned()))?;
    ensure(port > 0, "port", port, || "1 to 65535".to_owned())?;
    Ok(format!("http://{}", SocketAddr::new(ip, port)))
}

/// Its port.
pub fn check_url(text: &str) -> Result<u16, Refused> {
    let port = Url::parse(text).ok().filter(is_plain).and_then(|url| url.port_or_known_default());
    // Not repeated when it has a password in it.
    let shown = if text.contains('@') { "…@…".to_owned() } else { quoted(text) };
    ensure(port.is_some(), "url", shown, || {
        "http://HOST:PORT or https://HOST:PORT, without user, path, query or fragment".to_owned()
    })?;
    at_most("url", text, URL_CHARS_MAX)?;
    Ok(port.unwrap_or_default())
}

fn is_plain(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        assert_eq!(check_url("http://10.0.0.1:8002"), Ok(8002));
        assert_eq!(check_url("https://scheduler.cluster-b.svc/"), Ok(443));
        assert_eq!(check_url("http://[fd00::1]:65000"), Ok(65000));
        for wrong in ["", "10.0.0.1:8002", "ftp://a", "http://", "http://a/b", "http://a?b", "http://a#b", "file:///x"]
        {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
        let said = check_url("http://root:hunter2@a").unwrap_err().to_string();
        assert!(said.contains("without user") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_place_has_a_name_and_a_reachable_address() {
        let place = Place { hostname: "node-1".into(), ip: "10.0.0.1".into(), ..Place::default() };
        assert_eq!(check_place(&place), Ok(()));
        for ip in ["", "0.0.0.0", "::", "224.0.0.1", "10.0.0.1:80", "localhost"] {
            let said = check_place(&Place { ip: ip.into(), ..place.clone() }).unwrap_err().to_string();
            assert!(said.starts_with("place.ip"), "{said}");
        }
        assert_eq!(check_daemon(&place, 65002), Ok(()));
        let said = check_daemon(&Place { hostname: "no/de".into(), ..place.clone() }, 65002).unwrap_err().to_string();
        assert!(said.starts_with("place.hostname"), "{said}");
        assert!(check_place(&Place { hostname: "a b".into(), ..place.clone() }).is_err());
        assert!(check_place(&Place { location: "a|b|c|d|e|f".into(), ..place }).is_err());
    }

    proptest! {
        #[test]
        fn a_url_that_passes_has_no_secrets_and_a_web_scheme(text in "(http|https|ftp)://[a-z:@/?#0-9.]{0,20}") {
            if check_url(&text).is_ok() {
                let url = Url::parse(&text).unwrap();
                prop_assert!(url.scheme().starts_with("http") && url.username().is_empty() && url.password().is_none());
            }
        }
    }
}
