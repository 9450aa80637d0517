//! The program `manager`: reads its settings, serves until it is told to stop.
//! **Invariant:** nothing but the command line is here; what the program does, the standalone does with the same library.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use manager::{App, Config};

#[derive(Parser)]
#[command(
    name = "manager",
    version,
    about = "One manager for all Dragonfly clusters: REST, console, leases, discovery"
)]
struct Cli {
    /// YAML; every key also as DF_MANAGER__KEY of the environment. All defaults without it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve,
    /// Print the OpenAPI document as JSON.
    Openapi,
    /// Copy the SQLite database into FILE, which must not be there yet. The manager may run.
    Backup { file: PathBuf },
    /// Put FILE, a backup, in place of the SQLite database, which is kept aside. The manager must not run.
    Restore { file: PathBuf },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Openapi) => {
            println!("{}", manager::openapi().to_pretty_json()?);
            Ok(())
        }
        Some(Command::Backup { file }) => manager::backup(&Config::load(cli.config.as_deref())?, &file).await,
        Some(Command::Restore { file }) => {
            if let Some(former) = manager::restore(&Config::load(cli.config.as_deref())?, &file).await? {
                println!("the former database is kept as {}", former.display());
            }
            Ok(())
        }
        Some(Command::Serve) | None => serve(Config::load(cli.config.as_deref())?).await,
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let _telemetry = df_http::telemetry::init("manager", config.verbose)?;
    df_http::serve::raise_file_limit();
    let app = App::open(&config).await.context("the manager cannot start")?;
    let listener = df_http::serve::bind(config.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "the manager listens");
    manager::serve(app, listener, df_http::serve::stop_on_signal()).await;
    Ok(())
}
