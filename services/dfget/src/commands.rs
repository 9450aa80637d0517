//! `import`, `export`, `stat`, `ls` and `rm`: what the daemon of this node has, and what the cluster has without a URL.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use df_api::dfdaemon::{CreateTaskRequest, TaskState, TaskStatus};
use df_api::{Digest, TaskId};
use df_client::{DfdaemonClient, Transport};
use indicatif::{HumanBytes, MultiProgress};
use serde_json::json;
use url::Url;

use crate::arguments::{Names, Talk, parse_url, wrong_option};
use crate::error::FetchError;
use crate::fetch::{self, Which, Wish};
use crate::import;
use crate::source::Source;

#[derive(Subcommand)]
pub enum Command {
    /// Keep a file in the cluster, and print its digest: any node exports it by that.
    ///
    /// This node shares it like any other content, and may make room of it when nobody has read it for long.
    Import(ImportArguments),
    /// Write to a file what the cluster has, never asking an origin.
    Export(ExportArguments),
    /// Show a task of this node.
    Stat(TaskArguments),
    /// List the tasks of this node that were fetched or imported by programs: by id.
    ///
    /// What container runtimes have pulled is not listed.
    Ls(ListArguments),
    /// Remove a task from this node. Who is reading it reads on; other nodes keep what they have.
    Rm(TaskArguments),
}

#[derive(Args)]
pub struct ImportArguments {
    pub file: PathBuf,
    #[command(flatten)]
    pub names: Names,
    #[command(flatten)]
    pub talk: Talk,
}

#[derive(Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub named: Named,
    #[arg(short = 'O', long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub talk: Talk,
}

#[derive(Args)]
pub struct TaskArguments {
    #[command(flatten)]
    pub named: Named,
    #[command(flatten)]
    pub talk: Talk,
}

#[derive(Args)]
pub struct ListArguments {
    #[command(flatten)]
    pub talk: Talk,
}

/// A task, by one of its names.
#[derive(Args)]
pub struct Named {
    /// Its id, the digest of what was imported (sha256:…), or the URL of what was fetched without credentials; the latter
    /// two with the same options as then.
    #[arg(value_parser = parse_task)]
    pub task: Name,
    /// Of a URL that was fetched with --digest.
    #[arg(long)]
    pub digest: Option<Digest>,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Clone, Debug)]
pub enum Name {
    Id(TaskId),
    Digest(Digest),
    Url(Url),
}

/// Tasks asked for at once.
const PAGE: u32 = 1000;

// === impl Command ===

impl Command {
    pub fn talk(&self) -> &Talk {
        match self {
            Self::Import(arguments) => &arguments.talk,
            Self::Export(arguments) => &arguments.talk,
            Self::Stat(arguments) | Self::Rm(arguments) => &arguments.talk,
            Self::Ls(arguments) => &arguments.talk,
        }
    }
}

// === impl Named ===

impl Named {
    /// What asks for it at any node; an id says only which task of this node it is.
    fn request(&self) -> Option<CreateTaskRequest> {
        let (url, digest) = match &self.task {
            Name::Id(_) => return None,
            Name::Digest(digest) => ("", Some(digest)),
            Name::Url(url) => (url.as_str(), self.digest.as_ref()),
        };
        Some(CreateTaskRequest { digest: digest.cloned(), disable_origin: true, ..self.names.request(url) })
    }

    fn id(&self) -> Result<TaskId, FetchError> {
        if let Name::Id(id) = &self.task {
            return Ok(id.clone());
        }
        let spec = self.request().unwrap_or_default().into_spec().map_err(wrong_option)?;
        match spec.origin.is_signed() {
            true => {
                Err(FetchError::Usage("a signed URL names no task: give the task_id that `dfget --json` said".into()))
            }
            false => Ok(spec.id),
        }
    }
}

pub async fn run(command: &Command) -> Result<(), FetchError> {
    match command {
        Command::Import(arguments) => import::import(arguments).await,
        Command::Export(arguments) => export(arguments).await,
        Command::Stat(TaskArguments { named, talk }) => {
            let task = client(talk, "stat").await?.get_task(&named.id()?).await?;
            match talk.json {
                true => println!("{}", json!(task)),
                false => show(&task),
            }
            Ok(())
        }
        Command::Ls(ListArguments { talk }) => list(talk).await,
        Command::Rm(TaskArguments { named, talk }) => {
            let id = named.id()?;
            client(talk, "rm").await?.delete_task(&id).await?;
            if talk.json {
                println!("{}", json!({ "task_id": id.as_str(), "removed": true }));
            }
            Ok(())
        }
    }
}

