//! All SQL of the manager: one file per group of tables below this one.
//! **Invariant:** a statement is a value of sea-query and nowhere else; `connection.rs` writes it in the database's dialect
//! and says how those who write are kept apart. Whatever else differs among databases is in `connect.rs` and `failure.rs`.

pub mod applications;
pub mod audits;
pub mod clusters;
pub mod configs;
pub mod connect;
pub mod connection;
#[cfg(test)]
mod contract;
pub mod failure;
pub mod first_start;
pub mod fleet;
pub mod instances;
pub mod job_leases;
pub mod jobs;
pub mod join_tokens;
pub mod lately;
pub mod oauth;
#[cfg(test)]
mod outage;
pub mod peers;
pub mod personal_access_tokens;
pub mod roles;
#[cfg(test)]
pub mod scratch;
pub mod sessions;
pub mod tries;
pub mod users;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_query::{Asterisk, Expr, Func, InsertStatement, Order, Query, SelectStatement};
use sea_query_sqlx::SqlxBinder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub use self::failure::{DbError, unavailable};

use self::connect::{Pools, Target};
use self::connection::{Connection, FromAnyRow, Held, Tx};
use self::lately::Writes;

/// Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    failing: Arc<AtomicBool>,
    writes: Writes,
}

/// Why the manager is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("the database ({0}) does not answer")]
    Silent(&'static str, #[source] DbError),
    #[error("the database ({0}) can be read but takes no writes: it may be full, or only a copy")]
    ReadOnly(&'static str, #[source] DbError),
}

/// Which part of a list, 1 is the first.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub page: i64,
    pub per_page: i64,
}

/// A part of a list, and how long the whole is.
pub struct Listed<T> {
    pub items: Vec<T>,
    pub total: i64,
}

/// JSON is text to all databases: nothing in it is asked for by SQL, and their own JSON would change its spelling.
pub struct JsonText<T>(pub T);

/// Fewer than a statement of any database may have values.
const DELETED_AT_ONCE: u64 = 1000;
/// For the goodbyes of all connections.
const CLOSE_BOUND: Duration = Duration::from_secs(5);

// === impl Db ===

impl Db {
    /// Opens (makes, the first time) and migrates.
    pub async fn open(url: Option<&str>, data_dir: &Path) -> anyhow::Result<Self> {
        let pools = Target::parse(url, data_dir)?.open().await?;
        Ok(Self { pools, failing: Arc::default(), writes: Writes::default() })
    }

    /// For one statement or more that only read.
    pub(crate) async fn reading(&self) -> Result<Connection, DbError> {
        let held = match &self.pools {
            Pools::Sqlite { read, .. } => Held::Sqlite(Box::pin(read.acquire()).await?),
            Pools::Postgres { read, .. } => Held::Postgres(Box::pin(read.acquire()).await?),
            Pools::MySql { read, .. } => Held::MySql(Box::pin(read.acquire()).await?),
        };
        Ok(Connection::new(held))
    }

    /// From here to the commit nobody else writes, at whichever manager.
    pub(crate) async fn begin(&self) -> Result<Tx, DbError> {
        let held = match &self.pools {
            Pools::Sqlite { write, .. } => Held::Sqlite(Box::pin(write.acquire()).await?),
            Pools::Postgres { write, .. } => Held::Postgres(Box::pin(write.acquire()).await?),
            Pools::MySql { write, .. } => Held::MySql(Box::pin(write.acquire()).await?),
        };
        Tx::begin(Connection::new(held), self.failing.clone(), self.writes.clone()).await
    }

    async fn fetch_all<T: FromAnyRow>(&self, statement: &impl SqlxBinder) -> Result<Vec<T>, DbError> {
        self.reading().await?.fetch_all(statement).await
    }

    async fn fetch_optional<T: FromAnyRow>(&self, statement: &impl SqlxBinder) -> Result<Option<T>, DbError> {
        self.reading().await?.fetch_optional(statement).await
    }

