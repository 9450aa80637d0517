//! The scheduler's settings, with the keys of the incumbent's chart. Every key is also an environment variable:
//! `manager.joinToken` is `DF_SCHEDULER__MANAGER__JOIN_TOKEN`. `PORT`, as serverless platforms set it, wins over `listen`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use df_api::cluster::Place;
use df_api::manager::{PeerClusterConfig, SchedulerClusterConfig, SeedPeerClusterConfig};
use df_api::rules::{ApplicationRule, BlockList, InvalidWeights, Weights};
use df_client::InvalidUrl;
use df_http::config::ConfigError;
use df_http::own_address::{listen_for, own_address};
use serde::Deserialize;

use crate::event::Settings;
use crate::journal::{self, Journal};
use crate::policy::{CANDIDATE_PARENT_LIMIT, FILTER_PARENT_LIMIT, Policy};
use crate::rules::{InvalidPattern, RuleSet, Rules};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Logs decisions, too. Default: false.
    pub verbose: bool,
    /// Default: `0.0.0.0:8002`.
    pub listen: SocketAddr,
    /// Where peers reach it. Default: `http://<advertise IP>:<port>`.
    #[serde(rename = "advertiseURL", alias = "advertiseUrl")]
    pub advertise_url: Option<String>,
    pub host: HostConfig,
    pub manager: ManagerConfig,
    pub cluster: ClusterConfig,
    pub database: DatabaseConfig,
    /// Who may call. Default: `token`.
    pub join: Join,
    /// A host silent for this long is gone; it reports twice as often. Default: 20,000.
    pub host_lease_ms: u64,
    /// A peer at the origin without progress for this long is replaced. Default: 10,000.
    pub origin_stall_ms: u64,
    /// A seed that does not start a duty within this time is replaced. Default: 2,000.
    pub duty_timeout_ms: u64,
    /// Requests per second that one host is answered; further ones get 429. 0 is no limit. Default: 1,000.
    pub host_request_rate_limit: u64,
    /// For so long after its start, it sends nobody to the origin: every host says within it what it has, as far as it has
    /// heard of this scheduler. Default: 3,000.
    pub learning_ms: u64,
}

/// How parents are chosen, and what may be downloaded. With a manager, it says so instead.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Those who have the whole content that one peer reads from, 1 to 20. Default: 4.
    pub candidate_parent_limit: u32,
    /// Of those who have the whole content, so many are looked at, 10 to 1,000. Default: 15.
    pub filter_parent_limit: u32,
    /// `load`, `idc`, `location` and `hostType` of a parent's score. Default: 0.6, 0.2, 0.1, 0.1.
    pub weights: Weights,
    /// Of seed peers. Default: 2,000 children, nothing blocked.
    pub seed_peer: KindConfig,
    /// Of peers. Default: 200 children, nothing blocked.
    pub peer: KindConfig,
    /// How downloads of applications rank: `name`, and `priority` with `value` (0 to 6) and `urls` of `regex` and `value`.
    pub applications: Vec<ApplicationRule>,
}

/// Of one kind of host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KindConfig {
    /// Children that one host serves at once, over all tasks; less where the host itself takes fewer.
    pub load_limit: Option<u32>,
    /// `task.download` and `task.upload`, each with `applications`, `urls` (regular expressions), `tags` and `priorities`.
    pub block_list: BlockList,
}

