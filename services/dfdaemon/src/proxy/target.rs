//! What a request line wants of a proxy (RFC 9112 §3.2). Pure; it reads what strangers write.

use http::{Method, Uri};
use url::Url;

/// A request that is meant for another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Absolute form: this resource.
    Resource(Url),
    /// `CONNECT`: a connection to host and port of this `https://host:port/`.
    Tunnel(Url),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the request line names no http(s) URL with a host: use http://host/path")]
    Url,
    #[error("CONNECT wants host:port, such as example.org:443")]
    Authority,
    #[error("a user or password in the URL is not passed on: send it as a header")]
    User,
    #[error("this connection was made to {tunnel}: a request inside it cannot be for another host")]
    Misdirected { tunnel: String },
}

/// `None`: the request is for this server itself.
pub fn target(method: &Method, uri: &Uri) -> Result<Option<Target>, TargetError> {
    if *method == Method::CONNECT {
        return tunnel(uri).map(|url| Some(Target::Tunnel(url)));
    }
    match uri.scheme() {
        None => Ok(None),
        Some(_) => resource(uri).map(|url| Some(Target::Resource(url))),
    }
}

/// The resource that a request inside of a tunnel asks for. Its `Host` must be whom the tunnel was made to.
pub fn inside(tunnel: &Url, uri: &Uri, host: Option<&str>) -> Result<Url, TargetError> {
    let url = resource(uri)?;
    let named = host.map(|host| authority(host).ok_or(TargetError::Url)).transpose()?;
    let same = |other: &Url| other.origin() == tunnel.origin();
    match same(&url) && named.is_none_or(|named| same(&named)) {
        true => Ok(url),
        false => Err(TargetError::Misdirected { tunnel: tunnel.origin().ascii_serialization() }),
    }
}

fn tunnel(uri: &Uri) -> Result<Url, TargetError> {
    let wanted = uri.authority().filter(|_| uri.scheme().is_none()).ok_or(TargetError::Authority)?;
    if wanted.as_str().contains('@') {
        return Err(TargetError::User);
    }
    let port = wanted.port_u16().filter(|port| *port != 0);
    authority(wanted.as_str()).filter(|_| port.is_some()).ok_or(TargetError::Authority)
}

fn resource(uri: &Uri) -> Result<Url, TargetError> {
    let named = uri.authority().ok_or(TargetError::Url)?;
    if named.as_str().contains('@') {
        return Err(TargetError::User);
    }
    let path = uri.path_and_query().is_none_or(|path| path.as_str().starts_with(['/', '?']));
    let url = Url::parse(&uri.to_string()).map_err(|_| TargetError::Url)?;
    let whole = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    match path && whole && url.port() != Some(0) {
        true => Ok(url),
        false => Err(TargetError::Url),
    }
}

/// `host` or `host:port` and nothing else → `https://host:port/`.
fn authority(text: &str) -> Option<Url> {
    if text.is_empty() || text.contains(['/', '?', '#', '@', '\\']) {
        return None;
    }
    Url::parse(&format!("https://{text}/")).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(method: Method, uri: &str) -> Result<Option<Target>, TargetError> {
        target(&method, &uri.parse().unwrap())
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn only_absolute_form_and_connect_are_for_others() {
        assert_eq!(parse(Method::GET, "/v2/a/tags/list?ns=http://x"), Ok(None));
        assert_eq!(parse(Method::OPTIONS, "*"), Ok(None));
        let resource = |text| Ok(Some(Target::Resource(url(text))));
        assert_eq!(parse(Method::GET, "http://Host.Example:80/a?b"), resource("http://host.example/a?b"));
        assert_eq!(parse(Method::POST, "https://h.example"), resource("https://h.example/"));
        // As curl spells loopback when somebody hides it.
        assert_eq!(parse(Method::GET, "http://0x7f.1/"), resource("http://127.0.0.1/"));
        let tunnel = |text| Ok(Some(Target::Tunnel(url(text))));
        assert_eq!(parse(Method::CONNECT, "h.example:443"), tunnel("https://h.example/"));
        assert_eq!(parse(Method::CONNECT, "[2001:db8::1]:8443"), tunnel("https://[2001:db8::1]:8443/"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for uri in ["ftp://h/x", "http://user:secret@h/x"] {
            let error = parse(Method::GET, uri).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        for uri in ["h.example", "h.example:0", "u@h.example:443", "/path", "http://h.example:443/", "h:99999"] {
            assert!(uri.parse::<Uri>().map(|uri| target(&Method::CONNECT, &uri)).map_or(true, |t| t.is_err()), "{uri}");
        }
    }

    #[test]
    fn a_request_inside_of_a_tunnel_is_for_its_host() {
        let tunnel = url("https://h.example:8443/");
        let ask = |uri: &str, host: Option<&str>| inside(&tunnel, &uri.parse().unwrap(), host);
        assert_eq!(
            ask("https://h.example:8443/a?b=c", Some("H.example:8443")),
            Ok(url("https://h.example:8443/a?b=c"))
        );
        assert_eq!(ask("https://h.example:8443/a", None), Ok(url("https://h.example:8443/a")));
        for (uri, host) in [
            ("https://h.example:8443/a", "other.example:8443"),
            ("https://h.example:8443/a", "h.example"),
            ("https://other.example/a", "h.example:8443"),
            ("http://h.example:8443/a", "h.example:8443"),
        ] {
            assert!(matches!(ask(uri, Some(host)), Err(TargetError::Misdirected { .. })), "{uri} {host}");
        }
        assert_eq!(ask("https://h.example:8443/", Some("a/b")), Err(TargetError::Url));
    }

    proptest! {
        #[test]
        fn whatever_is_written_a_target_has_a_host_and_no_user(text in "(http|https|ftp)?(://)?[a-z0-9.@:/?#\\[\\]%*-]{0,40}", connect: bool) {
            let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
            let method = if connect { Method::CONNECT } else { Method::GET };
            if let Ok(Some(Target::Resource(url) | Target::Tunnel(url))) = target(&method, &uri) {
                prop_assert!(url.host_str().is_some_and(|host| !host.is_empty()));
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert!(matches!(url.scheme(), "http" | "https"));
            }
        }
    }
}
