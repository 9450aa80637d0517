//! `just sim`: the scheduler's and the peers' own decisions in virtual time, without sockets, threads or a clock: how a
//! content reaches up to 100,000 peers, beside the bound, and what faults cost. A table; it fails when somebody does not
//! get the content, or gets a wrong one, not when a goal is missed.
//!
//! **Invariants.** A run follows from its case and its seed alone. What decides is the code of `scheduler` and `df-peer`;
//! the glue here carries its answers out, and nothing is decided twice.

mod alone;
mod build;
mod cases;
mod control;
mod driver;
mod events;
mod flights;
mod network;
mod outcome;
mod part;
mod reporting;
mod scenario;
mod table;
#[cfg(test)]
mod tests;
mod words;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::outcome::Outcome;
use crate::scenario::Scenario;

#[derive(Debug, Parser)]
#[command(about = "Broadcasts in virtual time: a table beside the bound, the goals and the reference")]
struct Options {
    /// Only cases whose name has this in it
    #[arg(long)]
    case: Option<String>,
    /// Only cases of so many peers at most
    #[arg(long, default_value_t = usize::MAX)]
    most: usize,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// One broadcast among so many peers instead of the table
    #[arg(long)]
    hosts: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(hosts) = options.hosts {
        let outcome = Outcome::of(Scenario::broadcast(hosts, options.seed));
        println!("{outcome:#?}");
        return if outcome.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let wanted = |case: &cases::Case| {
        let named = options.case.as_ref().is_none_or(|name| case.name.contains(name.as_str()));
        named && case.hosts <= options.most
    };
    let mut right = true;
    println!("{}", table::heading());
    for case in cases::all().into_iter().filter(wanted) {
        for seed in options.seed..options.seed + options.seeds {
            let began = Instant::now();
            let outcome = Outcome::of(case.scenario(seed));
            right &= outcome.is_right();
            println!("{}", table::line(&case, &outcome, began.elapsed()));
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
