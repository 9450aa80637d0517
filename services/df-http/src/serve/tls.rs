//! Certificates of a listener, read from files, and read again when the files change: they are renewed while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::pem::{PemError, certificates, private_key};

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that signed it.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate that one of these authorities signed.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] PemError),
    #[error("the certificate {cert} and its key cannot be used")]
    Certificate { cert: PathBuf, source: rustls::Error },
    #[error("the client authorities {path} cannot be used: {why}")]
    ClientAuthorities { path: PathBuf, why: String },
}

/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// TLS of one listener.
pub struct ServerTls {
    files: TlsFiles,
    pub(super) loaded: Mutex<Loaded>,
}

pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When each file had changed last.
    pub(super) stamps: Vec<Option<SystemTime>>,
    looked: Instant,
}

// === impl ServerTls ===

impl ServerTls {
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = files.stamps();
        let loaded = Loaded { config: Arc::new(files.load()?), stamps, looked: Instant::now() };
        Ok(Self { files, loaded: Mutex::new(loaded) })
    }

    /// What to shake hands with. Three calls to the file system every ten seconds; files that do not fit together, as in
    /// the middle of a renewal, are tried again at the next look.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock();
        if loaded.looked.elapsed() >= LOOK_AGAIN {
            loaded.looked = Instant::now();
            self.renew(&mut loaded);
        }
        loaded.config.clone()
    }

    pub(super) fn renew(&self, loaded: &mut Loaded) {
        let stamps = self.files.stamps();
        if stamps == loaded.stamps {
            return;
        }
        match self.files.load() {
            Ok(config) => {
                (loaded.config, loaded.stamps) = (Arc::new(config), stamps);
                tracing::info!(cert = %self.files.cert.display(), "certificates were renewed");
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(error, "changed certificates cannot be used; the former ones stay");
            }
        }
    }
}

// === impl TlsFiles ===

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
        files.into_iter().flatten().map(changed).collect()
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |source| TlsError::Certificate { cert: self.cert.clone(), source };
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let wrong = |why: String| TlsError::ClientAuthorities { path: path.clone(), why };
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(path)? {
                    authorities.add(certificate).map_err(|error| wrong(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(error.to_string()))?)
            }
        };
        let mut config =
            builder.with_single_cert(certificates(&self.cert)?, private_key(&self.key)?).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
