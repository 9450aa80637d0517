//! How long the first byte of a held blob takes, against nginx: the first KiB by range on a kept connection, and the
//! whole blob on a new connection that ends after the first bytes.

use std::net::SocketAddr;
use std::time::Instant;

use crate::client::Connection;
use crate::goal::{Goal, percentile, sorted};
use crate::ground::{Ground, on_disk};
use crate::made::MIB;
use crate::node::{local, mirror_target};
use crate::options::Options;
use crate::row::{Part, Row, Unit};
use crate::warm_hit::Held;

/// Requests of one side before the other has its turn.
const BATCH: usize = 50;
const KINDS: [&str; 2] = ["first KiB, kept connection", "whole, new connection"];
const PARTS: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let ground = Ground::prepare(&on_disk(options), 1, 0).await?;
    let held = Held::start(&ground, options.hit_mib * MIB).await?;
    let sides =
        [(local(), mirror_target(&held.blob, held.origin.address)), (held.nginx.loopback(), held.blob.target())];
    let mut rows = Vec::new();
    for (kind, what) in KINDS.into_iter().enumerate() {
        let mut figures = PARTS
            .map(|(part, _)| ["mirror", "nginx"].map(|side| Part::new(format!("{side} {part}"), Unit::Milliseconds)));
        for run in 0..options.runs_with_warm_up() {
            let mut taken = [Vec::new(), Vec::new()];
            while taken[1].len() < options.requests || taken[0].len() < options.requests {
                for turn in [run % 2, (run + 1) % 2] {
                    let (address, target) = sides[turn].clone();
                    let count = BATCH.min(options.requests);
                    let batch = ground.node(0).inside(move || batch(kind, count, address, &target)).await?;
                    taken[turn].extend(batch);
                }
            }
            if options.is_warm_up(run) {
                continue;
            }
            for (figures, (_, part)) in figures.iter_mut().zip(PARTS) {
                for (figure, taken) in figures.iter_mut().zip(&taken) {
                    figure.values.extend(percentile(&sorted(taken), part));
                }
            }
        }
        let goals = [Goal::at_most(0.5, 0.2), Goal::at_most(2.0, 0.5)];
        for (([mirror, nginx], (part, _)), goal) in figures.iter().zip(PARTS).zip(goals) {
            rows.push(Row::difference(format!("warm hit, first byte, {part} − nginx: {what}"), goal, mirror, nginx));
        }
    }
    Ok(rows)
}

/// Milliseconds to the first byte.
fn batch(kind: usize, count: usize, address: SocketAddr, target: &str) -> anyhow::Result<Vec<f64>> {
    let mut kept = Connection::open(address)?;
    let mut one = || -> anyhow::Result<_> {
        if kind == 0 {
            return Ok(kept.get(target, "Range: bytes=0-1023\r\n")?.first_byte);
        }
        let began = Instant::now();
        let connection = Connection::open(address)?;
        Ok(began.elapsed() + connection.first_byte(target)?)
    };
    (0..count).map(|_| Ok(one()?.as_secs_f64() * 1e3)).collect()
}
