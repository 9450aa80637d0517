//! A bare connection to an origin, for a tunnel: to an address that was checked, never to a name, unless a proxy for
//! upstreams resolves it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hyper_util::client::proxy::matcher::Intercept;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::client::CONNECT_TIMEOUT;
use super::{Upstream, UpstreamRefused};

/// Bytes to an origin and back, on whatever way.
pub type Connection = Box<dyn Stream>;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Refused(#[from] UpstreamRefused),
    #[error("{host} cannot be reached: {source}")]
    Unreachable { host: String, source: io::Error },
    /// Without its URL: it may hold a password.
    #[error("{host} cannot be reached through the proxy for upstreams (upstream.proxy): {why}")]
    Proxy { host: String, why: String },
    #[error("{host} does not answer within {CONNECT_TIMEOUT:?}")]
    Timeout { host: String },
}

// === impl Upstream ===

impl Upstream {
    /// Connects to host and port of `https://host:port/`, through the proxy for upstreams where there is one.
    pub async fn connect(&self, url: &Url) -> Result<Connection, ConnectError> {
        self.check(url)?;
        let host = || url.host_str().unwrap_or_default().to_owned();
        let connecting = async {
            match self.way_out.proxy(url) {
                Some(proxy) => self.connect_by(&proxy, url).await,
                None => {
                    let unreachable = |source| ConnectError::Unreachable { host: host(), source };
                    let addresses = self.addresses(url).await?.map_err(unreachable)?;
                    let stream = TcpStream::connect(&addresses[..]).await.map_err(unreachable)?;
                    Ok(Box::new(stream) as Connection)
                }
            }
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| Err(ConnectError::Timeout { host: host() }))
    }

    async fn connect_by(&self, proxy: &Intercept, url: &Url) -> Result<Connection, ConnectError> {
        let host = url.host_str().unwrap_or_default();
        let failed = |why: String| ConnectError::Proxy { host: host.to_owned(), why };
        let mut target = url.clone();
        // `socks5h` and the others resolve names themselves.
        if proxy.uri().scheme_str() == Some("socks5") {
            let addresses = self.addresses(url).await?.map_err(|error| failed(error.to_string()))?;
            if let Some(address) = addresses.first() {
                let _ = target.set_ip_host(address.ip());
            }
        }
        self.way_out.connect(proxy, &target).await.map_err(|error| failed(error.to_string()))
    }

    /// What its name resolves to, without what may not be asked.
    async fn addresses(&self, url: &Url) -> Result<io::Result<Vec<SocketAddr>>, UpstreamRefused> {
        let port = url.port_or_known_default().unwrap_or_default();
        match url.host() {
            Some(Host::Ipv4(ip)) => Ok(Ok(vec![SocketAddr::new(IpAddr::V4(ip), port)])),
            Some(Host::Ipv6(ip)) => Ok(Ok(vec![SocketAddr::new(IpAddr::V6(ip), port)])),
            Some(Host::Domain(name)) => match self.rules.resolve(name, port).await {
                Ok(addresses) => addresses.map(Ok),
                Err(error) => Ok(Err(error)),
            },
            None => Err(UpstreamRefused::Malformed(String::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::UpstreamConfig;

    async fn connect(allow: &[&str], url: &str) -> Result<Connection, ConnectError> {
        let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
        let upstream = Upstream::new(&UpstreamConfig { allow, ..UpstreamConfig::default() }).unwrap();
        upstream.connect(&url.parse().unwrap()).await
    }

    #[tokio::test]
    async fn only_what_is_listed_or_public_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listed = format!("localhost:{port}");
        connect(&[&listed], &format!("https://{listed}")).await.unwrap();
        for private in
            [format!("https://127.0.0.1:{port}"), "https://localhost:1".to_owned(), "https://[::1]".to_owned()]
        {
            let refused = connect(&[&listed], &private).await;
            assert!(matches!(refused, Err(ConnectError::Refused(UpstreamRefused::NotAllowed(_)))), "{private}");
        }
    }
}
