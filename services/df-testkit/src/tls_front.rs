//! TLS in front of any address, with a certificate authority made on the spot.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::Authority;

/// Runs until dropped; its connections end with it.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    ca_pem: String,
    server: JoinHandle<()>,
}

// === impl TlsFront ===

impl TlsFront {
    /// On 127.0.0.1, any free port; passes on to `target`. The certificate is good for 127.0.0.1 and `localhost`.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), target, &authority, &["127.0.0.1", "localhost"]).await
    }

    /// As [`TlsFront::start`], elsewhere, with a certificate of this authority for these names.
    pub async fn start_at(
        address: SocketAddr,
        target: SocketAddr,
        authority: &Authority,
        names: &[&str],
    ) -> anyhow::Result<Self> {
        let (certificate, key) = authority.issue_for(names)?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), target));
        Ok(Self { address, ca_pem: authority.pem(), server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:port`, no `/` at the end.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        let acceptor = acceptor.clone();
        // A client that trusts nobody here ends the handshake, and notices by itself.
        connections.spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
