//! One connection to whichever database there is, and transactions on it: here alone a statement becomes text.
//! **Invariants.** Every statement has a bounded time. A connection on which one was given up or could not be done, or
//! whose answer nobody waited for, is closed and never used again. Who writes is alone: by SQLite's BEGIN IMMEDIATE,
//! elsewhere by the lock of the one row of `writer`. That is the same at PostgreSQL and MySQL, ends with its
//! transaction however that ends, and no two managers can wait for each other. To lock what is read, row by row, would
//! miss the rows that are not there yet, and SERIALIZABLE would have every caller repeat itself. Each statement sees
//! what was committed before it (READ COMMITTED), so what is read after the lock is the truth until the commit.
//! Managers write hundreds of times a second at most.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_query::{
    InsertStatement, MysqlQueryBuilder, PostgresQueryBuilder, Query, QueryBuilder, SqliteQueryBuilder, Value,
};
use sea_query_sqlx::{SqlxBinder, SqlxValues};
use sqlx::mysql::MySqlRow;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Database, Executor, FromRow, IntoArguments, MySql, Postgres, SqlSafeStr as _, Sqlite};
use sqlx_core::transaction::TransactionManager as _;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::failure::DbError;
use super::lately::Writes;

/// The server gives up before (`connect.rs`), so that the connection can be used on.
const STATEMENT_BOUND: Duration = Duration::from_secs(5);
/// For a rollback, and for seeing that the connection is sound.
const RELEASE_BOUND: Duration = Duration::from_secs(5);

/// Read from a row alike in every database.
pub trait FromAnyRow:
    Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow>
{
}

impl<T> FromAnyRow for T where
    T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow>
{
}

/// See the module.
pub struct Connection {
    held: Held,
    /// A statement runs, or ran when it was given up, or failed so that nobody knows what became of its transaction: a
    /// disk that is full may have ended it.
    busy: bool,
}

pub(super) enum Held {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    MySql(PoolConnection<MySql>),
}

/// Undone unless committed.
pub struct Tx {
    connection: Connection,
    open: bool,
    /// Whether the last that wrote could not; what is asked for readiness.
    failing: Arc<AtomicBool>,
    writes: Writes,
}

struct Written {
    text: AssertSqlSafe<String>,
    values: SqlxValues,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(held: Held) -> Self {
        Self { held, busy: false }
    }

    pub async fn fetch_all<T: FromAnyRow>(&mut self, statement: &impl SqlxBinder) -> Result<Vec<T>, DbError> {
        let written = self.write(statement)?;
        self.busy = true;
        let rows = match &mut self.held {
            Held::Sqlite(on) => bounded(rows::<Sqlite, T>(on, written)).await,
            Held::Postgres(on) => bounded(rows::<Postgres, T>(on, written)).await,
            Held::MySql(on) => bounded(rows::<MySql, T>(on, written)).await,
        };
        self.settle(rows)
    }

    pub async fn fetch_optional<T: FromAnyRow>(&mut self, statement: &impl SqlxBinder) -> Result<Option<T>, DbError> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }

    /// Of `SELECT COUNT(*) …`.
    pub async fn count(&mut self, statement: &impl SqlxBinder) -> Result<i64, DbError> {
        let row: Option<(i64,)> = self.fetch_optional(statement).await?;
        Ok(row.map_or(0, |(count,)| count))
    }

    /// How many rows it was about, changed or not.
    pub async fn execute(&mut self, statement: &impl SqlxBinder) -> Result<u64, DbError> {
        Ok(self.run(statement).await?.0)
    }

    /// Of a table that numbers its rows: the number.
    pub async fn insert(&mut self, statement: &mut InsertStatement) -> Result<i64, DbError> {
        if let Held::MySql(_) = self.held {
            return Ok(self.run(statement).await?.1);
        }
        let row: Option<(i64,)> = self.fetch_optional(statement.returning_col("id")).await?;
        Ok(row.ok_or(sqlx::Error::RowNotFound)?.0)
    }

    /// Rows, and the last number that MySQL gave to one.
    async fn run(&mut self, statement: &impl SqlxBinder) -> Result<(u64, i64), DbError> {
        let Written { text, values } = self.write(statement)?;
        self.busy = true;
        let done = match &mut self.held {
            Held::Sqlite(on) => {
                let run = bounded(sqlx::query_with(text, values).execute(&mut **on));
                run.await.map(|done| (done.rows_affected(), 0))
            }
            Held::Postgres(on) => {
                let run = bounded(sqlx::query_with(text, values).execute(&mut **on));
                run.await.map(|done| (done.rows_affected(), 0))
            }
            Held::MySql(on) => {
                let run = bounded(sqlx::query_with(text, values).execute(&mut **on));
                run.await.map(|done| (done.rows_affected(), done.last_insert_id().cast_signed()))
            }
        };
        self.settle(done)
    }

    fn write(&self, statement: &impl SqlxBinder) -> Result<Written, DbError> {
        match self.held {
            Held::Sqlite(_) => write(statement, SqliteQueryBuilder),
            Held::Postgres(_) => write(statement, PostgresQueryBuilder),
            Held::MySql(_) => write(statement, MysqlQueryBuilder),
        }
    }

    async fn start(&mut self) -> Result<(), DbError> {
        self.busy = true;
        let started = match &mut self.held {
            Held::Sqlite(on) => bounded(start::<Sqlite>(on, "BEGIN IMMEDIATE")).await,
            Held::Postgres(on) => bounded(start::<Postgres>(on, "BEGIN ISOLATION LEVEL READ COMMITTED")).await,
            // Its isolation level is the session's.
            Held::MySql(on) => bounded(start::<MySql>(on, "START TRANSACTION")).await,
        };
        self.settle(started)
    }

    async fn commit(&mut self) -> Result<(), DbError> {
        self.busy = true;
        let committed = match &mut self.held {
            Held::Sqlite(on) => bounded(commit::<Sqlite>(on)).await,
            Held::Postgres(on) => bounded(commit::<Postgres>(on)).await,
            Held::MySql(on) => bounded(commit::<MySql>(on)).await,
        };
        self.settle(committed)
    }

    /// Sent with whatever is sent next.
    fn start_rollback(&mut self) {
        match &mut self.held {
            Held::Sqlite(on) => start_rollback::<Sqlite>(on),
            Held::Postgres(on) => start_rollback::<Postgres>(on),
            Held::MySql(on) => start_rollback::<MySql>(on),
        }
    }

    fn settle<T>(&mut self, done: Result<T, DbError>) -> Result<T, DbError> {
        self.busy = done.as_ref().is_err_and(DbError::is_unavailable);
        done
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match &mut self.held {
            Held::Sqlite(on) => give_back(on, self.busy),
            Held::Postgres(on) => give_back(on, self.busy),
            Held::MySql(on) => give_back(on, self.busy),
        }
    }
}

