//! `just bench`: how fast Dragonfly moves bytes, and what that costs, beside the best that moves the same bytes on the
//! same machine in the same run. A table for people, a report for programs; it fails when nothing could be measured,
//! not when a row misses its goal.
//!
//! **Invariants.** The two sides of a ratio take turns within one run, and who begins alternates. Nothing is waited for
//! by polling where the answer of a request can be waited for. What a run makes goes with it; what a killed run left,
//! the next one removes.

mod client;
mod cold_pull;
mod curl;
mod decisions;
mod first_byte;
mod floor;
mod goal;
mod ground;
mod load;
mod machine;
mod made;
mod manager;
mod memory;
mod nginx;
mod node;
mod nothing;
mod options;
mod peer_to_peer;
mod pinned;
mod report;
mod reservoir;
mod restart;
mod row;
mod small_object;
mod swarm;
mod waiting;
mod warm_hit;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Options, RowName};
use crate::report::Report;
use crate::row::Row;

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse().scaled();
    if let Some(listen) = options.nothing {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(nothing::serve_nothing(listen)).map(|()| ExitCode::SUCCESS);
    }
    if let Some(listen) = options.one_row {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(nothing::serve_one_row(listen)).map(|()| ExitCode::SUCCESS);
    }
    if let Some(missing) = machine::missing() {
        eprintln!("bench: {missing}");
        return Ok(ExitCode::from(77));
    }
    machine::take_precedence();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // What is dropped with `measure` takes programs, namespaces and files with it.
        tokio::select! {
            measured = measure(&options) => measured,
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
        }
    });
    // Threads that still talk to a program that is gone end by themselves.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn measure(options: &Options) -> anyhow::Result<ExitCode> {
    let mut report = Report::begin(options)?;
    report.floor = Some(floor::measure(options).await?);
    for name in options.wanted() {
        eprintln!("bench: {} …", name.title());
        match rows(name, options).await {
            Ok(rows) => {
                rows.iter().for_each(|row| eprint!("{}", report::row_text(row, options.judges())));
                report.rows.extend(rows);
            }
            Err(error) => {
                eprintln!("bench: {} could not be measured: {error:#}", name.title());
                report.failures.push((name.title(), format!("{error:#}")));
            }
        }
        // After every row: a run that is ended early has a report too.
        report.write(options)?;
    }
    print!("{}", report.text(options));
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn rows(name: RowName, options: &Options) -> anyhow::Result<Vec<Row>> {
    match name {
        RowName::WarmHit => warm_hit::rows(options).await,
        RowName::FirstByte => first_byte::rows(options).await,
        RowName::PeerToPeer => peer_to_peer::rows(options).await,
        RowName::ColdPull => cold_pull::rows(options).await,
        RowName::Swarm => swarm::rows(options).await,
        RowName::SmallObject => small_object::rows(options).await,
        RowName::Memory => memory::rows(options).await,
        RowName::Restart => restart::rows(options).await,
        RowName::Decisions => decisions::rows(options).await,
        RowName::Manager => manager::rows(options).await,
    }
}
