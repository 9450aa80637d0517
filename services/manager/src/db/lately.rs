//! What was read a moment ago, and is still so. Only where nobody else writes: with SQLite this process alone has the file,
//! and knows of every write.
//! **Invariant:** after a write has been answered, nothing is believed that was read before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::future::Cache;

use super::Db;
use super::connect::Pools;

/// How often this process has written.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes(Arc<AtomicU64>);

/// Values by their names, each with the number of writes before it was read.
pub struct Lately<T: Clone + Send + Sync + 'static>(Cache<String, (u64, T)>);

/// Of each kind.
const KEPT_MAX: u64 = 10_000;

// === impl Writes ===

impl Writes {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

// === impl Lately ===

impl<T: Clone + Send + Sync + 'static> Default for Lately<T> {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(KEPT_MAX).build())
    }
}

impl<T: Clone + Send + Sync + 'static> Lately<T> {
    pub async fn read<E>(&self, db: &Db, name: &str, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let Some(writes) = db.writes() else { return read.await };
        if let Some((at, value)) = self.0.get(name).await
            && at == writes
        {
            return Ok(value);
        }
        let value = read.await?;
        self.0.insert(name.to_owned(), (writes, value.clone())).await;
        Ok(value)
    }
}

// === impl Db ===

impl Db {
    /// How often anybody has written. `None` where others may have.
    fn writes(&self) -> Option<u64> {
        matches!(self.pools, Pools::Sqlite { .. }).then(|| self.writes.0.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbError;
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        what_was_read_holds_until_something_is_written,
    }

    async fn what_was_read_holds_until_something_is_written(scratch: Scratch) {
        let db = &scratch.db;
        let (lately, reads) = (Lately::default(), AtomicU64::new(0));
        let read = async || {
            let one = async { Ok::<u64, DbError>(reads.fetch_add(1, Ordering::Relaxed)) };
            lately.read(db, "a", one).await.unwrap()
        };
        let alone = db.writes().is_some();
        let first = read().await;
        assert_eq!(read().await == first, alone);
        db.begin_try("somebody", 0).await.unwrap();
        let after = read().await;
        assert!(after > first, "somebody has written");
        let failed: Result<u64, &str> = lately.read(db, "b", async { Err("no") }).await;
        assert!(failed.is_err() && lately.read(db, "b", async { Ok::<u64, &str>(7) }).await == Ok(7));
    }
}
