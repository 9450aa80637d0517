//! Certificates and keys from PEM files; an error names the file.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {why}")]
pub struct PemError {
    pub path: PathBuf,
    pub why: String,
}

/// One at least.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(PemError { path: path.to_owned(), why: "no certificate in it".to_owned() })
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, &error)),
    }
}

pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &pem::Error) -> PemError {
    PemError { path: path.to_owned(), why: error.to_string() }
}
