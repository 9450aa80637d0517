//! The tries to sign in.
//! **Invariant:** a try is counted before the password is looked at, so tries in parallel cannot outrun the count.

use std::time::Duration;

use sea_query::{Expr, ExprTrait as _, Query};

use super::{Db, DbError, insert};

/// Wrong tries in a row that a name has.
pub const TRIES_MAX: i64 = 5;
/// After the last of them; also how long a name must be quiet for its count to start anew.
pub const PAUSE: Duration = Duration::from_secs(60);

const PAUSE_MS: i64 = PAUSE.as_millis() as i64;

/// May this name try a password now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// This one counts; so many are left after it.
    Counted {
        left: i64,
    },
    Paused {
        ms: i64,
    },
}

// === impl Db ===

impl Db {
    pub async fn begin_try(&self, name: &str, now: i64) -> Result<Try, DbError> {
        let mut tx = self.begin().await?;
        let mut known = Query::select();
        known.columns(["tries", "last_try_ms"]).from("sign_in_tries").and_where(Expr::col("name").eq(name));
        let known: Option<(i64, i64)> = tx.fetch_optional(&known).await?;
        let tries = match known {
            Some((tries, last)) if now - last < PAUSE_MS => {
                if tries >= TRIES_MAX {
                    return Ok(Try::Paused { ms: last + PAUSE_MS - now });
                }
                tries + 1
            }
            _ => 1,
        };
        if known.is_some() {
            let mut again = Query::update();
            again.table("sign_in_tries").values([("tries", tries.into()), ("last_try_ms", now.into())]);
            tx.execute(again.and_where(Expr::col("name").eq(name))).await?;
        } else {
            let row = [("name", name.into()), ("tries", tries.into()), ("last_try_ms", now.into())];
            tx.execute(&insert("sign_in_tries", row)).await?;
        }
        tx.commit().await?;
        Ok(Try::Counted { left: TRIES_MAX - tries })
    }

    pub async fn forget_tries(&self, name: &str) -> Result<(), DbError> {
        let mut forgotten = Query::delete();
        forgotten.from_table("sign_in_tries").and_where(Expr::col("name").eq(name));
        self.execute(&forgotten).await.map(drop)
    }

    /// Those that count no more.
    pub async fn sweep_tries(&self, now: i64) -> Result<u64, DbError> {
        let mut quiet = Query::delete();
        quiet.from_table("sign_in_tries").and_where(Expr::col("last_try_ms").lte(now - PAUSE_MS));
        self.execute(&quiet).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        five_tries_then_a_minute_of_pause_then_five_again,
        tries_in_parallel_cannot_outrun_the_count,
    }

    async fn five_tries_then_a_minute_of_pause_then_five_again(scratch: Scratch) {
        let db = &scratch.db;
        for left in (0..TRIES_MAX).rev() {
            assert_eq!(db.begin_try("eve", 1_000).await.unwrap(), Try::Counted { left });
        }
        assert_eq!(db.begin_try("eve", 31_000).await.unwrap(), Try::Paused { ms: 30_000 });
        assert_eq!(db.begin_try("adam", 31_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.begin_try("eve", 61_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.sweep_tries(121_000).await.unwrap(), 2);
    }

    async fn tries_in_parallel_cannot_outrun_the_count(scratch: Scratch) {
        let db = &scratch.db;
        let other = scratch.second().await;
        let tries = (0..20).map(|number| {
            let db = if number % 2 == 0 { db.clone() } else { other.clone() };
            tokio::spawn(async move { db.begin_try("eve", 1_000).await.unwrap() })
        });
        let mut counted = 0;
        for one in tries.collect::<Vec<_>>() {
            counted += i64::from(matches!(one.await.unwrap(), Try::Counted { .. }));
        }
        assert_eq!(counted, TRIES_MAX);
    }
}
