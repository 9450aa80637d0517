//! A manager with 10,000 peers and 100 clusters on SQLite: reads beside a server that reads one row on the same stack, how
//! late answers are at a usual load, and what 10,000 daemons cost that wait at discovery.
//!
//! **Invariant.** The server has a core of its own, and those who ask have another.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::process::{cpu_seconds, status_mib};

use crate::client::Connection;
use crate::goal::{Goal, percentile, sorted};
use crate::load::{Ask, ask_all};
use crate::options::Options;
use crate::pinned::Pinned;
use crate::row::{Part, Row, Unit};
use crate::waiting::Waiting;

const CLUSTERS: usize = 100;
/// Asks per second: people and their programs.
const USUAL_LOAD: f64 = 1_000.0;
/// Each side's, one after the other: a slow moment of the machine meets both.
const TURNS: usize = 10;

/// Reads one thing after another.
struct Reader {
    bearer: String,
    targets: Vec<String>,
    next: usize,
}

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    ensure!(std::thread::available_parallelism()?.get() > 1, "one core for the server and one for who asks");
    let mut rates = ["reads", "one row"].map(|name| Part::new(name, Unit::PerSecond));
    let (mut p99, mut median) = (Vec::new(), Part::new("p50", Unit::Milliseconds));
    let (mut idle, mut waiting_mib, mut waiting_cpu, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..options.runs_with_warm_up() {
        let manager = start(options).await?;
        let rss = || status_mib(manager.program.id(), "VmRSS");
        let idle_mib = rss()?;
        let root = sign_in(manager.address)?;
        fill(manager.address, &root, options)?;
        let nothing = Pinned::nothing("--one-row").await?;
        let (mut read, mut done) = (0, 0);
        for _ in 0..TURNS {
            let seconds = options.seconds / TURNS as f64;
            let (_, taken) = ask_all(manager.address, single(&root, options), seconds, None)?;
            read += taken.len();
            let (_, taken) = ask_all(nothing.address, one_row(), seconds, None)?;
            done += taken.len();
        }
        drop(nothing);
        let (_, paced) = ask_all(manager.address, mixed(&root, options), options.seconds, Some(USUAL_LOAD))?;
        let before = rss()?;
        let waiting = Waiting::begin(manager.address, &join_token(manager.address, &root)?, options.waiting).await?;
        let (began, spent) = (Instant::now(), cpu_seconds(&[manager.program.id()])?);
        tokio::time::sleep(Duration::from_secs_f64(options.seconds * 6.0)).await;
        let spent = cpu_seconds(&[manager.program.id()])? - spent;
        let share = spent / began.elapsed().as_secs_f64() * 100.0;
        let held = rss()? - before;
        let moved = waiting.all_told(|| move_all(manager.address, &root)).await?;
        if options.is_warm_up(run) {
            continue;
        }
        idle.push(idle_mib);
        rates[0].values.push(read as f64 / options.seconds);
        rates[1].values.push(done as f64 / options.seconds);
        let paced = sorted(&paced);
        p99.extend(percentile(&paced, 0.99));
        median.values.extend(percentile(&paced, 0.5));
        waiting_mib.push(held);
        waiting_cpu.push(share);
        told.push(moved.as_secs_f64());
    }
    let [ours, one] = rates;
    let waiting = format!("{} daemons that wait at discovery", options.waiting);
    let load = format!("{USUAL_LOAD:.0} reads per second, {} peers and {CLUSTERS} clusters", options.askers);
    Ok(vec![
        Row::ratio("a manager's reads ÷ a handler that reads one row of SQLite", Goal::at_least(0.5, 0.8), &ours, &one),
        Row::new(format!("{load}: p99"), Unit::Milliseconds, Goal::at_most(10.0, 3.0), p99).with([median]),
        Row::new(format!("{waiting}: memory"), Unit::Mib, Goal::at_most(150.0, 100.0), waiting_mib),
        Row::new(format!("{waiting}: percent of a core"), Unit::Percent, Goal::at_most(5.0, 3.0), waiting_cpu),
        Row::new(format!("{waiting}: all are told of other scopes"), Unit::Seconds, Goal::at_most(2.0, 1.0), told),
        Row::new("an idle manager's memory", Unit::Mib, Goal::at_most(40.0, 25.0), idle),
    ])
}

