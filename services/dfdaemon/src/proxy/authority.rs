//! The certificate authority of interception: given, or made once for this node; and what it signs, for a week at most.
//!
//! **Invariant.** An authority made here can sign for the hosts in `proxy.intercept` only (RFC 5280 §4.2.1.10): who
//! trusts it trusts it for nothing else. Its key is readable for its owner alone.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use df_http::pem::{PemError, certificates};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::intercepted::{Intercepted, Name};

/// PEM files of an authority that the clients trust already.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaConfig {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the key {path} cannot be used")]
    Key { path: PathBuf, source: rcgen::Error },
    #[error("{cert} and {key} do not go together")]
    Mismatch { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
    #[error("cannot use what was signed")]
    Tls(#[from] rustls::Error),
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Where clients find whom to trust.
    pub cert_file: PathBuf,
    /// One key for all that is signed: it never leaves this process.
    leaf_key: KeyPair,
    leafs: Mutex<HashMap<String, Leaf>>,
}

struct Leaf {
    config: Arc<ServerConfig>,
    signed: Instant,
}

const LEAF_VALID: Duration = Duration::from_secs(7 * DAY_S);
/// Long before it ends: clients keep connections.
const LEAF_RENEWED: Duration = Duration::from_secs(DAY_S);
/// Clients' clocks are not ours.
const SKEW: Duration = Duration::from_secs(DAY_S);
const CA_VALID: Duration = Duration::from_secs(3650 * DAY_S);
const DAY_S: u64 = 24 * 3600;
const LEAFS_MAX: usize = 1000;

// === impl Authority ===

impl Authority {
    /// The one given, else the one of this node, made now when there is none for these hosts.
    pub fn open(given: Option<&CaConfig>, intercepted: &Intercepted, dir: &Path) -> Result<Self, AuthorityError> {
        match given {
            Some(CaConfig { cert_file, key_file }) => Self::load(cert_file, key_file),
            None => Self::of_this_node(intercepted, &dir.join("proxy-ca")),
        }
    }

    fn of_this_node(intercepted: &Intercepted, dir: &Path) -> Result<Self, AuthorityError> {
        let (cert_file, key_file) = (dir.join("ca.pem"), dir.join("ca.key"));
        let head = head(intercepted);
        let kept = std::fs::read_to_string(&cert_file).is_ok_and(|kept| kept.starts_with(&head));
        if kept && let Ok(authority) = Self::load(&cert_file, &key_file) {
            return Ok(authority);
        }
        let key = KeyPair::generate()?;
        let certificate = ca_params(intercepted).self_signed(&key)?;
        std::fs::create_dir_all(dir).map_err(|source| AuthorityError::File { path: dir.to_owned(), source })?;
        write(&key_file, 0o600, &key.serialize_pem())?;
        write(&cert_file, 0o644, &format!("{head}{}", certificate.pem()))?;
        tracing::warn!(path = %cert_file.display(), "a new authority was made for the hosts in proxy.intercept; their clients must trust it");
        Self::load(&cert_file, &key_file)
    }

    fn load(cert_file: &Path, key_file: &Path) -> Result<Self, AuthorityError> {
        let certificate = certificates(cert_file)?.swap_remove(0);
        let text = std::fs::read_to_string(key_file);
        let text = text.map_err(|source| AuthorityError::File { path: key_file.to_owned(), source })?;
        let unusable = |source| AuthorityError::Key { path: key_file.to_owned(), source };
        let key = KeyPair::from_pem(&text).map_err(unusable)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(vec![certificate.clone()], private(&key), &provider).map_err(|source| {
            AuthorityError::Mismatch { cert: cert_file.to_owned(), key: key_file.to_owned(), source }
        })?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            cert_file: cert_file.to_owned(),
            leaf_key: KeyPair::generate()?,
            leafs: Mutex::default(),
        })
    }

    /// What to shake hands with as `host`, a name or an address without brackets.
    pub fn tls_for(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut leafs = self.leafs.lock();
        if let Some(leaf) = leafs.get(host).filter(|leaf| leaf.signed.elapsed() < LEAF_RENEWED) {
            return Ok(leaf.config.clone());
        }
        // Names below a domain are as many as clients like.
        if leafs.len() >= LEAFS_MAX {
            leafs.clear();
        }
        let config = Arc::new(self.sign(host)?);
        leafs.insert(host.to_owned(), Leaf { config: config.clone(), signed: Instant::now() });
        Ok(config)
    }

    fn sign(&self, host: &str) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Dragonfly forward proxy");
        (params.not_before, params.not_after) = validity(LEAF_VALID);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, private(&self.leaf_key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(key.serialize_der().into())
}

