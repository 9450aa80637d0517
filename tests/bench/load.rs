//! Many connections that ask again and again: how many answers there are, and how late each is.
//!
//! **Invariant.** Those who ask have a core of their own, and never sleep: a core that does is woken by the server, at the
//! server's expense.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;

use crate::client::Connection;

pub(crate) const CONNECTIONS: usize = 32;
/// Of those who ask; the server has the other.
const OUR_CORE: usize = 1;

/// Somebody who asks, and remembers what was said.
pub(crate) trait Ask {
    fn send(&mut self, connection: &mut Connection) -> anyhow::Result<()>;
    fn hear(&mut self, said: &Value) -> anyhow::Result<()>;
}

/// One connection, over which every so many-th asks.
struct Line {
    connection: Connection,
    at: usize,
    asked: Option<Instant>,
    due: Instant,
}

/// Milliseconds of each answer, for so many seconds; `pace` is asks per second, all together.
pub(crate) fn ask_all<A: Ask + Send + 'static>(
    address: SocketAddr,
    askers: Vec<A>,
    seconds: f64,
    pace: Option<f64>,
) -> anyhow::Result<(Vec<A>, Vec<f64>)> {
    let between = pace.map(|pace| Duration::from_secs_f64(CONNECTIONS as f64 / pace)).unwrap_or_default();
    let asking = std::thread::spawn(move || {
        keep_to(OUR_CORE)?;
        ask_in_turns(address, askers, seconds, between)
    });
    asking.join().map_err(|_| anyhow::anyhow!("the thread that asks has panicked"))?
}

fn ask_in_turns<A: Ask>(
    address: SocketAddr,
    mut askers: Vec<A>,
    seconds: f64,
    between: Duration,
) -> anyhow::Result<(Vec<A>, Vec<f64>)> {
    let began = Instant::now();
    let lines = (0..CONNECTIONS.min(askers.len())).map(|at| {
        let due = began + between.mul_f64(at as f64 / CONNECTIONS as f64);
        anyhow::Ok(Line { connection: Connection::open(address)?, at, asked: None, due })
    });
    let mut lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    let (count, end, mut taken) = (askers.len(), Instant::now() + Duration::from_secs_f64(seconds), Vec::new());
    loop {
        let open = Instant::now() < end;
        if !open && lines.iter().all(|line| line.asked.is_none()) {
            return Ok((askers, taken));
        }
        for line in &mut lines {
            match line.asked {
                None if open && line.due <= Instant::now() => {
                    line.asked = Some(Instant::now());
                    line.due += between;
                    askers[line.at].send(&mut line.connection)?;
                }
                Some(asked) if line.connection.is_answered()? => {
                    askers[line.at].hear(&line.connection.hear_json()?)?;
                    taken.push(asked.elapsed().as_secs_f64() * 1e3);
                    line.asked = None;
                    line.at = if line.at + CONNECTIONS < count { line.at + CONNECTIONS } else { line.at % CONNECTIONS };
                }
                _ => {}
            }
        }
    }
}

fn keep_to(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
