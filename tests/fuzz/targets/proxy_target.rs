//! A request line for the forward proxy, and the `Host` of a request inside a tunnel: what is taken names one host, and no
//! user; and a request inside is for whom the tunnel was made to.

#![no_main]

use dfdaemon::proxy::target::{Target, inside, target};
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (Some(method), Some(uri)) = (lines.next(), lines.next()) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else { return };
    let host = lines.next();
    let Ok(Some(found)) = target(&method, &uri) else { return };
    let (Target::Resource(url) | Target::Tunnel(url)) = &found;
    assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{text:?}");
    assert!(url.username().is_empty() && url.password().is_none() && url.port() != Some(0), "{text:?}");
    if let Target::Tunnel(tunnel) = &found
        && let Some((uri, host)) = host.and_then(|rest| rest.split_once('\n'))
        && let Ok(uri) = uri.parse()
        && let Ok(url) = inside(tunnel, &uri, Some(host))
    {
        assert_eq!(url.origin(), tunnel.origin(), "{text:?}");
    }
});
