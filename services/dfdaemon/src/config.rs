//! `dfdaemon.yaml`, in the keys of the project's walk; every key also as `DF_DFDAEMON__…` in the environment.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use df_api::dfdaemon::DEFAULT_SOCKET;
use df_http::serve::{self, Limits, Listener, ServerTls, TlsError, TlsFiles};
use df_peer::UploadLimits;
pub use df_peer::{DownloadConfig, PeerTlsConfig, RegistryConfig, S3Config, UpstreamConfig};
use df_store::{Policy, Quota};
use serde::{Deserialize, Serialize};

use crate::link;
pub use crate::proxy::{BasicAuthConfig, CaConfig};
pub use crate::rules::RuleConfig;
use crate::rules::default_rules;

/// Settings of one node's daemon, or of a seed peer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Log more. Default: false.
    pub verbose: bool,
    pub host: HostConfig,
    pub scheduler: SchedulerConfig,
    pub proxy: ProxyConfig,
    pub local: LocalConfig,
    pub upload: UploadConfig,
    pub storage: StorageConfig,
    pub gc: GcConfig,
    pub upstream: UpstreamConfig,
    pub download: DownloadConfig,
    pub peer_tls: PeerTlsConfig,
    /// `token`: peers show a cluster credential. `open`: for closed networks, nobody is asked. Default: token with a
    /// manager, open without one.
    pub join: Option<Join>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    Token,
    Open,
}

/// Who and where this node is; matched against the clusters' scopes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostConfig {
    /// Default: the system's.
    pub hostname: String,
    /// Default: none.
    pub idc: String,
    /// `area|country|province|city`. Default: none.
    pub location: String,
    /// The address others reach this node at, IPv4 or IPv6. Default: the one in `upload.listen`; where that is none in
    /// particular, the one that packets to the manager, or without one to the schedulers or the world, leave from.
    #[serde(rename = "advertiseIP", alias = "advertiseIp")]
    pub advertise_ip: String,
    /// Join this cluster whatever the scopes say. Default: none.
    #[serde(rename = "schedulerClusterID", alias = "schedulerClusterId")]
    pub scheduler_cluster_id: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SchedulerConfig {
    pub manager: ManagerConfig,
    /// Schedulers to use without a manager, `http://host:port`. Default: none.
    pub net_addrs: Vec<NetAddr>,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ManagerConfig {
    /// Where the manager is; the first is used. Default: none, every download goes to the origin or to known schedulers.
    pub net_addrs: Vec<NetAddr>,
    /// The secret to join with. Default: none.
    pub join_token: Option<String>,
    pub seed_peer: SeedPeerConfig,
}

/// `{type: tcp, addr: host:port}` as in the walk; `addr` may also be a URL.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetAddr {
    /// Only `tcp`. Default: tcp.
    #[serde(rename = "type", default = "tcp")]
    pub kind: String,
    pub addr: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SeedPeerConfig {
    /// Be a seed peer. Default: false.
    pub enable: bool,
    /// Which seed peer cluster. Default: 1.
    #[serde(rename = "clusterID", alias = "clusterId")]
    pub cluster_id: Option<i64>,
}

/// The listener for this node's own programs: registry mirror, forward proxy, and tasks for dfget.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Default: 127.0.0.1:65001.
    pub listen: SocketAddr,
    /// The registry when neither `ns` nor `X-Dragonfly-Registry` names one. Default: https://index.docker.io.
    pub default_registry: String,
    /// A runtime gets an error, and asks elsewhere, when no byte has come within this time. Default: 10000.
    pub first_byte_timeout_ms: u64,
    /// How long a registry's yes to a credential is good for cached content. Default: 600000.
    pub access_ttl_ms: u64,
    /// How long its no is: a runtime asks several times in a row. Default: 5000.
    pub refusal_ttl_ms: u64,
    /// How long a tag is taken to mean the same: within it, the registry is asked once by the whole cluster. Default: 5000.
    pub tag_window_ms: u64,
    /// Connections at once; further ones are answered 503 and closed. Default: 4096.
    pub connection_limit: usize,
    /// What goes through the peers, and what elsewhere. What no rule matches goes straight to its server through the forward
    /// proxy, and through the peers on the registry mirror. Default: one for `/blobs/sha256:`.
    pub rules: Vec<RuleConfig>,
    /// Hosts whose TLS the forward proxy ends, to see what is asked there: `host`, `host:port` or `*.domain`. Their clients
    /// must trust its authority, see `ca`. To others it tunnels. Default: none.
    pub intercept: Vec<String>,
    /// The authority that signs for intercepted hosts. Default: one is made for them, and kept in `proxy-ca/ca.pem` of
    /// `storage.dir`; `dfdaemon ca` prints it.
    pub ca: Option<CaConfig>,
    /// Who may use the forward proxy (`Proxy-Authorization`); mirror and local API stay open to every program that reaches
    /// `listen`. Default: every such program.
    pub basic_auth: Option<BasicAuthConfig>,
    /// Fetch a whole content when a range of it is asked for, of the registry mirror or through the forward proxy; a
    /// request may say otherwise (`X-Dragonfly-Prefetch`). Default: false.
    pub prefetch: bool,
    /// A tunnel, and a request that is passed on, end when nothing moves for so long. In milliseconds. Default: 300000.
    pub idle_timeout_ms: u64,
}

