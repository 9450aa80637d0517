//! The one background loop: forgets instances that are long gone, sessions that are over, tries that count no more.
//! **Invariant:** only tidiness depends on it; every answer is right without it.

use std::time::Duration;

use df_http::worker::Worker;

use crate::db::{Db, DbError, now_ms};

const EVERY: Duration = Duration::from_secs(60);

pub struct Sweep {
    db: Db,
}

impl Sweep {
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

impl Worker for Sweep {
    const NAME: &'static str = "sweep";
    type Error = DbError;

    async fn round(&mut self) -> Result<Duration, DbError> {
        let now = now_ms();
        let instances = self.db.sweep_instances(now).await?;
        self.db.sweep_accounts(now).await?;
        if instances > 0 {
            tracing::info!(instances, "forgot schedulers and seed peers that are long gone");
        }
        Ok(EVERY)
    }
}