    /// One statement, all of it or nothing.
    async fn execute(&self, statement: &impl SqlxBinder) -> Result<u64, DbError> {
        let mut tx = self.begin().await?;
        let rows = tx.execute(statement).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// So many rows at a time that nobody else waits long to write.
    async fn delete_in_parts(&self, table: &'static str, which: Expr) -> Result<u64, DbError> {
        let mut gone = 0;
        loop {
            let mut ids = Query::select();
            ids.column("id").from(table).and_where(which.clone()).limit(DELETED_AT_ONCE);
            let ids: Vec<(i64,)> = self.fetch_all(&ids).await?;
            let part = ids.len() as u64;
            if part > 0 {
                let these = sea_query::ExprTrait::is_in(Expr::col("id"), ids.into_iter().map(|(id,)| id));
                // They may have changed since.
                let mut delete = Query::delete();
                delete.from_table(table).and_where(these).and_where(which.clone());
                gone += self.execute(&delete).await?;
            }
            if part < DELETED_AT_ONCE {
                return Ok(gone);
            }
        }
    }

    /// A page of `of`, by id; `columns` are what is read of a row.
    async fn list<T: FromAnyRow, const N: usize>(
        &self,
        of: &SelectStatement,
        columns: [&'static str; N],
        page: Page,
    ) -> Result<Listed<T>, DbError> {
        self.list_by(of, columns, page, Order::Asc).await
    }

    async fn list_by<T: FromAnyRow, const N: usize>(
        &self,
        of: &SelectStatement,
        columns: [&'static str; N],
        page: Page,
        order: Order,
    ) -> Result<Listed<T>, DbError> {
        let mut on = self.reading().await?;
        let total = on.count(of.clone().expr(Func::count(Expr::col(Asterisk)))).await?;
        let mut of = of.clone();
        of.columns(columns).order_by("id", order);
        of.limit(page.per_page.unsigned_abs()).offset(page.offset().unsigned_abs());
        Ok(Listed { items: on.fetch_all(&of).await?, total })
    }

    /// Whether it answers; and where the last that wrote could not, whether it takes writes again.
    pub async fn check(&self) -> Result<(), NotReady> {
        let kind = self.kind();
        let read = Query::select().column("id").from("writer").to_owned();
        let row: Result<Vec<(i64,)>, _> = self.fetch_all(&read).await;
        row.map_err(|error| NotReady::Silent(kind, error))?;
        if self.failing.load(Ordering::Relaxed) {
            let write = Query::update().table("writer").value("tried_at_ms", now_ms()).to_owned();
            self.execute(&write).await.map_err(|error| NotReady::ReadOnly(kind, error))?;
        }
        Ok(())
    }

    fn kind(&self) -> &'static str {
        match &self.pools {
            Pools::Sqlite { .. } => "SQLite",
            Pools::Postgres { .. } => "PostgreSQL",
            Pools::MySql { .. } => "MySQL",
        }
    }

    /// Lets SQLite's last connection fold the write-ahead log into the file.
    pub async fn close(&self) {
        let close = async {
            match &self.pools {
                Pools::Sqlite { read, write, .. } => {
                    read.close().await;
                    write.close().await;
                }
                Pools::Postgres { read, write } => tokio::join!(read.close(), write.close()).0,
                Pools::MySql { read, write } => tokio::join!(read.close(), write.close()).0,
            }
        };
        if timeout(CLOSE_BOUND, close).await.is_err() {
            tracing::warn!("the database does not take its leave");
        }
    }
}

/// A row of a table, as columns and what they hold.
fn insert(table: &'static str, row: impl IntoIterator<Item = (&'static str, Expr)>) -> InsertStatement {
    let (columns, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
    Query::insert().into_table(table).columns(columns).values_panic(values).to_owned()
}

fn json(value: &impl Serialize) -> Result<Expr, DbError> {
    let text = serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(text.into())
}

/// As stored: milliseconds since the epoch.
pub fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// Two changes are two times, whatever the clocks of two managers say.
fn time_after(former: i64, now: i64) -> i64 {
    now.max(former + 1)
}

pub fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

// === impl Page ===

impl Page {
    fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.per_page)
    }
}

// === impl JsonText ===

impl<T: DeserializeOwned> TryFrom<String> for JsonText<T> {
    type Error = serde_json::Error;
    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&text).map(Self)
    }
}
