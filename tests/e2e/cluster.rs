//! Dragonfly in the lab: manager, scheduler and seed peer in `ctl`, a dfdaemon on every node. What each of them is told
//! stands here and nowhere else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use df_api::cluster::Place;
use df_api::manager::DiscoveryRequest;
use df_client::{ManagerClient, SchedulerClient, Transport};
use df_testkit::{Program, command_in, until};
use serde_json::{Value, json};

use crate::lab::REGISTRY;
use crate::netns::{Namespace, Network};
use crate::requirements;

const START_BOUND: Duration = Duration::from_secs(30);
const MANAGER_PORT: u16 = 8080;
const SCHEDULER_PORT: u16 = 8002;
/// Where peers ask for pieces.
const PEER_PORT: u16 = 65002;
const JOIN_TOKEN: &str = "end-to-end-join-token";

/// All running; killed when dropped. Fields a test wants to end early can be killed by it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) manager: Program,
    pub(crate) scheduler: Program,
    _seed_peer: Program,
    /// By node, in the lab's order.
    pub(crate) dfdaemons: Vec<Program>,
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
    pub(crate) async fn start(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        let ctl = network.ctl();
        let manager = manager(ctl, folder).start(folder).await?;
        let scheduler = scheduler(ctl).start(folder).await?;
        let seed_peer = dfdaemon("seed-peer", ctl, folder, true).start(folder).await?;
        let mut dfdaemons = Vec::new();
        for (number, node) in (1..).zip(network.nodes()) {
            dfdaemons.push(dfdaemon(&format!("dfdaemon{number}"), node, folder, false).start(folder).await?);
        }
        let hosts = 1 + dfdaemons.len();
        let joined = until_joined(ctl, hosts).await;
        joined.with_context(|| format!("the scheduler's log ends with:\n{}", scheduler.log_tail()))?;
        Ok(Self { manager, scheduler, _seed_peer: seed_peer, dfdaemons })
    }
}

/// A daemon serves as soon as it listens; that it is known to the scheduler, only the scheduler says.
async fn until_joined(ctl: &Namespace, hosts: usize) -> anyhow::Result<()> {
    let at = |port, bearer: &str| {
        let transport = Transport::new(&format!("http://{}:{port}", ctl.address), df_client::http_client())?;
        anyhow::Ok(transport.with_bearer(Some(bearer.to_owned())))
    };
    let place = Place { hostname: "test".to_owned(), ip: ctl.address.to_string(), ..Place::default() };
    let request = DiscoveryRequest { place, scheduler_cluster_id: Some(1) };
    let discovered = ManagerClient::new(at(MANAGER_PORT, JOIN_TOKEN)?).discover_cluster(&request).await?;
    let scheduler = SchedulerClient::new(at(SCHEDULER_PORT, &discovered.membership.credential)?);
    until(&format!("{hosts} hosts have announced themselves"), START_BOUND, async || {
        Ok((scheduler.list_hosts().await?.len() == hosts).then_some(()))
    })
    .await
}

fn manager<'a>(ctl: &'a Namespace, folder: &Path) -> Daemon<'a> {
    Daemon {
        name: "manager",
        program: "manager",
        namespace: ctl,
        config: json!({ "listen": format!("0.0.0.0:{MANAGER_PORT}"), "dataDir": folder.join("manager") }),
        environment: &[("DRAGONFLY_JOIN_TOKEN", JOIN_TOKEN)],
        port: MANAGER_PORT,
    }
}

fn scheduler(ctl: &Namespace) -> Daemon<'_> {
    Daemon {
        name: "scheduler",
        program: "scheduler",
        namespace: ctl,
        config: json!({
            "verbose": true,
            "listen": format!("0.0.0.0:{SCHEDULER_PORT}"),
            // Without a way out there is no address that packets to the world leave from.
            "host": { "hostname": "scheduler", "advertiseIP": ctl.address.to_string() },
            "manager": { "addr": manager_address(), "schedulerClusterID": 1, "joinToken": JOIN_TOKEN },
        }),
        environment: &[],
        port: SCHEDULER_PORT,
    }
}

fn dfdaemon<'a>(name: &'a str, namespace: &'a Namespace, folder: &Path, seed: bool) -> Daemon<'a> {
    Daemon {
        name,
        program: "dfdaemon",
        namespace,
        config: json!({
            "verbose": true,
            "host": { "hostname": name, "advertiseIP": namespace.address.to_string() },
            "scheduler": { "manager": {
                "netAddrs": [{ "type": "tcp", "addr": manager_address() }],
                "joinToken": JOIN_TOKEN,
                "seedPeer": { "enable": seed, "clusterID": 1 },
            }},
            "storage": { "dir": folder.join(name) },
            "upstream": { "allow": [format!("http://{REGISTRY}")], "anyPublic": false },
        }),
        environment: &[],
        port: PEER_PORT,
    }
}

fn manager_address() -> String {
    format!("manager.test:{MANAGER_PORT}")
}

// === impl Daemon ===

impl Daemon<'_> {
    /// Returns when it is ready.
    async fn start(self, folder: &Path) -> anyhow::Result<Program> {
        let config = folder.join(format!("{}.yaml", self.name));
        std::fs::write(&config, format!("{:#}\n", self.config))?;
        let mut command = command_in(Some(&self.namespace.name), requirements::program(self.program)?);
        command.arg("--config").arg(&config);
        only_environment(&mut command, self.environment);
        let mut program = Program::start(self.name, &mut command, &folder.join(format!("{}.log", self.name)))?;
        let url = format!("http://{}:{}/readyz", self.namespace.address, self.port);
        program.wait_for_url(&url, START_BOUND).await.with_context(|| format!("{} is not ready", self.name))?;
        Ok(program)
    }
}

/// Nothing of the machine's own: a proxy or a setting for another Dragonfly would change what is tested.
pub(crate) fn only_environment(command: &mut Command, variables: &[(&str, &str)]) {
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(variables.iter().copied());
}