async fn client(talk: &Talk, what: &str) -> Result<DfdaemonClient, FetchError> {
    let daemon = talk.daemon();
    Source::daemon(&daemon).await?.ok_or_else(|| FetchError::no_daemon(&daemon, what))?;
    let transport = Transport::open(&daemon).map_err(|error| FetchError::Usage(format!("--daemon: {error}")))?;
    Ok(DfdaemonClient::new(transport))
}

async fn export(arguments: &ExportArguments) -> Result<(), FetchError> {
    let ExportArguments { named, output, overwrite, talk } = arguments;
    let daemon = talk.daemon();
    let id = named.id()?;
    let source = Source::daemon(&daemon).await?.ok_or_else(|| FetchError::no_daemon(&daemon, "export"))?;
    let task = named.request().map_or(Which::Known(id), |request| Which::New(Box::new(request)));
    let digest = match &named.task {
        Name::Digest(digest) => Some(digest.clone()),
        Name::Id(_) | Name::Url(_) => named.digest.clone(),
    };
    let bars = MultiProgress::new();
    let wish = Wish { task, range: None, digest, overwrite: *overwrite };
    let fetched = fetch::fetch_one(&source, wish, output, talk.has_progress().then_some(&bars)).await?;
    if talk.json {
        println!("{}", fetch::fetched_line(&fetched, None, output));
    }
    Ok(())
}

async fn list(talk: &Talk) -> Result<(), FetchError> {
    let client = client(talk, "ls").await?;
    let mut after = None;
    if !talk.json {
        println!("{:64}  {:8}  {:>10}  {:>10}  {:10}  URL", "ID", "STATE", "HELD", "LENGTH", "TAG");
    }
    loop {
        let page = client.list_tasks(after.as_ref(), PAGE).await?;
        for task in &page.tasks {
            match talk.json {
                true => println!("{}", json!(task)),
                false => println!(
                    "{}  {:8}  {:>10}  {:>10}  {:10}  {}",
                    task.id,
                    state(task.state),
                    HumanBytes(task.held_bytes).to_string(),
                    length(task),
                    plain(task.tag.as_deref()),
                    plain(task.url.as_deref()),
                ),
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn show(task: &TaskStatus) {
    let received = task.received;
    let lines = [
        ("id", task.id.to_string()),
        ("state", state(task.state).to_owned()),
        ("url", plain(task.url.as_deref())),
        ("digest", task.digest.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)),
        ("length", length(task)),
        ("held", HumanBytes(task.held_bytes).to_string()),
        ("tag", plain(task.tag.as_deref())),
        ("application", plain(task.application.as_deref())),
        ("from origin", HumanBytes(received.origin_bytes).to_string()),
        ("from peers", HumanBytes(received.seed_bytes + received.peer_bytes).to_string()),
    ];
    for (name, value) in lines {
        println!("{name:12} {value}");
    }
    if let Some(failure) = &task.failure {
        println!("{:12} {}", "failure", plain(Some(failure)));
    }
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Idle => "idle",
        TaskState::Complete => "complete",
        TaskState::Failed => "failed",
    }
}

fn length(task: &TaskStatus) -> String {
    task.length.map_or_else(|| "-".to_owned(), |length| HumanBytes(length).to_string())
}

/// Nothing that a terminal would act on.
fn plain(text: Option<&str>) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), |text| text.chars().map(plain).collect())
}

fn parse_task(text: &str) -> Result<Name, String> {
    if let Ok(id) = text.parse() {
        return Ok(Name::Id(id));
    }
    if text.contains("://") {
        return parse_url(text).map(Name::Url);
    }
    text.parse().map(Name::Digest).map_err(|_| "it is no id, no digest (sha256:…) and no URL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_an_id_a_digest_or_a_url() {
        let hex = "ab".repeat(32);
        assert!(matches!(parse_task(&hex), Ok(Name::Id(_))));
        assert!(matches!(parse_task(&format!("sha256:{hex}")), Ok(Name::Digest(_))));
        assert!(matches!(parse_task("https://h/x"), Ok(Name::Url(_))));
        for wrong in ["", "x", "sha256:ab", "ftp://h/x", &hex[1..]] {
            assert!(parse_task(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_in_a_list_moves_the_cursor() {
        assert_eq!(plain(Some("a\u{1b}[2Jb")), "a\u{fffd}[2Jb");
        assert_eq!((plain(Some("")), plain(None)), ("-".to_owned(), "-".to_owned()));
    }
}