/// What the listener above offers, for programs of this node without the network.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalConfig {
    /// A unix socket, for its owner and group; empty for none. Default: /var/run/dragonfly/dfdaemon.sock, where it can be
    /// made.
    pub socket: Option<PathBuf>,
}

/// The listener for other peers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UploadConfig {
    /// Default: 0.0.0.0:65002.
    pub listen: SocketAddr,
    /// Answers to children that are written at once; further requests are answered 503 with `Retry-After`. An answer that
    /// waits for bytes which are not here yet does not count. Default: 200.
    pub load_limit: u32,
    /// Bytes per second, of all children together, shared evenly; 0 is no limit. Default: 0.
    pub rate_limit: u64,
    /// Requests per second, of all children together; further ones are answered 429 with `Retry-After`; 0 is no limit.
    /// Default: 4000.
    pub request_rate_limit: u64,
    /// Connections at once; further ones are answered 503 and closed. Default: 4096.
    pub connection_limit: usize,
    /// A child that takes less than 64 KiB of its answer within this time is cut off. Default: 20000.
    pub write_timeout_ms: u64,
    /// Default: none, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Give nothing to others. Default: false.
    pub disable_shared: bool,
}

/// TLS of the listener for other peers, whose certificates must name the address this node is reached at; what it asks
/// others with is `peerTls`. The files are read again when they change.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM: the certificate, then those that signed it.
    pub cert_file: PathBuf,
    /// PEM: its key.
    pub key_file: PathBuf,
    /// PEM: peers must show a certificate that one of these authorities signed. Default: none is asked for.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Default: /var/lib/dragonfly.
    pub dir: PathBuf,
    /// What this node's tasks may take: a size such as `200GiB`, or a share of the file system such as `80%`. Whatever
    /// else is on the disk does not count. Default: 80%.
    pub quota: Quota,
}

/// What goes from the disk, and when.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GcConfig {
    /// Between two looks; a disk that is full is looked at right away. In milliseconds. Default: 60000.
    pub interval_ms: u64,
    pub policy: GcPolicyConfig,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GcPolicyConfig {
    /// A task goes when nobody has read it for this long, in milliseconds. Default: 2592000000, 30 days.
    pub task_ttl_ms: u64,
    /// Above this share of the quota, in percent, the least recently read tasks go … Default: 90.
    pub high_percent: u8,
    /// … until this share is left. Default: 70.
    pub low_percent: u8,
}

fn tcp() -> String {
    "tcp".to_owned()
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 65001)),
            default_registry: "https://index.docker.io".to_owned(),
            first_byte_timeout_ms: 10_000,
            access_ttl_ms: 600_000,
            refusal_ttl_ms: 5000,
            tag_window_ms: 5000,
            connection_limit: 4096,
            rules: default_rules(),
            intercept: Vec::new(),
            ca: None,
            basic_auth: None,
            prefetch: false,
            idle_timeout_ms: 300_000,
        }
    }
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 65002)),
            load_limit: 200,
            rate_limit: 0,
            request_rate_limit: 4000,
            connection_limit: 4096,
            write_timeout_ms: 20_000,
            tls: None,
            disable_shared: false,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("/var/lib/dragonfly"), quota: Policy::default().quota }
    }
}

impl Default for GcConfig {
    fn default() -> Self {
        Self { interval_ms: 60_000, policy: GcPolicyConfig::default() }
    }
}

impl Default for GcPolicyConfig {
    fn default() -> Self {
        let Policy { ttl, high_percent, low_percent, .. } = Policy::default();
        Self { task_ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX), high_percent, low_percent }
    }
}

// === impl Config ===

impl Config {
    pub fn manager_url(&self) -> Option<String> {
        self.scheduler.manager.net_addrs.first().map(NetAddr::url)
    }

    pub fn seed_peer_cluster_id(&self) -> Option<i64> {
        let seed_peer = &self.scheduler.manager.seed_peer;
        seed_peer.enable.then(|| seed_peer.cluster_id.unwrap_or(1))
    }

