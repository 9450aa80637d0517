//! A bare connection to an origin, for a tunnel: to an address that was checked, never to a name.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use url::{Host, Url};

use super::client::CONNECT_TIMEOUT;
use super::{Upstream, UpstreamRefused};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Refused(#[from] UpstreamRefused),
    #[error("{host} cannot be reached: {source}")]
    Unreachable { host: String, source: io::Error },
    #[error("{host} does not answer within {CONNECT_TIMEOUT:?}")]
    Timeout { host: String },
}

// === impl Upstream ===

impl Upstream {
    /// Connects to host and port of `url`. What its name resolves to is checked first, and that is connected to.
    pub async fn connect(&self, url: &Url) -> Result<TcpStream, ConnectError> {
        self.check(url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_checked(url)).await {
            Ok(Ok(Ok(stream))) => Ok(stream),
            Ok(Ok(Err(source))) => Err(ConnectError::Unreachable { host, source }),
            Ok(Err(refused)) => Err(refused.into()),
            Err(_) => Err(ConnectError::Timeout { host }),
        }
    }

    async fn connect_checked(&self, url: &Url) -> Result<io::Result<TcpStream>, UpstreamRefused> {
        let port = url.port_or_known_default().unwrap_or_default();
        let addresses: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![SocketAddr::new(IpAddr::V4(ip), port)],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::new(IpAddr::V6(ip), port)],
            Some(Host::Domain(name)) => match self.rules.resolve(name, port).await {
                Ok(addresses) => addresses?,
                Err(error) => return Ok(Err(error)),
            },
            None => return Err(UpstreamRefused::Malformed(String::new())),
        };
        Ok(TcpStream::connect(&addresses[..]).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::UpstreamConfig;

    async fn connect(allow: &[&str], url: &str) -> Result<TcpStream, ConnectError> {
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
