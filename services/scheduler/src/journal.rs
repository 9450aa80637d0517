//! The events of a cluster in PostgreSQL, in one order, for any number of schedulers behind one URL. All SQL is here.
//!
//! **Invariants.** Entries stand in the order in which they were written, without a gap, and each names the one before: who
//! reads on from what it knows notices when that is not what the database knows. Times are the database's, and they stand
//! still while nobody writes: an outage of the database makes nobody's lease run out.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgPool, Row as _};

pub struct Journal {
    pool: PgPool,
    /// A cluster, and the version of the programs that agree on what an event means.
    stream: String,
}

/// A place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub position: i64,
    pub id: i64,
    /// Since the beginning, in the database's time.
    pub at_us: i64,
}

pub struct Entry {
    pub mark: Mark,
    /// Of the entry that it follows.
    pub before: i64,
    pub events: Vec<u8>,
}

/// From where everything can be known.
pub struct Beginning {
    /// Microseconds since 1970.
    pub began_us: i64,
    pub from: Mark,
    /// The state there; without one it is the very beginning.
    pub state: Option<Vec<u8>>,
}

/// An entry that has been written.
pub struct Written {
    pub mark: Mark,
    pub before: i64,
    /// Bytes of all entries since the last saved state, and of that.
    pub unsaved_bytes: i64,
    pub saved_bytes: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    #[error("it is not a postgres:// URL; several schedulers can share their state in PostgreSQL only")]
    Scheme,
    #[error(transparent)]
    Other(#[from] sqlx::Error),
}

/// Where writers say that there is something new.
pub const CHANNEL: &str = "dragonfly_scheduler";
/// Entries in one answer of the database.
pub const PAGE: i64 = 200;
/// For a statement, and for a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// One writes and reads, one listens.
const CONNECTIONS: u32 = 2;

// === impl Mark ===

impl Mark {
    pub fn at_ms(&self) -> u64 {
        u64::try_from(self.at_us / 1_000).unwrap_or(0)
    }
}

// === impl Journal ===

impl Journal {
    /// Connects when it is first asked.
    pub fn new(url: &str, cluster: i64) -> Result<Self, InvalidUrl> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(InvalidUrl::Scheme);
        }
        let patience_ms = PATIENCE.as_millis().to_string();
        let options = PgConnectOptions::from_str(url)?.application_name("dragonfly-scheduler").options([
            ("statement_timeout", patience_ms.as_str()),
            // What a crash of the database loses, the next reports bring again.
            ("synchronous_commit", "off"),
        ]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        Ok(Self { pool: pool.connect_lazy_with(options), stream: format!("{cluster} {}", env!("CARGO_PKG_VERSION")) })
    }

    /// Makes the tables and the beginning, where there are none.
    pub async fn begin(&self) -> Result<Beginning, sqlx::Error> {
        match self.beginning().await {
            Ok(Some(beginning)) => return Ok(beginning),
            Ok(None) => {}
            Err(error) if is_missing_table(&error) => {
                sqlx::raw_sql(include_str!("journal/tables.sql")).execute(&self.pool).await?;
            }
            Err(error) => return Err(error),
        }
        let first =
            "INSERT INTO dragonfly_scheduler.head (stream, first_id, id) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING";
        sqlx::query(first).bind(&self.stream).bind(fastrand::i64(..)).execute(&self.pool).await?;
        self.beginning().await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn beginning(&self) -> Result<Option<Beginning>, sqlx::Error> {
        let sql =
            "SELECT (extract(epoch FROM began_at) * 1000000)::bigint, first_id, saved.position, saved.id, saved.at_us,
                saved.state
            FROM dragonfly_scheduler.head LEFT JOIN dragonfly_scheduler.saved USING (stream) WHERE stream = $1";
        let Some(row) = sqlx::query(sql).bind(&self.stream).fetch_optional(&self.pool).await? else { return Ok(None) };
        let state: Option<Vec<u8>> = row.try_get(5)?;
        let from = match state {
            Some(_) => Mark { position: row.try_get(2)?, id: row.try_get(3)?, at_us: row.try_get(4)? },
            None => Mark { position: 0, id: row.try_get(1)?, at_us: 0 },
        };
        Ok(Some(Beginning { began_us: row.try_get(0)?, from, state }))
    }

    /// After all others. Since the last entry no more time passes than `most`. `None`: the journal has no beginning any more.
    pub async fn append(&self, events: &[u8], most: Duration) -> Result<Option<Written>, sqlx::Error> {
        let id = fastrand::i64(..);
        let query = sqlx::query(include_str!("journal/append.sql")).bind(&self.stream).bind(id);
        let most_us = i64::try_from(most.as_micros()).unwrap_or(i64::MAX);
        let query = query.bind(most_us).bind(events).bind(CHANNEL);
        let Some(row) = query.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(Written {
            mark: Mark { position: row.try_get(0)?, id, at_us: row.try_get(2)? },
            before: row.try_get(1)?,
            unsaved_bytes: row.try_get(3)?,
            saved_bytes: row.try_get(4)?,
        }))
    }

    /// The next [`PAGE`].
    pub async fn read_after(&self, position: i64) -> Result<Vec<Entry>, sqlx::Error> {
        let sql = "SELECT position, id, at_us, before, events FROM dragonfly_scheduler.entry
            WHERE stream = $1 AND position > $2 ORDER BY position LIMIT $3";
        let query = sqlx::query(sql).bind(&self.stream).bind(position).bind(PAGE);
        let entry = |row: &sqlx::postgres::PgRow| {
            Ok(Entry {
                mark: Mark { position: row.try_get(0)?, id: row.try_get(1)?, at_us: row.try_get(2)? },
                before: row.try_get(3)?,
                events: row.try_get(4)?,
            })
        };
        query.fetch_all(&self.pool).await?.iter().map(entry).collect()
    }

    /// The state at a place: what led there is forgotten.
    pub async fn save(&self, at: Mark, state: &[u8]) -> Result<(), sqlx::Error> {
        let query = sqlx::query(include_str!("journal/save.sql")).bind(&self.stream).bind(at.position);
        query.bind(at.id).bind(at.at_us).bind(state).execute(&self.pool).await?;
        Ok(())
    }

    /// All of it: reports bring again what is needed.
    pub async fn forget(&self) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM dragonfly_scheduler.head WHERE stream = $1";
        sqlx::query(sql).bind(&self.stream).execute(&self.pool).await?;
        Ok(())
    }

    pub async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }

    /// The position of an entry of this journal that was written.
    pub fn heard(&self, said: &str) -> Option<i64> {
        said.strip_prefix(&self.stream)?.trim_start().parse().ok()
    }
}

/// Or schema.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "42P01" | "3F000"))
}
