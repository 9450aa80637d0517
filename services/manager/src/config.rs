//! The manager's settings: few, all with a default, all also from the environment (`DF_MANAGER__DATA_DIR`).
//! **Invariant:** secrets come from the environment only, never from the file, but for a password in the URL of a database;
//! none shows in `Debug`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Where REST and console answer. Default `0.0.0.0:8080`; `PORT` of the environment replaces the port.
    pub listen: SocketAddr,
    /// Where the database file is. Default `/var/lib/dragonfly/manager`.
    pub data_dir: PathBuf,
    pub database: Database,
    pub object_storage: ObjectStorage,
    /// What schedulers, seed peers and daemons must show. Default `token`.
    pub join: Join,
    /// A scheduler or seed peer that is silent for this long counts as gone; they renew three times as often.
    /// Milliseconds, 100 to 3,600,000. Default 15,000.
    pub lease_ms: u64,
    /// Browsers reach the console over https, though something before the manager ends TLS: session cookies are
    /// `Secure`. Not needed where that something sends `X-Forwarded-Proto`. Default false.
    pub https: bool,
    /// Anybody who reaches the manager may make an account, with the role guest, and whoever a provider lets in gets one.
    /// Default false: root adds users.
    pub sign_up: bool,
    /// Logs at debug level. Default false.
    pub verbose: bool,
    /// `DRAGONFLY_INITIAL_ROOT_PASSWORD`: root's password at first start, 8 to 128 characters. Default `dragonfly`.
    #[serde(skip)]
    pub initial_root_password: Option<SecretString>,
    /// `DRAGONFLY_SECRET_KEY`: with it, secrets of others (of providers that people sign in with) are sealed in the
    /// database; at least 32 characters, the same at all managers and starts. Default: a key from the database itself.
    #[serde(skip)]
    pub secret_key: Option<SecretString>,
    /// Access key and secret key of the object storage.
    #[serde(skip)]
    pub object_storage_keys: Option<[SecretString; 2]>,
    /// `DRAGONFLY_JOIN_TOKEN`: a join token for the whole platform, at least 16 characters. A new value at a later start
    /// replaces the former. Default none.
    #[serde(skip)]
    pub join_token: Option<SecretString>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite://PATH`, for one manager; `postgres://USER:PASSWORD@HOST/DATABASE` or `mysql://…` (also `mariadb://…`), for
    /// any number of them. TLS by parameters: `sslmode=verify-full` and `sslrootcert=FILE`, at MySQL
    /// `ssl-mode=verify_identity` and `ssl-ca=FILE`. Default: the file `manager.db` in `dataDir`.
    pub url: Option<String>,
}

/// Whose buckets `/api/v1/buckets` shows. Its keys come from the environment: `DRAGONFLY_OBJECT_STORAGE_ACCESS_KEY` and
/// `DRAGONFLY_OBJECT_STORAGE_SECRET_KEY`; without them there is none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectStorage {
    /// Of a storage that speaks like Amazon's S3. Default: Amazon's own, by region.
    pub endpoint: Option<String>,
    /// Default `us-east-1`.
    pub region: Option<String>,
    /// `ENDPOINT/BUCKET` instead of `BUCKET.ENDPOINT`. Default: true where there is an `endpoint`.
    pub force_path_style: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Join {
    /// A join token or a cluster credential.
    #[default]
    Token,
    /// Nothing: for closed networks.
    Open,
}

const LEASE_MS_MIN: u64 = 100;
const STORAGE_KEYS: [&str; 2] = ["DRAGONFLY_OBJECT_STORAGE_ACCESS_KEY", "DRAGONFLY_OBJECT_STORAGE_SECRET_KEY"];
const LEASE_MS_MAX: u64 = 3_600_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            data_dir: "/var/lib/dragonfly/manager".into(),
            database: Database::default(),
            object_storage: ObjectStorage::default(),
            join: Join::default(),
            lease_ms: 15_000,
            https: false,
            sign_up: false,
            verbose: false,
            initial_root_password: None,
            secret_key: None,
            object_storage_keys: None,
            join_token: None,
        }
    }
}

// === impl Config ===

impl Config {
    /// The file (all defaults when `None`), then the environment.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let mut config: Self = df_http::config::load("manager", path)?;
        if let Some(port) = variable("PORT") {
            config.listen.set_port(port.parse().with_context(|| format!("PORT is {port:?}, not a port number"))?);
        }
        config.initial_root_password = variable("DRAGONFLY_INITIAL_ROOT_PASSWORD").map(SecretString::from);
        config.secret_key = variable("DRAGONFLY_SECRET_KEY").map(SecretString::from);
        config.object_storage_keys = match STORAGE_KEYS.map(variable) {
            [Some(access), Some(secret)] => Some([access, secret].map(SecretString::from)),
            [None, None] => None,
            _ => bail!("of {} and {} only one is set", STORAGE_KEYS[0], STORAGE_KEYS[1]),
        };
        config.join_token = variable("DRAGONFLY_JOIN_TOKEN").map(SecretString::from);
        Ok(config)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&self.lease_ms),
            "leaseMs is {}, not {LEASE_MS_MIN} to {LEASE_MS_MAX}",
            self.lease_ms
        );
        Ok(())
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("url", &self.url.as_ref().map(|_| "redacted")).finish()
    }
}

/// An empty variable is one that is not set: charts and compose files write it so.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.yaml");
        std::fs::write(&path, "dataDir: /tmp/x\nleaseMilliseconds: 3\n").unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("leaseMilliseconds") && error.contains("manager.yaml"), "{error}");
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.yaml");
        std::fs::write(&path, "joinToken: hunter2hunter2hunter2\n").unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("joinToken") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_absurd_lease_is_refused_with_its_range() {
        let error = Config { lease_ms: 1, ..Config::default() }.check().unwrap_err().to_string();
        assert!(error.contains("leaseMs is 1") && error.contains("100"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let database = Database { url: Some("postgres://root:hunter2@db/x".to_owned()) };
        let config = Config { join_token: Some("hunter2hunter2".into()), database, ..Config::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
