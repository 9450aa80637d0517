//! Who was seen: daemons ask where they belong all the time, and are written down once a minute, many at once.
//! **Invariant:** nobody who asks waits for it, and what is lost of it is there again a minute later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;
use moka::future::Cache;
use parking_lot::Mutex;

use crate::db::peers::Seen;
use crate::db::{Db, DbError, now_ms};

const NOTED_EVERY: Duration = Duration::from_secs(60);
const WRITTEN_EVERY: Duration = Duration::from_secs(5);
/// More than one manager has waiting at it.
const NOTED_MAX: u64 = 100_000;
/// In one transaction, so that others get their turn.
const AT_ONCE: usize = 500;

/// Host name, address and cluster.
type Key = (String, String, i64);

/// See the module.
pub struct Roll {
    noted: Cache<Key, Arc<Seen>>,
    pending: Mutex<HashMap<Key, Arc<Seen>>>,
}

/// Writes it down.
pub struct RollCall {
    db: Db,
    roll: Arc<Roll>,
}

// === impl Roll ===

impl Roll {
    pub fn new() -> Self {
        let noted = Cache::builder().max_capacity(NOTED_MAX).time_to_live(NOTED_EVERY).build();
        Self { noted, pending: Mutex::default() }
    }

    pub async fn note(&self, seen: Seen) {
        let key = (seen.place.hostname.clone(), seen.place.ip.clone(), seen.cluster_id);
        if self.noted.get(&key).await.is_some_and(|known| *known == seen) {
            return;
        }
        let seen = Arc::new(seen);
        self.noted.insert(key.clone(), seen.clone()).await;
        let mut pending = self.pending.lock();
        if (pending.len() as u64) < NOTED_MAX {
            pending.insert(key, seen);
        }
    }

    fn take(&self) -> Vec<(Key, Arc<Seen>)> {
        let mut pending = self.pending.lock();
        let keys: Vec<Key> = pending.keys().take(AT_ONCE).cloned().collect();
        keys.into_iter().filter_map(|key| pending.remove_entry(&key)).collect()
    }
}

// === impl RollCall ===

impl RollCall {
    pub fn new(db: Db, roll: Arc<Roll>) -> Self {
        Self { db, roll }
    }
}

impl Worker for RollCall {
    const NAME: &'static str = "roll call";
    type Error = DbError;

    async fn round(&mut self) -> Result<Duration, DbError> {
        let taken = self.roll.take();
        if taken.is_empty() {
            return Ok(WRITTEN_EVERY);
        }
        let whole = taken.len() == AT_ONCE;
        let seen: Vec<Seen> = taken.iter().map(|(_, seen)| Seen::clone(seen)).collect();
        if let Err(error) = self.db.note_peers(&seen, now_ms()).await {
            // Noted anew when they ask again.
            for (key, _) in &taken {
                self.roll.noted.invalidate(key).await;
            }
            return Err(error);
        }
        Ok(if whole { Duration::ZERO } else { WRITTEN_EVERY })
    }
}