    pub fn storage_policy(&self) -> anyhow::Result<Policy> {
        let GcPolicyConfig { task_ttl_ms, high_percent, low_percent } = self.gc.policy;
        anyhow::ensure!(
            (1..=high_percent).contains(&low_percent) && high_percent <= 100,
            "gc.policy: lowPercent {low_percent} and highPercent {high_percent} must be 1 ≤ low ≤ high ≤ 100"
        );
        Ok(Policy { quota: self.storage.quota, high_percent, low_percent, ttl: Duration::from_millis(task_ttl_ms) })
    }

    pub fn join_open(&self) -> bool {
        self.join.map_or(self.manager_url().is_none(), |join| join == Join::Open)
    }
}

// === impl ProxyConfig ===

impl ProxyConfig {
    pub fn listener_limits(&self) -> Limits {
        Limits { connections: self.connection_limit, ..Limits::default() }
    }
}

// === impl LocalConfig ===

impl LocalConfig {
    /// Only a socket that somebody wants must be made.
    pub fn listen(&self) -> io::Result<Option<Listener>> {
        match &self.socket {
            Some(path) if path.as_os_str().is_empty() => Ok(None),
            Some(path) => serve::bind_unix(path).map(Some),
            None => Ok(serve::bind_unix(Path::new(DEFAULT_SOCKET))
                .inspect_err(
                    |error| tracing::warn!(%error, "local programs use the port; local.socket sets another path"),
                )
                .ok()),
        }
    }
}

// === impl UploadConfig ===

impl UploadConfig {
    pub fn limits(&self) -> UploadLimits {
        let (slots, bytes_per_s) = (self.load_limit, self.rate_limit);
        UploadLimits { slots, bytes_per_s, requests_per_s: self.request_rate_limit }
    }

    /// What the kernel says of the link, or the limit below that. `None` where neither is known.
    pub fn sent_bytes_per_s_max(&self) -> Option<u64> {
        let limit = Some(self.rate_limit).filter(|limit| *limit > 0);
        limit.into_iter().chain(link::bytes_per_s()).min()
    }

    pub fn listener_limits(&self) -> Result<Limits, TlsError> {
        let files = self.tls.as_ref().map(|tls| TlsFiles {
            cert: tls.cert_file.clone(),
            key: tls.key_file.clone(),
            client_ca: tls.client_ca_file.clone(),
        });
        Ok(Limits {
            connections: self.connection_limit,
            write_patience: Duration::from_millis(self.write_timeout_ms),
            tls: files.map(ServerTls::open).transpose()?.map(Arc::new),
        })
    }
}

// === impl NetAddr ===

impl NetAddr {
    pub fn url(&self) -> String {
        if self.addr.contains("://") { self.addr.clone() } else { format!("http://{}", self.addr) }
    }
}

// === impl ManagerConfig ===

impl std::fmt::Debug for ManagerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagerConfig")
            .field("net_addrs", &self.net_addrs)
            .field("join_token", &self.join_token.as_ref().map(|_| "redacted"))
            .field("seed_peer", &self.seed_peer)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_set_and_is_checked() {
        let read = |value| serde_json::from_value::<Config>(value);
        let config = read(serde_json::json!({
            "storage": { "quota": "200GiB" },
            "gc": { "policy": { "highPercent": 50, "lowPercent": 40, "taskTtlMs": 1000 } },
        }));
        let policy = config.unwrap().storage_policy().unwrap();
        let ttl = Duration::from_secs(1);
        assert_eq!(policy, Policy { quota: Quota::Bytes(200 << 30), high_percent: 50, low_percent: 40, ttl });
        assert_eq!(Config::default().storage_policy().unwrap(), Policy::default());

        let crossed = read(serde_json::json!({ "gc": { "policy": { "highPercent": 30 } } })).unwrap();
        assert!(crossed.storage_policy().unwrap_err().to_string().contains("lowPercent 70"));
        assert!(read(serde_json::json!({ "storage": { "quota": "lots" } })).unwrap_err().to_string().contains("lots"));
    }

    #[test]
    fn the_keys_of_the_walk_are_understood() {
        let config: Config = serde_json::from_value(serde_json::json!({
            "verbose": true,
            "host": { "idc": "cluster-2" },
            "scheduler": { "manager": {
                "netAddrs": [{ "type": "tcp", "addr": "dragonfly-manager.cluster-a.svc.cluster.local:65003" }],
                "seedPeer": { "enable": true, "clusterID": 2 },
            }},
        }))
        .unwrap();
        assert_eq!(config.manager_url().unwrap(), "http://dragonfly-manager.cluster-a.svc.cluster.local:65003");
        assert_eq!(config.seed_peer_cluster_id(), Some(2));
        assert!(!config.join_open());
    }
}
