//! How this host speaks TLS to the piece ports of others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use df_http::pem::{PemError, certificates, private_key};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use serde::{Deserialize, Serialize};

/// Settings of the child's side; the parent's are `upload.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeerTlsConfig {
    /// PEM: the authorities that sign certificates of peers; no others are trusted then. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM: the certificate to show to peers that want one, and what signed it; needs `keyFile`. Default: none.
    pub cert_file: Option<PathBuf>,
    /// PEM: its key. Default: none.
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    #[error(transparent)]
    File(#[from] PemError),
    #[error("peerTls.certFile and peerTls.keyFile go together")]
    Half,
    #[error("the certificates in {path} cannot be used")]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("the certificates of the system cannot be used")]
    System(#[source] rustls::Error),
    #[error("cannot set up the client for peers")]
    Client(#[from] reqwest::Error),
}

// === impl PeerTlsConfig ===

impl PeerTlsConfig {
    pub(crate) fn load(&self) -> Result<ClientConfig, PeerTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(PeerTlsError::System)?;
        let builder = match &self.ca_file {
            Some(path) => {
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(path)? {
                    authorities.add(certificate).map_err(|source| bad(path, source))?;
                }
                builder.with_root_certificates(authorities)
            }
            None => {
                let verifier = Verifier::new(provider).map_err(PeerTlsError::System)?;
                // The name is rustls's; what it takes is the platform's own check.
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match (&self.cert_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|source| bad(cert, source))?,
            _ => return Err(PeerTlsError::Half),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The client that asks parents for all that is not bytes.
    pub(crate) fn client(&self, tls: &ClientConfig) -> Result<reqwest::Client, PeerTlsError> {
        Ok(df_client::client_builder().tls_backend_preconfigured(tls.clone()).build()?)
    }
}

fn bad(path: &Path, source: rustls::Error) -> PeerTlsError {
    PeerTlsError::Unusable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_files_is_named() {
        let why = |config: PeerTlsConfig| config.load().unwrap_err().to_string();
        let path = |text: &str| Some(PathBuf::from(text));
        assert!(
            why(PeerTlsConfig { ca_file: path("/nonexistent/ca"), ..Default::default() }).contains("/nonexistent/ca")
        );
        assert!(why(PeerTlsConfig { cert_file: path("/x"), ..Default::default() }).contains("peerTls.keyFile"));
        assert!(PeerTlsConfig::default().load().is_ok());
    }
}
