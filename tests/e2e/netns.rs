//! A network of its own for one test: namespaces on one bridge, with names of their own and no way out.
//!
//! ```text
//!  test (root namespace) ── 10.77.x.1 ─┐
//!  ctl  10.77.x.2 = bridge ────────────┤   registry.test manager.test scheduler.test
//!  node1 10.77.x.11 ───────────────────┤
//!  node2 10.77.x.12 ───────────────────┘
//! ```
//! The bridge is in `ctl`, where no firewall of the machine (docker's, say) looks at what passes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

const CTL_HOST: u8 = 2;
const FIRST_NODE_HOST: u8 = 11;

/// Removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    namespaces: Vec<Namespace>,
    /// The test's own interface in the root namespace.
    link: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

// === impl Network ===

impl Network {
    /// `ctl` and so many nodes.
    pub(crate) fn create(nodes: u8) -> anyhow::Result<Self> {
        remove_leftovers()?;
        let run = std::process::id();
        let third = free_subnet()?;
        let mut network = Self { namespaces: Vec::new(), link: format!("df{run}") };
        let ctl = network.add(&format!("df-{run}-ctl"), Ipv4Addr::new(10, 77, third, CTL_HOST))?;
        ip(&["-n", &ctl.name, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &ctl.name, "addr", "add", &format!("{}/24", ctl.address), "dev", "br0"])?;
        ip(&["-n", &ctl.name, "link", "set", "br0", "up"])?;

        let test = Ipv4Addr::new(10, 77, third, 1);
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

    pub(crate) fn ctl(&self) -> &Namespace {
        &self.namespaces[0]
    }

    pub(crate) fn nodes(&self) -> &[Namespace] {
        &self.namespaces[1..]
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
    let output = Command::new("ip").args(arguments).output().context("cannot start ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
