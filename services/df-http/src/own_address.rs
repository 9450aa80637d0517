//! Which address of this machine others can use, when nobody has said so: the one that packets leave from.
//! **Invariant:** nothing is sent to find it out, and a name that does not resolve holds nobody up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use http::Uri;

const RESOLVE_PATIENCE: Duration = Duration::from_secs(3);
/// Of documentation (RFC 5737, RFC 3849): nobody's, and behind the way out of a machine that has one.
const WORLD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The address that packets leave from towards the first of these servers that there is a way to, of either IP version;
/// else towards the world. `None` without any way out.
pub async fn own_address(urls: impl IntoIterator<Item = String>) -> Option<IpAddr> {
    for url in urls {
        if let Some(own) = resolve(&url).await.into_iter().find_map(leaving_towards) {
            return Some(own);
        }
    }
    WORLD.into_iter().find_map(|ip| leaving_towards(SocketAddr::new(ip, 9)))
}

/// Where to listen, so that `advertised` is heard: all addresses of IPv4 do not include one of IPv6.
pub fn listen_for(advertised: IpAddr, listen: SocketAddr) -> SocketAddr {
    let all_of_v4 = listen.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match all_of_v4 && advertised.is_ipv6() {
        true => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), listen.port()),
        false => listen,
    }
}

async fn resolve(url: &str) -> Vec<SocketAddr> {
    let Ok(url) = url.parse::<Uri>() else { return Vec::new() };
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::time::timeout(RESOLVE_PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The kernel chooses it when a datagram's target is set, and sends nothing yet.
fn leaving_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    let own = socket.local_addr().ok()?.ip().to_canonical();
    // One of a link says nothing without the link's name.
    let elsewhere = own.is_unspecified() || matches!(own, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (!elsewhere).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn towards(urls: &[&str]) -> Option<IpAddr> {
        own_address(urls.iter().map(|url| (*url).to_owned())).await
    }

    #[tokio::test]
    async fn a_server_of_either_ip_version_says_which_of_our_addresses_it_sees() {
        assert_eq!(towards(&["http://127.0.0.1:8080"]).await, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(towards(&["http://[::1]:8080"]).await, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert!(towards(&["https://localhost"]).await.is_some_and(|ip| ip.is_loopback()));
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_passed_over() {
        let found = towards(&["no url at all", "http://no-such-name.invalid:1", "http://[::1]"]).await;
        assert_eq!(found, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }

    #[test]
    fn who_is_known_by_an_ipv6_address_listens_there() {
        let all: SocketAddr = "0.0.0.0:65002".parse().unwrap();
        assert_eq!(listen_for("fd00::1".parse().unwrap(), all).to_string(), "[::]:65002");
        assert_eq!(listen_for("10.0.0.1".parse().unwrap(), all), all);
        let one = "10.0.0.1:65002".parse().unwrap();
        assert_eq!(listen_for("fd00::1".parse().unwrap(), one), one);
    }
}
