//! A certificate authority made on the spot, and what it signs: for `127.0.0.1`, or for names of a test's own network.

use std::path::Path;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// Whom tests trust.
pub struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { ca: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.ca.pem()
    }

    /// What it signs with, as PEM.
    pub fn key_pem(&self) -> String {
        self.ca.key().serialize_pem()
    }

    /// A certificate and its key, as PEM.
    pub fn issue(&self) -> anyhow::Result<(String, String)> {
        self.issue_for(&["127.0.0.1"])
    }

    /// As [`Authority::issue`], for other names or addresses.
    pub fn issue_for(&self, names: &[&str]) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names.iter().copied().map(str::to_owned).collect::<Vec<_>>())?;
        Ok((params.signed_by(&key, &self.ca)?.pem(), key.serialize_pem()))
    }

    /// A folder with `ca.pem`, and a `cert.pem` that goes with `key.pem`.
    pub fn files(&self) -> anyhow::Result<TempDir> {
        let folder = tempfile::tempdir()?;
        self.renew(folder.path())?;
        Ok(folder)
    }

    /// Issues anew into a folder made by [`Authority::files`].
    pub fn renew(&self, folder: &Path) -> anyhow::Result<()> {
        let (cert, key) = self.issue()?;
        for (name, pem) in [("ca.pem", self.ca.pem()), ("cert.pem", cert), ("key.pem", key)] {
            std::fs::write(folder.join(name), pem).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    /// Trusts this authority only; with a certificate of its own or without.
    pub fn client(&self, with_certificate: bool) -> anyhow::Result<reqwest::Client> {
        let trusted = reqwest::Certificate::from_pem(self.ca.pem().as_bytes())?;
        let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
        if with_certificate {
            let (cert, key) = self.issue()?;
            client = client.identity(reqwest::Identity::from_pem(format!("{cert}{key}").as_bytes())?);
        }
        Ok(client.build()?)
    }
}