/// A setting that was understood, and cannot be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSetting {
    #[error("manager.addr: {0}")]
    Manager(#[from] InvalidUrl),
    #[error("database.url: {0}")]
    Database(#[from] journal::InvalidUrl),
    #[error("cluster.weights.{0}")]
    Weights(#[from] InvalidWeights),
    #[error("cluster: {0}")]
    Pattern(#[from] InvalidPattern),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostConfig {
    /// Default: the machine's name.
    pub hostname: Option<String>,
    pub idc: String,
    /// `area|country|province|city`.
    pub location: String,
    /// The address peers reach it at, IPv4 or IPv6. Default: the one in `listen`; where that is none in particular, the one
    /// that packets to the manager, or without one to the world, leave from.
    #[serde(rename = "advertiseIP", alias = "advertiseIp")]
    pub advertise_ip: Option<IpAddr>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ManagerConfig {
    /// `host:port` or a URL. Default: none, the scheduler runs alone and asks nobody for credentials.
    pub addr: Option<String>,
    /// The scheduler cluster it serves, as the manager's console shows it. Default: 1.
    #[serde(rename = "schedulerClusterID", alias = "schedulerClusterId")]
    pub scheduler_cluster_id: i64,
    /// Made in the manager's console.
    pub join_token: Option<String>,
}

/// For several schedulers of a cluster behind one URL, of which any may answer any request.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/database`, with `?sslmode=verify-full` over networks that are not yours. Tokens for
    /// registries and signatures of URLs are not written there: a node that needs one asks the origin itself, instead of a
    /// seed peer. Default: none, and what is known is in this process's memory.
    pub url: Option<String>,
}

/// Who may call a scheduler that has a manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Holders of a credential of the cluster.
    #[default]
    Token,
    /// Everybody; for closed networks.
    Open,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            verbose: false,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8002)),
            advertise_url: None,
            host: HostConfig::default(),
            manager: ManagerConfig::default(),
            cluster: ClusterConfig::default(),
            database: DatabaseConfig::default(),
            join: Join::default(),
            host_lease_ms: policy.host_lease_ms,
            origin_stall_ms: policy.origin_stall_ms,
            duty_timeout_ms: policy.duty_timeout_ms,
            host_request_rate_limit: 1_000,
            learning_ms: 3_000,
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            candidate_parent_limit: CANDIDATE_PARENT_LIMIT,
            filter_parent_limit: FILTER_PARENT_LIMIT,
            weights: Weights::default(),
            seed_peer: KindConfig::default(),
            peer: KindConfig::default(),
            applications: Vec::new(),
        }
    }
}

impl ClusterConfig {
    fn parts(&self) -> (SchedulerClusterConfig, SeedPeerClusterConfig, PeerClusterConfig) {
        let Self { candidate_parent_limit, filter_parent_limit, weights, seed_peer, peer, .. } = self.clone();
        let (mut seeds, mut peers) = (SeedPeerClusterConfig::default(), PeerClusterConfig::default());
        (seeds.load_limit, seeds.block_list) = (seed_peer.load_limit.unwrap_or(seeds.load_limit), seed_peer.block_list);
        (peers.load_limit, peers.block_list) = (peer.load_limit.unwrap_or(peers.load_limit), peer.block_list);
        let own = SchedulerClusterConfig { candidate_parent_limit, filter_parent_limit, weights, ..Default::default() };
        (own, seeds, peers)
    }
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self { addr: None, scheduler_cluster_id: 1, join_token: None }
    }
}

impl std::fmt::Debug for ManagerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagerConfig")
            .field("addr", &self.addr)
            .field("scheduler_cluster_id", &self.scheduler_cluster_id)
            .field("join_token", &self.join_token.as_ref().map(|_| "redacted"))
            .finish()
    }
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").field("url", &self.url.as_ref().map(|_| "redacted")).finish()
    }
}