/// The pool would wait for an answer without a bound, and a server that is frozen would hold its place.
fn give_back<D: Database>(connection: &mut PoolConnection<D>, busy: bool) {
    if busy {
        connection.close_on_drop();
    } else if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(RELEASE_BOUND, connection.return_to_pool()));
    }
}

fn write(statement: &impl SqlxBinder, dialect: impl QueryBuilder) -> Result<Written, DbError> {
    let (text, values) = statement.build_sqlx(dialect);
    // PostgreSQL has no such text, and the same is refused everywhere.
    let has_nul = |value: &Value| matches!(value, Value::String(Some(text)) if text.contains('\0'));
    if values.0.0.iter().any(has_nul) {
        return Err(DbError::Nul);
    }
    // Of our own statements, with a placeholder for every value.
    Ok(Written { text: AssertSqlSafe(text), values })
}

async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, DbError> {
    // On the heap: whoever waits for something else after it would hold the room for it as well.
    let done = timeout(STATEMENT_BOUND, Box::pin(statement)).await.map_err(|_| DbError::Slow)?;
    Ok(done?)
}

async fn rows<D, T>(on: &mut D::Connection, written: Written) -> Result<Vec<T>, sqlx::Error>
where
    D: Database,
    T: Send + Unpin + for<'r> FromRow<'r, D::Row>,
    SqlxValues: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    sqlx::query_as_with(written.text, written.values).fetch_all(on).await
}

async fn start<D: Database>(on: &mut D::Connection, statement: &'static str) -> Result<(), sqlx::Error> {
    D::TransactionManager::begin(on, Some(statement.into_sql_str())).await
}

async fn commit<D: Database>(on: &mut D::Connection) -> Result<(), sqlx::Error> {
    D::TransactionManager::commit(on).await
}

fn start_rollback<D: Database>(on: &mut D::Connection) {
    D::TransactionManager::start_rollback(on);
}

// === impl Tx ===

impl Tx {
    pub(super) async fn begin(
        mut connection: Connection,
        failing: Arc<AtomicBool>,
        writes: Writes,
    ) -> Result<Self, DbError> {
        connection.start().await.inspect_err(|error| note(&failing, error))?;
        let mut tx = Self { connection, open: true, failing, writes };
        if !matches!(tx.connection.held, Held::Sqlite(_)) {
            let lock = Query::select().column("id").from("writer").lock_exclusive().to_owned();
            let _row: Vec<(i64,)> = tx.fetch_all(&lock).await?;
        }
        Ok(tx)
    }

    /// After an error it may be done all the same, when the answer was lost.
    pub async fn commit(mut self) -> Result<(), DbError> {
        let committed = self.connection.commit().await;
        // Also after an error.
        self.writes.count();
        committed.inspect_err(|error| note(&self.failing, error))?;
        self.open = false;
        self.failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub async fn execute(&mut self, statement: &impl SqlxBinder) -> Result<u64, DbError> {
        self.connection.execute(statement).await.inspect_err(|error| note(&self.failing, error))
    }

    /// As [`Connection::insert`].
    pub async fn insert(&mut self, statement: &mut InsertStatement) -> Result<i64, DbError> {
        self.connection.insert(statement).await.inspect_err(|error| note(&self.failing, error))
    }
}

fn note(failing: &AtomicBool, error: &DbError) {
    if error.is_unavailable() {
        failing.store(true, Ordering::Relaxed);
    }
}

impl Deref for Tx {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.open && !self.connection.busy {
            self.connection.start_rollback();
        }
    }
}
