//! How many reports a scheduler answers on one core, how soon, and what it remembers of each: 10,000 hosts with one peer
//! each, a hundred peers to a task, all of them on their way, beside a server that does nothing on the same stack.
//!
//! **Invariant.** The server has a core of its own, and those who ask have another. Peers do as they were told: each
//! report names version and row of the last answer.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use df_api::Bitmap;
use df_api::scheduler::{HeldTask, HostReport, PeerReport, PeerReports, PeerState, TaskReport};
use df_api::task::Origin;
use serde_json::{Value, json};
use tests::process::status_mib;

use crate::client::Connection;
use crate::goal::{Goal, percentile, sorted};
use crate::load::{Ask, ask_all};
use crate::options::Options;
use crate::pinned::Pinned;
use crate::row::{Part, Row, Unit};

const PEERS_PER_TASK: usize = 100;
const PIECES: u64 = 256;
const PIECE_LENGTH: u64 = 4 << 20;
const TASKS_PER_HOST: usize = 100;
/// Each server's, one after the other: a slow moment of the machine meets both.
const TURNS: usize = 10;

/// One peer, and what it was told last.
struct Asker {
    host: String,
    task: String,
    report: PeerReport,
    pieces: u32,
}

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    ensure!(std::thread::available_parallelism()?.get() > 1, "one core for the server and one for who asks");
    let mut rates = ["a scheduler's decisions", "doing nothing"].map(|name| Part::new(name, Unit::PerSecond));
    let mut late = [0.5, 0.99].map(|part| Part::new(format!("p{:.0}", part * 100.0), Unit::Milliseconds));
    let (mut each, mut woken) = (Vec::new(), Vec::new());
    for run in 0..options.runs_with_warm_up() {
        let (scheduler, nothing) = (start(options).await?, Pinned::nothing("--nothing").await?);
        let mut askers = prepare(&scheduler, options)?;
        let (mut decided, mut done) = (0, 0);
        for _ in 0..TURNS {
            for (server, count) in [(&scheduler, &mut decided), (&nothing, &mut done)] {
                let (asked, taken) = ask_all(server.address, askers, options.seconds / TURNS as f64, None)?;
                askers = asked;
                *count += taken.len();
            }
        }
        drop(nothing);
        let rate = decided as f64 / options.seconds;
        let (_, paced) = ask_all(scheduler.address, askers, options.seconds, Some(rate / 2.0))?;
        drop(scheduler);
        let bytes = remembered(&start(options).await?, options)?;
        let waits = wake(&start(options).await?, options)?;
        if options.is_warm_up(run) {
            continue;
        }
        rates[0].values.push(rate);
        rates[1].values.push(done as f64 / options.seconds);
        let paced = sorted(&paced);
        for (part, at) in late.iter_mut().zip([0.5, 0.99]) {
            part.values.extend(percentile(&paced, at));
        }
        each.push(bytes);
        woken.extend(percentile(&sorted(&waits), 0.99));
    }
    let what = format!("decisions on one core, {} peers on {} tasks", options.askers, options.askers / PEERS_PER_TASK);
    let [ours, nothing] = rates;
    let [median, p99] = late;
    Ok(vec![
        Row::new(what.clone(), Unit::PerSecond, Goal::at_least(15_000.0, 25_000.0), ours.values.clone()),
        Row::ratio(format!("{what} ÷ doing nothing"), Goal::at_least(0.4, 0.6), &ours, &nothing),
        Row::new(format!("{what}, half that load: p99"), Unit::Milliseconds, Goal::at_most(5.0, 2.0), p99.values)
            .with([median]),
        Row::new("a scheduler's memory per peer of a task", Unit::Kib, Goal::at_most(4.0, 1.0), each),
        Row::new(
            "a waiting child is told of its first parent: p99",
            Unit::Milliseconds,
            Goal::at_most(20.0, 5.0),
            woken,
        ),
    ])
}

async fn start(options: &Options) -> anyhow::Result<Pinned> {
    let config = |_: &tempfile::TempDir, address: std::net::SocketAddr| json!({ "listen": address.to_string(), "host": { "hostname": "bench" }, "hostLeaseMs": 600_000 });
    Pinned::ours(options, "scheduler", config).await
}

// --- what is asked ---

fn host_report(name: &str, seed: bool, tasks: Option<Vec<HeldTask>>) -> HostReport {
    HostReport {
        seq: 1,
        place: Default::default(),
        url: format!("http://{name}:65002"),
        seed,
        sharing_off: false,
        storing: true,
        upload_slots: 200,
        sent_bytes_per_s: 0,
        sent_bytes_per_s_max: None,
        tasks,
        duties_taken: Vec::new(),
        hosts_known: 0,
    }
}

fn peer_report(host: &str) -> anyhow::Result<PeerReport> {
    Ok(PeerReport {
        host_id: host.parse()?,
        seq: 1,
        state: PeerState::Running,
        origin: Origin::new(
            "https://registry.example/v2/team/app/blobs/sha256:0123456789abcdef0123456789abcdef01234567",
        ),
        digest: None,
        length: Some(PIECES * PIECE_LENGTH),
        piece_length: Some(PIECE_LENGTH),
        pieces: Bitmap::default(),
        received_bytes: 0,
        complaints: Vec::new(),
        at_origin: false,
        known: None,
        row: None,
        wants: Default::default(),
    })
}

fn task(number: usize) -> String {
    format!("{number:064x}")
}

fn put(connection: &mut Connection, target: &str, body: &impl serde::Serialize) -> anyhow::Result<Value> {
    connection.json("PUT", target, "", &serde_json::to_string(body)?)
}