impl Config {
    /// All defaults without a `path`; then the environment.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config: Self = df_http::config::load("scheduler", path)?;
        if let Ok(port) = std::env::var("PORT") {
            let port = port.parse().map_err(|error: std::num::ParseIntError| ConfigError::Key {
                place: "the environment".to_owned(),
                key: "PORT".to_owned(),
                error: error.to_string(),
            })?;
            config.listen.set_port(port);
        }
        Ok(config)
    }

    /// With an address that peers reach it at, where none is configured, and listening there.
    pub async fn with_own_address(mut self) -> Self {
        if self.host.advertise_ip.is_none() && self.listen.ip().is_unspecified() {
            self.host.advertise_ip = own_address(self.manager_url()).await;
            if self.host.advertise_ip.is_none() {
                tracing::warn!("this machine has no way out, so that peers cannot reach it: set host.advertiseIP");
            }
        }
        self.listen = listen_for(self.advertise_ip(), self.listen);
        self
    }

    pub fn policy(&self) -> Policy {
        let mut policy = Policy {
            host_lease_ms: self.host_lease_ms.max(10),
            origin_stall_ms: self.origin_stall_ms.max(10),
            duty_timeout_ms: self.duty_timeout_ms.max(10),
            learning_ms: self.learning_ms.min(60_000),
            ..Policy::default()
        };
        let (own, seeds, peers) = self.cluster.parts();
        policy.follow(&own, &seeds, &peers);
        policy
    }

    /// What is in force as long as no manager has said otherwise.
    pub fn settings(&self) -> Result<Settings, InvalidSetting> {
        self.cluster.weights.check()?;
        let (_, seeds, peers) = self.cluster.parts();
        let applications = self.cluster.applications.clone();
        let rules = RuleSet { seeds: seeds.block_list, peers: peers.block_list, applications };
        Rules::compile(rules.clone(), 0)?;
        Ok(Settings { policy: self.policy(), rules })
    }

    /// Where the state is, if it is not in this process alone.
    pub fn journal(&self) -> Result<Option<Journal>, InvalidSetting> {
        let url = self.database.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        Ok(url.map(|url| Journal::new(url, self.manager.scheduler_cluster_id)).transpose()?)
    }

    /// As a URL, whichever way it is written.
    pub fn manager_url(&self) -> Option<String> {
        let addr = self.manager.addr.as_deref().map(str::trim).filter(|addr| !addr.is_empty())?;
        let plain = !(addr.starts_with("http://") || addr.starts_with("https://"));
        Some(if plain { format!("http://{addr}") } else { addr.to_owned() })
    }

    pub fn place(&self) -> Place {
        Place {
            hostname: self.host.hostname.clone().unwrap_or_else(machine_name),
            ip: self.advertise_ip().to_string(),
            idc: self.host.idc.clone(),
            location: self.host.location.clone(),
        }
    }

    /// `listening` is where it really listens; only its port is told to peers.
    pub fn url(&self, listening: SocketAddr) -> String {
        let own = || format!("http://{}", SocketAddr::new(self.advertise_ip(), listening.port()));
        self.advertise_url.clone().unwrap_or_else(own)
    }

    fn advertise_ip(&self) -> IpAddr {
        let listen = Some(self.listen.ip()).filter(|ip| !ip.is_unspecified());
        self.host.advertise_ip.or(listen).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

fn machine_name() -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).or_else(kernel);
    name.map(|name| name.trim().to_owned()).unwrap_or_else(|| "scheduler".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_manager_is_named_as_in_the_incumbents_chart_or_by_url() {
        let addr = |addr: &str| config(&format!(r#"{{"manager":{{"addr":"{addr}","schedulerClusterID":2}}}}"#));
        assert_eq!(addr("dragonfly-manager:65003").manager_url().as_deref(), Some("http://dragonfly-manager:65003"));
        assert_eq!(addr("https://manager.example").manager_url().as_deref(), Some("https://manager.example"));
        assert_eq!(addr("m:1").manager.scheduler_cluster_id, 2);
        assert_eq!(Config::default().manager_url(), None);
    }

    #[test]
    fn the_advertised_url_has_the_port_it_listens_on() {
        let listening = SocketAddr::from(([0, 0, 0, 0], 41_000));
        let own = config(r#"{"host":{"advertiseIP":"10.0.0.7"}}"#);
        assert_eq!(own.url(listening), "http://10.0.0.7:41000");
        let v6 = config(r#"{"host":{"advertiseIP":"fd00::7"}}"#);
        assert_eq!(v6.url(listening), "http://[fd00::7]:41000");
        assert_eq!(config(r#"{"advertiseURL":"https://s"}"#).url(listening), "https://s");
    }

    #[tokio::test]
    async fn without_an_address_it_is_the_one_that_the_manager_sees_of_either_ip_version() {
        let beside = async |manager: &str| {
            let config = config(&format!(r#"{{"manager":{{"addr":"{manager}"}}}}"#)).with_own_address().await;
            (config.place().ip, config.listen.to_string())
        };
        assert_eq!(beside("127.0.0.1:8080").await, ("127.0.0.1".to_owned(), "0.0.0.0:8002".to_owned()));
        assert_eq!(beside("[::1]:8080").await, ("::1".to_owned(), "[::]:8002".to_owned()));
        assert_eq!(beside("http://[::1]:8080").await.0, "::1");
        let certain = config(r#"{"listen":"127.0.0.2:8002","manager":{"addr":"[::1]:8080"}}"#);
        assert_eq!(certain.with_own_address().await.place().ip, "127.0.0.2");
    }

    #[test]
    fn a_join_token_is_not_printed() {
        let config = config(r#"{"manager":{"joinToken":"secret"}}"#);
        assert!(!format!("{config:?}").contains("secret"));
    }
}
