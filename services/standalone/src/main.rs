//! `dragonfly`: the whole platform in one process, to look at and to try.

mod demo;
mod pull;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use standalone::{Options, Standalone};
use tokio_util::sync::CancellationToken;

use crate::demo::Demo;

/// Manager, scheduler, seed peer and two peers in one process.
#[derive(Parser)]
#[command(name = "dragonfly", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pull an image twice and show where its bytes came from; then leave the console running.
    Demo {
        /// End after the table, with status 0 only if every byte came as promised.
        #[arg(long, env = "DEMO_EXIT", value_parser = clap::builder::FalseyValueParser::new())]
        exit: bool,
        /// Pull this image instead, `registry/repository:tag`.
        #[arg(long)]
        image: Option<String>,
    },
    /// Run until Ctrl-C.
    Run {
        /// Where databases and contents are kept.
        #[arg(long, default_value = "/var/lib/dragonfly/standalone")]
        dir: PathBuf,
        /// Where REST and console answer.
        #[arg(long, default_value = "0.0.0.0:8080")]
        listen: SocketAddr,
        /// Where the first peer's registry mirror answers.
        #[arg(long, default_value = "127.0.0.1:65001")]
        mirror: SocketAddr,
        /// An upstream that is not public, such as `http://registry.lan:5000`; may be repeated.
        #[arg(long)]
        allow: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if std::env::var_os("RUST_LOG").is_none() && matches!(arguments.command, Command::Demo { .. }) {
        // The table is the point; what goes wrong is still shown.
        return run(arguments, "warn");
    }
    run(arguments, "info")
}

fn run(arguments: Arguments, level: &'static str) -> anyhow::Result<()> {
    let _telemetry = df_http::telemetry::init_at("standalone", level)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let stop = df_http::serve::stop_on_signal();
        match arguments.command {
            Command::Demo { exit, image } => Demo { exit, image }.run(stop).await,
            Command::Run { dir, listen, mirror, allow } => {
                let options = Options { manager_listen: listen, first_mirror: mirror, allow, ..Options::new(dir) };
                serve(options, stop).await
            }
        }
    })
}

async fn serve(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let platform = Standalone::start(options, stop.clone()).await?;
    println!("Console  http://localhost:{}  (root / dragonfly)", platform.manager_addr.port());
    println!("Mirror   http://{}", platform.peers[0].local_addr);
    stop.cancelled().await;
    platform.stopped().await;
    Ok(())
}
