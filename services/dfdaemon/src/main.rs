//! `dfdaemon`: parse, start telemetry, serve.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use dfdaemon::{Config, Dfdaemon};

/// A node of Dragonfly: registry mirror for the container runtime, pieces for peers, or a seed peer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// dfdaemon.yaml; without it, defaults and the environment.
    #[arg(short, long, env = "DF_DFDAEMON_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the OpenAPI document.
    Openapi,
    /// Print the certificate that clients of `proxy.intercept` must trust; it is made now when there is none yet.
    Ca,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Openapi) = arguments.command {
        println!("{}", dfdaemon::openapi().to_pretty_json()?);
        return Ok(());
    }
    let config: Config = df_http::config::load("dfdaemon", arguments.config.as_deref())?;
    if let Some(Command::Ca) = arguments.command {
        print!("{}", std::fs::read_to_string(dfdaemon::proxy::authority_file(&config)?)?);
        return Ok(());
    }
    let _telemetry = df_http::telemetry::init("dfdaemon", config.verbose)?;
    df_http::serve::raise_file_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let stop = df_http::serve::stop_on_signal();
        Dfdaemon::start(config, stop.clone()).await?.stopped().await;
        Ok(())
    })
}
