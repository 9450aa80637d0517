//! `dfget`: fetch a URL through the local daemon, or through a peer of its own where there is none.

mod output;
mod progress;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use df_api::Digest;
use df_api::dfdaemon::CreateTaskRequest;
use df_store::ContentHasher;
use futures_util::StreamExt as _;
use url::Url;

use crate::output::Output;
use crate::progress::Progress;
use crate::source::{FetchError, Source};

/// Fetch a URL, sharing the bytes with the cluster.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 something else, 2 wrong usage, 3 the origin says no, \
    4 nothing answers, 5 the digest does not match, 6 the output cannot be written."
)]
struct Arguments {
    /// http:// or https://
    url: Url,
    /// Where to write it.
    #[arg(short = 'O', long, value_name = "FILE")]
    output: PathBuf,
    /// sha256:… or sha512:… of the content; nothing is written when it does not match.
    #[arg(long)]
    digest: Option<Digest>,
    /// Replace FILE if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Sent to the origin: `Authorization: Bearer …`. Prefer the environment, which other users cannot read.
    #[arg(long, env = "DFGET_AUTHORIZATION", hide_env_values = true)]
    authorization: Option<String>,
    /// Keeps contents of one URL apart.
    #[arg(long, env = "DFGET_TAG")]
    tag: Option<String>,
    /// Keeps contents of one URL apart.
    #[arg(long, env = "DFGET_APPLICATION")]
    application: Option<String>,
    /// The daemon of this node: `unix:/path` or `http://…`. Default: unix:/var/run/dragonfly/dfdaemon.sock where that can
    /// be used, else http://127.0.0.1:65001.
    #[arg(long, env = "DFGET_DAEMON")]
    daemon: Option<String>,
    #[arg(long, env = "DFGET_NO_PROGRESS")]
    no_progress: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let telemetry = df_http::telemetry::init_at("dfget", "error");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&FetchError::Other(format!("cannot start: {error}"))),
    };
    let fetched = runtime.block_on(fetch(arguments));
    drop(telemetry);
    match fetched {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &FetchError) -> ExitCode {
    eprintln!("dfget: {error}");
    ExitCode::from(error.exit_code())
}

async fn fetch(arguments: Arguments) -> Result<(), FetchError> {
    let mut output = Output::create(&arguments.output, arguments.overwrite)?;
    let request = CreateTaskRequest {
        url: arguments.url.to_string(),
        digest: arguments.digest.clone(),
        tag: arguments.tag,
        application: arguments.application,
        authorization: arguments.authorization,
        ..CreateTaskRequest::default()
    };
    let daemon = arguments.daemon.unwrap_or_else(source::default_daemon);
    let source = Source::open(&daemon, &arguments.url).await?;
    let id = source.start(request).await?;
    let (length, mut content) = source.content(&id).await?;
    let mut progress = Progress::new(length, !arguments.no_progress);
    let mut hasher = arguments.digest.as_ref().map(|digest| ContentHasher::new(digest.algorithm()));
    let mut ticks = tokio::time::interval(Progress::REFRESH);
    loop {
        tokio::select! {
            chunk = content.next() => {
                let Some(chunk) = chunk else { break };
                let chunk = chunk?;
                if let Some(hasher) = &mut hasher { hasher.update(&chunk) }
                output.write(&chunk)?;
                progress.add(chunk.len() as u64);
            }
            _ = ticks.tick() => progress.show(source.received(&id).await),
        }
    }
    progress.finish(source.received(&id).await);
    let found = hasher.map(ContentHasher::finish);
    match (found, arguments.digest) {
        (Some(found), Some(expected)) if found != expected => Err(FetchError::WrongDigest { found, expected }),
        _ => output.keep(),
    }
}