fn announce(connection: &mut Connection, name: &str, report: &HostReport) -> anyhow::Result<()> {
    put(connection, &format!("/v1/hosts/{name}"), report).map(drop)
}

/// A seed peer that has everything, and hosts that have all joined.
fn prepare(scheduler: &Pinned, options: &Options) -> anyhow::Result<Vec<Asker>> {
    let mut connection = Connection::open(scheduler.address)?;
    let tasks = options.askers / PEERS_PER_TASK;
    let length = PIECES * PIECE_LENGTH;
    let held = (0..tasks)
        .map(|at| Ok(HeldTask { id: task(at).parse()?, length, piece_length: PIECE_LENGTH, imported: false }));
    announce(&mut connection, "seed", &host_report("seed", true, Some(held.collect::<anyhow::Result<_>>()?)))?;
    let mut askers = Vec::new();
    for at in 0..options.askers {
        let host = format!("node-{at}");
        announce(&mut connection, &host, &host_report(&host, false, Some(Vec::new())))?;
        askers.push(Asker { report: peer_report(&host)?, host, task: task(at % tasks), pieces: 0 });
    }
    for asker in &mut askers {
        asker.ask(&mut connection)?;
    }
    Ok(askers)
}

// === impl Asker ===

impl Asker {
    fn ask(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        self.send(connection)?;
        self.hear(&connection.hear_json()?)
    }
}

impl Ask for Asker {
    /// One piece more than the last time.
    fn send(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        self.report.seq += 1;
        if u64::from(self.pieces) < PIECES {
            self.report.pieces.set(self.pieces);
            self.pieces += 1;
        }
        self.report.received_bytes += PIECE_LENGTH;
        let target = format!("/v1/tasks/{}/peers/{}", self.task, self.host);
        connection.send("PUT", &target, "", &serde_json::to_string(&self.report)?)
    }

    fn hear(&mut self, said: &Value) -> anyhow::Result<()> {
        if said["decision"] == "parents" {
            self.report.known = said["version"].as_u64();
            self.report.row = serde_json::from_value(said["row"].clone())?;
        }
        Ok(())
    }
}

/// KiB of resident memory for each peer of a task, with many of them.
fn remembered(scheduler: &Pinned, options: &Options) -> anyhow::Result<f64> {
    let mut connection = Connection::open(scheduler.address)?;
    let hosts = options.askers / 5;
    for at in 0..hosts {
        let host = format!("node-{at}");
        announce(&mut connection, &host, &host_report(&host, at == 0, Some(Vec::new())))?;
    }
    let before = status_mib(scheduler.program.id(), "VmRSS")?;
    for at in 0..hosts {
        let host = format!("node-{at}");
        let mut report = peer_report(&host)?;
        (0..PIECES as u32 / 2).for_each(|piece| report.pieces.set(piece * 2));
        report.received_bytes = PIECES / 2 * PIECE_LENGTH;
        let reports =
            (0..TASKS_PER_HOST).map(|number| Ok(TaskReport { task_id: task(number).parse()?, report: report.clone() }));
        let reports = PeerReports { reports: reports.collect::<anyhow::Result<_>>()? };
        let said = put(&mut connection, &format!("/v1/hosts/{host}/peers"), &reports)?;
        let answers = said["answers"].as_array().context("no answers")?;
        ensure!(answers.iter().all(|answer| answer["decision"].is_object()), "{said}");
    }
    let after = status_mib(scheduler.program.id(), "VmRSS")?;
    Ok((after - before) * 1024.0 / (hosts * TASKS_PER_HOST) as f64)
}

/// Milliseconds from the parent's word to the child's answer, over and over: the child waits for a host at the origin that
/// has not announced itself yet.
fn wake(scheduler: &Pinned, options: &Options) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(scheduler.address)?;
    announce(&mut connection, "child", &host_report("child", false, Some(Vec::new())))?;
    let (number, numbers) = std::sync::mpsc::channel::<usize>();
    let (answered, answers) = std::sync::mpsc::channel::<anyhow::Result<Instant>>();
    let address = scheduler.address;
    let waiting = std::thread::spawn(move || {
        let mut connection = Connection::open(address)?;
        for number in numbers {
            let body = serde_json::to_string(&peer_report("child")?)?;
            let target = format!("/v1/tasks/{}/peers/child", task(number));
            let told = connection.json("PUT", &target, "Prefer: wait=20\r\n", &body);
            let told = told.and_then(|said| {
                ensure!(said["decision"] == "parents", "{said}");
                Ok(Instant::now())
            });
            answered.send(told)?;
        }
        anyhow::Ok(())
    });
    let mut taken = Vec::new();
    for at in 0..options.wakes {
        let parent = format!("parent-{at}");
        let report = PeerReport { at_origin: true, ..peer_report(&parent)? };
        put(&mut connection, &format!("/v1/tasks/{}/peers/{parent}", task(at)), &report)?;
        number.send(at)?;
        // It has arrived when it is seen there.
        while !is_seen(&mut connection, at)? {}
        let said = Instant::now();
        announce(&mut connection, &parent, &host_report(&parent, false, Some(Vec::new())))?;
        taken.push((answers.recv()?? - said).as_secs_f64() * 1e3);
    }
    drop(number);
    waiting.join().map_err(|_| anyhow::anyhow!("the thread that waits has panicked"))??;
    Ok(taken)
}

fn is_seen(connection: &mut Connection, number: usize) -> anyhow::Result<bool> {
    let view = connection.json("GET", &format!("/v1/tasks/{}", task(number)), "", "")?;
    let peers = view["peers"].as_array().context("no peers")?;
    Ok(peers.iter().any(|peer| peer["host_id"] == "child"))
}
