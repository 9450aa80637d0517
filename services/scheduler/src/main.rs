//! `scheduler [--config FILE]` serves; `scheduler openapi` prints its document.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use df_http::{serve, telemetry};
use scheduler::{App, Config};

/// Answers are made of many small strings: with glibc's there are a quarter fewer of them in a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Dragonfly's scheduler: who holds what in one cluster, and the right parents at once.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// YAML; every key can also be set as DF_SCHEDULER__….
    #[arg(long, env = "DF_SCHEDULER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the OpenAPI document and stop.
    Openapi,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Openapi) = arguments.command {
        println!("{}", scheduler::openapi().to_pretty_json()?);
        return Ok(());
    }
    let config = Config::load(arguments.config.as_deref())?;
    let _telemetry = telemetry::init("scheduler", config.verbose)?;
    serve::raise_file_limit();
    let stop = serve::stop_on_signal();
    let config = config.with_own_address().await;
    let listener = serve::bind(config.listen).await?;
    let app = App::new(config)?;
    scheduler::serve(app, listener, stop).await?;
    Ok(())
}