async fn start(options: &Options) -> anyhow::Result<Pinned> {
    let config = |folder: &tempfile::TempDir, address: SocketAddr| json!({ "listen": address.to_string(), "dataDir": folder.path().join("data") });
    Pinned::ours(options, "manager", config).await
}

fn sign_in(address: SocketAddr) -> anyhow::Result<String> {
    let body = json!({ "name": "root", "password": "dragonfly" }).to_string();
    let said = Connection::open(address)?.json("POST", "/api/v1/users/signin", "", &body)?;
    Ok(bearer(said["token"].as_str().context("no token")?))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn join_token(address: SocketAddr, root: &str) -> anyhow::Result<String> {
    let body = json!({ "name": "bench" }).to_string();
    let said = Connection::open(address)?.json("POST", "/api/v1/join-tokens", root, &body)?;
    Ok(bearer(said["token"].as_str().context("no token")?))
}

/// Cluster 1 is there already.
fn fill(address: SocketAddr, root: &str, options: &Options) -> anyhow::Result<()> {
    let mut connection = Connection::open(address)?;
    for at in 2..=CLUSTERS {
        let scopes = json!({ "idc": format!("idc-{at}"), "cidrs": [format!("172.16.{at}.0/24")] });
        let body = json!({ "name": format!("cluster-{at:03}"), "scopes": scopes }).to_string();
        connection.json("POST", "/api/v1/clusters", root, &body)?;
    }
    for at in 0..options.askers {
        let body = json!({
            "host_name": format!("node-{at}"), "type": "normal", "port": 65_001, "scheduler_cluster_id": 1 + at % CLUSTERS,
            "ip": format!("172.20.{}.{}", at / 250, at % 250), "os": "linux", "platform": "debian",
        });
        connection.json("POST", "/api/v1/peers", root, &body.to_string())?;
    }
    Ok(())
}

/// All nodes are of this cluster from now on.
fn move_all(address: SocketAddr, root: &str) -> anyhow::Result<()> {
    let body = json!({ "scopes": { "cidrs": ["10.0.0.0/8"] }, "strict": true }).to_string();
    Connection::open(address)?.json("PATCH", "/api/v1/clusters/2", root, &body).map(drop)
}

fn readers(count: usize, bearer: &str, targets: impl Fn(usize) -> Vec<String>) -> Vec<Reader> {
    (0..count).map(|at| Reader { bearer: bearer.to_owned(), targets: targets(at), next: 0 }).collect()
}

/// One thing by its id.
fn single(root: &str, options: &Options) -> Vec<Reader> {
    let (clusters, peers) = (CLUSTERS, options.askers.max(1));
    readers(64, root, |at| {
        vec![format!("/api/v1/clusters/{}", 1 + at % clusters), format!("/api/v1/peers/{}", 1 + at * 97 % peers)]
    })
}

/// And lists.
fn mixed(root: &str, options: &Options) -> Vec<Reader> {
    let (clusters, peers) = (CLUSTERS, options.askers.max(1));
    readers(64, root, |at| {
        vec![
            format!("/api/v1/clusters/{}", 1 + at % clusters),
            format!("/api/v1/peers?page={}&per_page=10", 1 + at),
            format!("/api/v1/peers/{}", 1 + at * 97 % peers),
            format!("/api/v1/clusters?page={}&per_page=10", 1 + at % 10),
        ]
    })
}

fn one_row() -> Vec<Reader> {
    readers(64, "", |at| vec![format!("/rows/{}", 1 + at)])
}

impl Ask for Reader {
    fn send(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        self.next += 1;
        connection.send("GET", &self.targets[self.next % self.targets.len()], &self.bearer, "")
    }

    fn hear(&mut self, said: &Value) -> anyhow::Result<()> {
        ensure!(!said.is_null(), "nothing was read");
        Ok(())
    }
}
