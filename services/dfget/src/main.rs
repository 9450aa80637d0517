//! `dfget`: fetch a URL through the local daemon, or through a peer of its own where there is none.

mod arguments;
mod fetch;
mod jobs;
mod output;
mod progress;
mod source;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::source::FetchError;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let telemetry = df_http::telemetry::init_at("dfget", "error");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&FetchError::Other(format!("cannot start: {error}"))),
    };
    let fetched = runtime.block_on(async {
        let late = |_| FetchError::Unanswered(format!("not done within {:?} (--timeout)", arguments.timeout));
        tokio::time::timeout(arguments.timeout, fetch::fetch(&arguments)).await.map_err(late)?
    });
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
