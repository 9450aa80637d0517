//! The one background loop: forgets instances that are long gone, sessions that are over, tries that count no more,
//! audits that are old; and reads the keys again.
//! **Invariant:** only tidiness depends on it, and how soon the newest key signs; every answer is right without it.

use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;

use crate::db::{Db, now_ms};
use crate::key_ring::{KeyRing, RingError};

const EVERY: Duration = Duration::from_secs(60);

pub struct Sweep {
    db: Db,
    keys: Arc<KeyRing>,
}

impl Sweep {
    pub fn new(db: Db, keys: Arc<KeyRing>) -> Self {
        Self { db, keys }
    }
}

impl Worker for Sweep {
    const NAME: &'static str = "sweep";
    type Error = RingError;

    async fn round(&mut self) -> Result<Duration, RingError> {
        let now = now_ms();
        let instances = self.db.sweep_instances(now).await?;
        self.db.sweep_peers(now).await?;
        self.db.sweep_sessions(now).await?;
        self.db.sweep_tries(now).await?;
        if let Some(kept) = self.db.kept().await? {
            self.db.sweep_audits(now.saturating_sub_unsigned(kept.audits.as_millis() as u64)).await?;
        }
        self.keys.read_again().await?;
        if instances > 0 {
            tracing::info!(instances, "forgot schedulers and seed peers that are long gone");
        }
        Ok(EVERY)
    }
}
