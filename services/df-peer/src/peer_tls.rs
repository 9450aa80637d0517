//! How this host speaks TLS to the piece ports of others.

use std::path::{Path, PathBuf};

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
    #[error("cannot read {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("peerTls.certFile and peerTls.keyFile go together")]
    Half,
    #[error("the certificates in {path} cannot be used")]
    Unusable { path: PathBuf, source: reqwest::Error },
    #[error("cannot set up the client for peers")]
    Client(#[from] reqwest::Error),
}

// === impl PeerTlsConfig ===

impl PeerTlsConfig {
    /// The client that asks parents.
    pub(crate) fn client(&self) -> Result<reqwest::Client, PeerTlsError> {
        let mut client = df_client::client_builder();
        if let Some(path) = &self.ca_file {
            let authorities = reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|error| bad(path, error))?;
            client = client.tls_certs_only(authorities);
        }
        client = match (&self.cert_file, &self.key_file) {
            (None, None) => client,
            (Some(cert), Some(key)) => {
                let mut pem = read(cert)?;
                pem.push(b'\n');
                pem.extend(read(key)?);
                client.identity(reqwest::Identity::from_pem(&pem).map_err(|error| bad(cert, error))?)
            }
            _ => return Err(PeerTlsError::Half),
        };
        Ok(client.build()?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PeerTlsError> {
    std::fs::read(path).map_err(|source| PeerTlsError::File { path: path.to_owned(), source })
}

fn bad(path: &Path, source: reqwest::Error) -> PeerTlsError {
    PeerTlsError::Unusable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_files_is_named() {
        let why = |config: PeerTlsConfig| config.client().unwrap_err().to_string();
        let path = |text: &str| Some(PathBuf::from(text));
        assert!(
            why(PeerTlsConfig { ca_file: path("/nonexistent/ca"), ..Default::default() }).contains("/nonexistent/ca")
        );
        assert!(why(PeerTlsConfig { cert_file: path("/x"), ..Default::default() }).contains("peerTls.keyFile"));
        assert!(PeerTlsConfig::default().client().is_ok());
    }
}
