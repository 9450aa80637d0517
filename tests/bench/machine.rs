//! Where the figures come from, and what this machine must have for them.

use std::process::Command;

use chrono::{SecondsFormat, Utc};
use df_testkit::process::find_program;
use serde_json::{Value, json};

use crate::ground;
use crate::options::Options;

const PROGRAMS: [&str; 6] = ["ip", "tc", "unshare", "nginx", "curl", "docker-registry"];

const NICENESS: i32 = -15;

/// In the order in which they are shown.
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

/// The first thing that is missing.
pub(crate) fn missing() -> Option<String> {
    if let Some(program) = PROGRAMS.into_iter().find(|program| find_program(program).is_none()) {
        return Some(format!("{program} is not installed: infra/scripts/setup.sh bench"));
    }
    let made = Command::new("unshare").args(["--net", "--mount", "true"]).status();
    (!made.is_ok_and(|status| status.success()))
        .then(|| "this user may not make network namespaces: run as root".to_owned())
}

/// For this process and all it starts, so for both sides: what else runs here disturbs less.
pub(crate) fn take_precedence() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        eprintln!("bench: no precedence over other processes: {error}");
    }
}

// === impl Machine ===

impl Machine {
    pub(crate) fn look(options: &Options) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism()?.to_string();
        let places = [ground::place(options, 0)?, ground::place(&ground::on_disk(options), 0)?];
        let [most, hits] = places.map(|place| format!("{} ({})", place.display(), ground::file_system(&place)));
        let facts = vec![
            ("date", Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)),
            ("commit", said("git", &["-C", &tests::root().to_string_lossy(), "describe", "--always", "--dirty"])),
            ("programs", options.programs()?.display().to_string()),
            ("cores", cores),
            ("cpu", line_of("/proc/cpuinfo", "model name")),
            ("memory", format!("{} available", line_of("/proc/meminfo", "MemAvailable"))),
            ("kernel", said("uname", &["-sr"])),
            ("load", format!("{} (1, 5, 15 min; what else runs here changes the figures of both sides)", load())),
            ("niceness", rustix::process::nice(0).map(|nice| nice.to_string()).unwrap_or_default()),
            ("congestion control", format!("{}, set in every namespace", ground::congestion_control()?)),
            (
                "links",
                "veth to one bridge, loopback within a node; shaped with tbf both ways where a row says so".into(),
            ),
            ("data", format!("{most}, warm hits {hits}; incompressible; page cache warm")),
            (
                "runs",
                format!(
                    "{}{}; sides take turns",
                    options.runs,
                    if options.quick { "" } else { ", after one that warms up" }
                ),
            ),
            ("nginx", "one process; sendfile on, tcp_nopush on, keep-alive, access_log off".into()),
            ("versions", format!("{}; {}", version("nginx", "-v"), version("curl", "-V"))),
        ];
        Ok(Self { facts })
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.facts.iter().map(|(name, value)| format!("{name}: {value}"))
    }

    pub(crate) fn json(&self) -> Value {
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let mut all: serde_json::Map<String, Value> = facts.collect();
        all.insert("load at the end".to_owned(), json!(load()));
        Value::Object(all)
    }
}

pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn line_of(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
    line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The first line, whichever way it was said.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

fn version(program: &str, argument: &str) -> String {
    said(program, &[argument]).split(" (").next().unwrap_or_default().to_owned()
}