fn validity<T: From<SystemTime>>(valid: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - SKEW).into(), (now + valid).into())
}

/// Written above the certificate: for people, and to see whether it is still for the right hosts.
fn head(intercepted: &Intercepted) -> String {
    let mut names: Vec<_> = intercepted.names().map(Name::to_string).collect();
    names.sort_unstable();
    names.dedup();
    format!("Authority of this node's Dragonfly forward proxy, good only for: {}\n", names.join(", "))
}

fn ca_params(intercepted: &Intercepted) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Dragonfly forward proxy of this node");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = validity(CA_VALID);
    params.name_constraints = Some(constraints(intercepted));
    params
}

/// A kind of name of which none is permitted would be free, so all of it is excluded.
fn constraints(intercepted: &Intercepted) -> NameConstraints {
    let (mut permitted_subtrees, mut excluded_subtrees) = (Vec::new(), Vec::new());
    let (mut names, mut addresses) = (false, false);
    for name in intercepted.names() {
        permitted_subtrees.push(match name {
            Name::Host(name) | Name::Below(name) => {
                names = true;
                GeneralSubtree::DnsName(name.clone())
            }
            Name::Ip(ip) => {
                addresses = true;
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*ip, if ip.is_ipv4() { 32 } else { 128 }))
            }
        });
    }
    if !names {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    if !addresses {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

/// Whole or not at all, with `mode` from its first byte on.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let new = path.with_extension("new");
    let written = (|| {
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    written.map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(hosts: &[&str], dir: &Path) -> Authority {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        Authority::open(None, &Intercepted::new(&hosts).unwrap(), dir).unwrap()
    }

    #[test]
    fn an_authority_is_made_once_for_its_hosts_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&["a.example", "*.b.example"], dir.path());
        let again = open(&["*.b.example", "a.example"], dir.path());
        assert_eq!(first.certificate, again.certificate);
        let key = dir.path().join("proxy-ca/ca.key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let other = open(&["c.example"], dir.path());
        assert_ne!(other.certificate, first.certificate);
        let stranger = tempfile::tempdir().unwrap();
        open(&["c.example"], stranger.path());
        let given = CaConfig { cert_file: other.cert_file.clone(), key_file: stranger.path().join("proxy-ca/ca.key") };
        let mixed = Authority::open(Some(&given), &Intercepted::default(), dir.path());
        assert!(matches!(mixed, Err(AuthorityError::Mismatch { .. })));
        std::fs::copy(&given.key_file, &key).unwrap();
        assert_ne!(open(&["c.example"], dir.path()).certificate, other.certificate, "what does not fit is made anew");
    }

    #[test]
    fn a_host_is_signed_for_once_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let authority = open(&["*.a.example", "10.0.0.7"], dir.path());
        let first = authority.tls_for("x.a.example").unwrap();
        assert!(Arc::ptr_eq(&first, &authority.tls_for("x.a.example").unwrap()));
        assert!(!Arc::ptr_eq(&first, &authority.tls_for("10.0.0.7").unwrap()));
        let Some(signed) = Instant::now().checked_sub(LEAF_RENEWED) else { return };
        authority.leafs.lock().get_mut("x.a.example").unwrap().signed = signed;
        assert!(!Arc::ptr_eq(&first, &authority.tls_for("x.a.example").unwrap()));
        for number in 0..LEAFS_MAX + 1 {
            let leaf = Leaf { config: first.clone(), signed: Instant::now() };
            authority.leafs.lock().insert(number.to_string(), leaf);
        }
        authority.tls_for("y.a.example").unwrap();
        assert_eq!(authority.leafs.lock().len(), 1, "names are bounded");
    }
}
