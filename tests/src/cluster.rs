//! Dragonfly in namespaces: the manager in `ctl`, a scheduler, a seed peer, a dfdaemon on every node; or a further cluster
//! under the same manager. What each of them is told stands here and nowhere else.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use df_api::cluster::Place;
use df_api::manager::DiscoveryRequest;
use df_api::scheduler::HostView;
use df_client::{ManagerClient, SchedulerClient, Transport};
use df_testkit::{Program, command_in, until};
use serde_json::{Value, json};

use crate::netns::Namespace;
use crate::program;

const START_BOUND: Duration = Duration::from_secs(30);
const STOP_BOUND: Duration = Duration::from_secs(30);
pub const MANAGER_PORT: u16 = 8080;
pub const SCHEDULER_PORT: u16 = 8002;
/// Where peers ask for pieces.
pub const PEER_PORT: u16 = 65002;
const JOIN_TOKEN: &str = "end-to-end-join-token";

/// What is started, where, and what it is told.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Stores, configurations and logs.
    pub folder: PathBuf,
    /// Where Cargo put the programs.
    pub programs: PathBuf,
    /// The manager runs here.
    pub ctl: Namespace,
    pub home: Home,
    pub seed: Option<Namespace>,
    /// Daemons that others reach at another address than their own: something is in between.
    pub behind: Vec<(Ipv4Addr, Ipv4Addr)>,
    pub nodes: Vec<Namespace>,
    /// What daemons may ask although it is private, as `http://host:port`.
    pub origins: Vec<String>,
    /// Authorities they trust besides the system's, as PEM files.
    pub ca_certs: Vec<PathBuf>,
    /// Hosts whose TLS the daemons' proxies end.
    pub intercept: Vec<String>,
    pub verbose: bool,
}

/// Which cluster it is.
#[derive(Clone, Debug)]
pub struct Home {
    /// As its scheduler and seed peer are told.
    pub cluster_id: i64,
    /// As its nodes are told, from which the manager concludes the cluster.
    pub idc: String,
    /// Its scheduler runs here.
    pub scheduler: Namespace,
}

const SEED_PEER: &str = "seed-peer";

/// All running; killed when dropped. Fields a test wants to end early can be killed by it.
#[derive(Debug)]
pub struct Cluster {
    /// Of a further cluster, the first one has it.
    pub manager: Option<Program>,
    pub scheduler: Program,
    pub seed_peer: Option<Program>,
    /// By node, in the setting's order.
    pub dfdaemons: Vec<Program>,
    setting: Setting,
}

/// How one daemon is started, and where it says that it is ready.
struct Daemon<'a> {
    name: &'a str,
    program: &'static str,
    namespace: &'a Namespace,
    /// Written as JSON, which is YAML.
    config: Value,
    environment: &'static [(&'static str, &'static str)],
    port: u16,
}

// === impl Cluster ===

impl Cluster {
    pub async fn start(setting: Setting) -> anyhow::Result<Self> {
        let manager = manager(&setting).start(&setting).await?;
        let mut cluster = Self::join(setting).await?;
        cluster.manager = Some(manager);
        Ok(cluster)
    }

    /// Under a manager that runs already.
    pub async fn join(setting: Setting) -> anyhow::Result<Self> {
        let scheduler = scheduler(&setting).start(&setting).await?;
        let seed_peer = match &setting.seed {
            Some(seed) => Some(setting.daemon(SEED_PEER, seed, Role::SeedPeer).start(&setting).await?),
            None => None,
        };
        let mut cluster = Self { manager: None, scheduler, seed_peer, dfdaemons: Vec::new(), setting };
        for number in 0..cluster.setting.nodes.len() {
            let dfdaemon = cluster.setting.start_node(number).await?;
            cluster.dfdaemons.push(dfdaemon);
        }
        cluster.until_joined().await?;
        Ok(cluster)
    }

    /// A node's daemon anew, with nothing on disk.
    pub async fn restart_empty(&mut self, number: usize) -> anyhow::Result<()> {
        self.dfdaemons[number].terminate(STOP_BOUND).await?;
        std::fs::remove_dir_all(self.setting.store_of(number))?;
        self.dfdaemons[number] = self.setting.start_node(number).await?;
        self.until_joined().await
    }

    /// A node's daemon anew, with what it had on disk; for one that was killed. Returns when it is ready.
    pub async fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        self.dfdaemons[number] = self.setting.start_node(number).await?;
        Ok(())
    }

    pub fn store_of(&self, number: usize) -> PathBuf {
        self.setting.store_of(number)
    }

    pub fn seed_store(&self) -> PathBuf {
        self.setting.folder.join(SEED_PEER)
    }

    /// Those that have announced themselves to its scheduler.
    pub async fn hosts(&self) -> anyhow::Result<Vec<HostView>> {
        Ok(self.setting.scheduler_client().await?.list_hosts().await?)
    }

    /// A daemon serves as soon as it listens; that it is known to the scheduler, only the scheduler says.
    async fn until_joined(&self) -> anyhow::Result<()> {
        let hosts = self.seed_peer.iter().count() + self.dfdaemons.len();
        let joined = async {
            let scheduler = self.setting.scheduler_client().await?;
            until(&format!("{hosts} hosts have announced themselves"), START_BOUND, async || {
                Ok((scheduler.list_hosts().await?.len() == hosts).then_some(()))
            })
            .await
        };
        joined.await.with_context(|| format!("the scheduler's log ends with:\n{}", self.scheduler.log_tail()))
    }
}

