//! A network of its own for one test or one row of the bench: namespaces on one bridge, with names of their own and no way out.
//!
//! ```text
//!  test (root namespace) ── 10.77.x.1 ─┐
//!  ctl  10.77.x.2 = bridge ────────────┤   registry.test manager.test scheduler.test
//!  node1 10.77.x.11 ───────────────────┤
//!  node2 10.77.x.12 ───────────────────┘
//! ```
//! The bridge is in `ctl`, where no firewall of the machine (docker's, say) looks at what passes.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const TEST_HOST: u8 = 1;
const CTL_HOST: u8 = 2;
const OTHER_TEST_HOST: u8 = 3;
const FIRST_NODE_HOST: u8 = 11;
/// A packet before segmentation has up to 64 KiB; a smaller bucket would cut them all.
const TBF_BURST: &str = "128kb";
const TBF_LATENCY: &str = "20ms";

/// Removed with everything in it when dropped.
#[derive(Debug)]
pub struct Network {
    namespaces: Vec<Namespace>,
    /// The test's own interface in the root namespace.
    link: String,
}

#[derive(Clone, Debug)]
pub struct Namespace {
    pub name: String,
    pub address: Ipv4Addr,
}

// === impl Network ===

impl Network {
    /// `ctl` and so many nodes.
    pub async fn create(nodes: u8) -> anyhow::Result<Self> {
        remove_leftovers()?;
        let run = std::process::id();
        let third = free_subnet()?;
        let mut network = Self { namespaces: Vec::new(), link: format!("df{run}") };
        let ctl = network.add(&format!("df-{run}-ctl"), Ipv4Addr::new(10, 77, third, CTL_HOST))?;
        ip(&["-n", &ctl.name, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &ctl.name, "addr", "add", &format!("{}/24", ctl.address), "dev", "br0"])?;
        ip(&["-n", &ctl.name, "link", "set", "br0", "up"])?;

        ctl.inside(keep_firewall_out).await?;

        let test = network.test_address();
        ip(&["link", "add", &network.link, "type", "veth", "peer", "name", "test", "netns", &ctl.name])?;
        ip(&["addr", "add", &format!("{test}/24"), "dev", &network.link])?;
        ip(&["link", "set", &network.link, "up"])?;
        plug(&ctl, "test")?;

        for number in 1..=nodes {
            let address = Ipv4Addr::new(10, 77, third, FIRST_NODE_HOST + number - 1);
            let node = network.add(&format!("df-{run}-node{number}"), address)?;
            let port = format!("node{number}");
            ip(&["-n", &node.name, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &ctl.name])?;
            ip(&["-n", &node.name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", &node.name, "link", "set", "eth0", "up"])?;
            plug(&ctl, &port)?;
        }
        Ok(network)
    }

    pub fn ctl(&self) -> &Namespace {
        &self.namespaces[0]
    }

    /// The test's own in this network; what it listens on there, the nodes reach.
    pub fn test_address(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.ctl().address.octets();
        Ipv4Addr::new(a, b, c, TEST_HOST)
    }

    /// Another of the test's own, for a second listener on the same port.
    pub fn add_test_address(&self) -> anyhow::Result<Ipv4Addr> {
        let [a, b, c, _] = self.ctl().address.octets();
        let address = Ipv4Addr::new(a, b, c, OTHER_TEST_HOST);
        ip(&["addr", "add", &format!("{address}/24"), "dev", &self.link])?;
        Ok(address)
    }

    /// From now on these names mean `address`, everywhere in this network.
    pub fn name(&self, address: Ipv4Addr, names: &[&str]) -> anyhow::Result<()> {
        for namespace in &self.namespaces {
            let hosts = etc(&namespace.name).join("hosts");
            let mut hosts = File::options().append(true).open(&hosts).context("a namespace has no hosts file")?;
            writeln!(hosts, "{address} {}", names.join(" "))?;
        }
        Ok(())
    }

    /// Packets from everywhere in this network to `address` are sent, and nobody gets them.
    pub fn swallow(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        for node in self.nodes() {
            let nobody = ["lladdr", "02:00:00:00:00:63", "dev", "eth0", "nud", "permanent"];
            ip(&[&["-n", &node.name, "neigh", "replace", &address.to_string()], &nobody[..]].concat())?;
        }
        Ok(())
    }

    pub fn nodes(&self) -> &[Namespace] {
        &self.namespaces[1..]
    }

    /// Both directions of a node's link carry so much and no more; again for another rate.
    pub fn shape(&self, node: &Namespace, megabit: u32) -> anyhow::Result<()> {
        let port = node.name.rsplit('-').next().unwrap_or_default();
        for (namespace, device) in [(&node.name, "eth0"), (&self.ctl().name, port)] {
            tc(&["-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"]
                .into_iter()
                .chain(["rate", &format!("{megabit}mbit"), "burst", TBF_BURST, "latency", TBF_LATENCY])
                .collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// As it was made: as fast as the machine.
    pub fn unshape(&self, node: &Namespace) -> anyhow::Result<()> {
        let port = node.name.rsplit('-').next().unwrap_or_default();
        for (namespace, device) in [(&node.name, "eth0"), (&self.ctl().name, port)] {
            tc(&["-n", namespace, "qdisc", "del", "dev", device, "root"])?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, address: Ipv4Addr) -> anyhow::Result<Namespace> {
        ip(&["netns", "add", name])?;
        let namespace = Namespace { name: name.to_owned(), address };
        self.namespaces.push(namespace.clone());
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        // `ip netns exec` lays this over /etc/hosts.
        let ctl = self.ctl().address;
        let hosts = format!("127.0.0.1 localhost\n{ctl} registry.test manager.test scheduler.test\n");
        let folder = etc(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join("hosts"), hosts)?;
        Ok(namespace)
    }
}

// === impl Namespace ===

impl Namespace {
    /// Does `work` on a thread that lives in this namespace and ends with it; `lo` is the namespace's own there.
    pub async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let path = Path::new("/run/netns").join(&self.name);
        std::thread::Builder::new().name(self.name.clone()).spawn(move || {
            let entered = File::open(&path).map_err(anyhow::Error::from).and_then(|namespace| {
                Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
            });
            // Nobody waits for the answer of a run that was interrupted.
            let _ =
                sender.send(entered.with_context(|| format!("cannot enter {}", path.display())).and_then(|()| work()));
        })?;
        answer.await.context("a thread in a namespace has panicked")?
    }

    /// With whom of this network it has ever exchanged a packet: those whose hardware address it had to ask for.
    pub fn neighbours(&self) -> anyhow::Result<Vec<Ipv4Addr>> {
        let shown: serde_json::Value = serde_json::from_str(&ip(&["-n", &self.name, "-j", "-4", "neigh", "show"])?)?;
        let all = shown.as_array().context("ip shows no neighbours")?;
        Ok(all.iter().filter_map(|one| one["dst"].as_str()?.parse().ok()).collect())
    }

    /// Bytes that have left through the node's link, headers and all.
    pub fn sent_bytes(&self) -> anyhow::Result<u64> {
        let shown = ip(&["-n", &self.name, "-s", "-j", "link", "show", "dev", "eth0"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        shown[0]["stats64"]["tx"]["bytes"].as_u64().context("ip shows no sent bytes")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            remove(&namespace.name);
        }
        // Gone already with the other end, unless that was never made.
        let _ = ip(&["link", "del", &self.link]);
    }
}

/// The end of a cable that came into `ctl` goes into the bridge.
fn plug(ctl: &Namespace, port: &str) -> anyhow::Result<()> {
    ip(&["-n", &ctl.name, "link", "set", port, "master", "br0", "up"])?;
    Ok(())
}

/// Once docker has run on this machine, every new namespace passes what its bridges carry through netfilter, by default.
fn keep_firewall_out() -> anyhow::Result<()> {
    for tables in ["iptables", "ip6tables", "arptables"] {
        let setting = PathBuf::from(format!("/proc/sys/net/bridge/bridge-nf-call-{tables}"));
        // Most machines have none.
        if setting.exists() {
            std::fs::write(&setting, "0").with_context(|| format!("cannot change {}", setting.display()))?;
        }
    }
    Ok(())
}

/// Ends what still runs in the namespace (all of it was started there by a test) and removes it.
fn remove(name: &str) {
    let pids = ip(&["netns", "pids", name]).unwrap_or_default();
    for pid in pids.split_whitespace() {
        let _ = Command::new("kill").args(["-KILL", pid]).status();
    }
    let _ = ip(&["netns", "del", name]);
    let _ = std::fs::remove_dir_all(etc(name));
}

/// Namespaces of test runs that are no more.
fn remove_leftovers() -> anyhow::Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let run = name.strip_prefix("df-").and_then(|rest| rest.split('-').next());
        if let Some(run) = run.filter(|run| run.parse::<u32>().is_ok())
            && !PathBuf::from("/proc").join(run).exists()
        {
            remove(name);
        }
    }
    Ok(())
}

/// A third byte of 10.77.x.0/24 that this machine does not use.
fn free_subnet() -> anyhow::Result<u8> {
    let used = ip(&["-o", "-4", "route", "show", "table", "all"])?;
    let first = (std::process::id() % 250) as u8;
    let free = (0..250)
        .map(|step| ((u16::from(first) + step) % 250) as u8)
        .find(|third| !used.contains(&format!("10.77.{third}.")));
    free.context("every 10.77.x.0/24 is in use")
}

fn etc(namespace: &str) -> PathBuf {
    PathBuf::from("/etc/netns").join(namespace)
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    run("ip", arguments)
}

fn tc(arguments: &[&str]) -> anyhow::Result<String> {
    run("tc", arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
