//! The demo's table.

use crate::demo::Row;

const MIB: f64 = 1024.0 * 1024.0;

pub fn print(rows: &[Row], blobs: usize, total_bytes: u64) {
    println!("{blobs} blobs, {:.1} MiB", total_bytes as f64 / MIB);
    let head = ["", "from origin", "from seed", "from peers", "time", "digests"];
    println!("{:<14}{:>14}{:>14}{:>14}{:>10}{:>10}", head[0], head[1], head[2], head[3], head[4], head[5]);
    for row in rows {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB);
        let took = row.took.map_or_else(|| "–".to_owned(), |took| format!("{:.0} ms", took.as_secs_f64() * 1000.0));
        let received = row.received;
        println!(
            "{:<14}{:>14}{:>14}{:>14}{:>10}{:>10}",
            row.who,
            mib(received.origin_bytes),
            mib(received.seed_bytes),
            mib(received.peer_bytes),
            took,
            if row.verified { "verified" } else { "WRONG" },
        );
    }
}