fn manager(setting: &Setting) -> Daemon<'_> {
    Daemon {
        name: "manager",
        program: "manager",
        namespace: &setting.ctl,
        config: json!({ "listen": format!("0.0.0.0:{MANAGER_PORT}"), "dataDir": setting.folder.join("manager") }),
        environment: &[("DRAGONFLY_JOIN_TOKEN", JOIN_TOKEN)],
        port: MANAGER_PORT,
    }
}

fn scheduler(setting: &Setting) -> Daemon<'_> {
    Daemon {
        name: "scheduler",
        program: "scheduler",
        namespace: &setting.home.scheduler,
        config: json!({
            "verbose": setting.verbose,
            "listen": format!("0.0.0.0:{SCHEDULER_PORT}"),
            // Without a way out there is no address that packets to the world leave from.
            "host": { "hostname": "scheduler", "advertiseIP": setting.home.scheduler.address.to_string() },
            "manager": { "addr": manager_address(), "schedulerClusterID": setting.home.cluster_id, "joinToken": JOIN_TOKEN },
        }),
        environment: &[],
        port: SCHEDULER_PORT,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    SeedPeer,
    Node,
    /// Knows no manager, and so no peers.
    Alone,
}

// === impl Home ===

impl Home {
    /// Cluster 1, whose scheduler is beside the manager; it is the default, and its nodes need no IDC.
    pub fn first(ctl: &Namespace) -> Self {
        Self { cluster_id: 1, idc: String::new(), scheduler: ctl.clone() }
    }
}

// === impl Setting ===

impl Setting {
    /// With a credential of the cluster.
    async fn scheduler_client(&self) -> anyhow::Result<SchedulerClient> {
        let at = |namespace: &Namespace, port, bearer: &str| {
            let transport = Transport::new(&format!("http://{}:{port}", namespace.address), df_client::http_client())?;
            anyhow::Ok(transport.with_bearer(Some(bearer.to_owned())))
        };
        let place = Place { hostname: "test".to_owned(), ip: self.ctl.address.to_string(), ..Place::default() };
        let cluster = Some(self.home.cluster_id);
        let request = DiscoveryRequest { place, scheduler_cluster_id: cluster, ..DiscoveryRequest::default() };
        let manager = ManagerClient::new(at(&self.ctl, MANAGER_PORT, JOIN_TOKEN)?);
        let found = manager.discover_cluster(&request, None, Duration::ZERO).await?.context("no answer")?;
        Ok(SchedulerClient::new(at(&self.home.scheduler, SCHEDULER_PORT, &found.membership.credential)?))
    }

    /// A daemon that belongs to no cluster, on the first node.
    pub async fn start_alone(&self) -> anyhow::Result<Program> {
        let node = self.nodes.first().context("no node to start a daemon on")?;
        self.daemon(&node_name(0), node, Role::Alone).start(self).await
    }

    pub fn store_of(&self, number: usize) -> PathBuf {
        self.folder.join(node_name(number))
    }

    async fn start_node(&self, number: usize) -> anyhow::Result<Program> {
        self.daemon(&node_name(number), &self.nodes[number], Role::Node).start(self).await
    }

    fn daemon<'a>(&'a self, name: &'a str, namespace: &'a Namespace, role: Role) -> Daemon<'a> {
        let behind = self.behind.iter().find(|(own, _)| *own == namespace.address);
        let advertised = behind.map_or(namespace.address, |(_, advertised)| *advertised);
        let mut config = json!({
            "verbose": self.verbose,
            "host": { "hostname": name, "advertiseIP": advertised.to_string(), "idc": self.home.idc },
            "storage": { "dir": self.folder.join(name) },
            "upstream": { "allow": self.origins, "anyPublic": false, "caCerts": self.ca_certs },
            "proxy": { "intercept": self.intercept },
        });
        if role != Role::Alone {
            config["scheduler"] = json!({ "manager": {
                "netAddrs": [{ "type": "tcp", "addr": manager_address() }],
                "joinToken": JOIN_TOKEN,
                "seedPeer": { "enable": role == Role::SeedPeer, "clusterID": self.home.cluster_id },
            }});
        }
        Daemon { name, program: "dfdaemon", namespace, config, environment: &[], port: PEER_PORT }
    }
}

fn node_name(number: usize) -> String {
    format!("dfdaemon{}", number + 1)
}

fn manager_address() -> String {
    format!("manager.test:{MANAGER_PORT}")
}

// === impl Daemon ===

impl Daemon<'_> {
    /// Returns when it is ready.
    async fn start(self, setting: &Setting) -> anyhow::Result<Program> {
        let folder = &setting.folder;
        let config = folder.join(format!("{}.yaml", self.name));
        std::fs::write(&config, format!("{:#}\n", self.config))?;
        let mut command = command_in(Some(&self.namespace.name), program(&setting.programs, self.program)?);
        command.arg("--config").arg(&config);
        only_environment(&mut command, self.environment);
        let mut program = Program::start(self.name, &mut command, &folder.join(format!("{}.log", self.name)))?;
        let url = format!("http://{}:{}/readyz", self.namespace.address, self.port);
        program.wait_for_url(&url, START_BOUND).await.with_context(|| format!("{} is not ready", self.name))?;
        Ok(program)
    }
}

/// Nothing of the machine's own: a proxy or a setting for another Dragonfly would change what is tested.
pub fn only_environment(command: &mut Command, variables: &[(&str, &str)]) {
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(variables.iter().copied());
}
