//! `dfget`: fetch a URL through the local daemon, or through a peer of its own where there is none; keep files in the
//! cluster, and see what the daemon has.

mod arguments;
mod commands;
mod error;
mod fetch;
mod import;
mod jobs;
mod output;
mod progress;
mod source;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::arguments::Cli;
use crate::error::FetchError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What it says of certificates is in the error.
    let telemetry = df_http::telemetry::init_at("dfget", "error,rustls_platform_verifier=off");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&FetchError::Other(format!("cannot start: {error}"))),
    };
    let timeout = cli.command.as_ref().map_or(&cli.fetch.talk, |command| command.talk()).timeout;
    let done = runtime.block_on(async {
        let late = |_| FetchError::Unanswered(format!("not done within {timeout:?} (--timeout)"));
        let work = async {
            match &cli.command {
                None => fetch::fetch(&cli.fetch).await,
                Some(command) => commands::run(command).await,
            }
        };
        tokio::select! {
            done = tokio::time::timeout(timeout, work) => done.map_err(late)?,
            // What is being written goes with the work.
            Ok(()) = df_http::serve::stop_signal() => Err(FetchError::Interrupted),
        }
    });
    // What still reads a file or a name may take long, and nobody waits for it.
    runtime.shutdown_timeout(Duration::ZERO);
    drop(telemetry);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &FetchError) -> ExitCode {
    eprintln!("dfget: {error}");
    ExitCode::from(error.exit_code())
}
