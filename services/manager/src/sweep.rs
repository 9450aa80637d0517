//! The one background loop: forgets instances that are long gone, sessions that are over, tries that count no more,
//! audits and jobs that are old; ends jobs whose time is over; and reads the keys again.
//! **Invariant:** only tidiness depends on it, and how soon the newest key signs; every answer is right without it. One
//! part that fails keeps none of the others.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;

use crate::db::{Db, DbError, now_ms};
use crate::key_ring::KeyRing;

const EVERY: Duration = Duration::from_secs(60);

pub struct Sweep {
    db: Db,
    keys: Arc<KeyRing>,
}

impl Sweep {
    pub fn new(db: Db, keys: Arc<KeyRing>) -> Self {
        Self { db, keys }
    }

    async fn forget_old(&self, now: i64) -> Result<(), DbError> {
        let Some(kept) = self.db.kept().await? else { return Ok(()) };
        let before = |kept: Duration| now.saturating_sub_unsigned(kept.as_millis() as u64);
        let audits = self.db.sweep_audits(before(kept.audits)).await;
        let jobs = self.db.sweep_jobs(before(kept.jobs)).await;
        audits.and(jobs).map(drop)
    }
}

impl Worker for Sweep {
    const NAME: &'static str = "sweep";
    type Error = Infallible;

    async fn round(&mut self) -> Result<Duration, Infallible> {
        let now = now_ms();
        let instances = self.db.sweep_instances(now).await;
        if let Ok(instances @ 1..) = instances {
            tracing::info!(instances, "forgot schedulers and seed peers that are long gone");
        }
        note("instances", instances);
        note("peers", self.db.sweep_peers(now).await);
        note("sessions", self.db.sweep_sessions(now).await);
        note("tries", self.db.sweep_tries(now).await);
        note("overdue jobs", self.db.end_overdue_jobs(now).await);
        note("audits and jobs", self.forget_old(now).await);
        note("keys", self.keys.read_again().await);
        Ok(EVERY)
    }
}

fn note<T, E: std::error::Error + 'static>(part: &str, done: Result<T, E>) {
    if let Err(error) = done {
        tracing::warn!(part, error = df_http::error::chain(&error), "not swept; tried again in a minute");
    }
}
