//! What a database may answer instead of doing it.
//! **Invariant:** what passes by itself (a server that is down, busy, full or read-only) is 503 and never 500; and what
//! kind of failure it is, is told by the database's codes, not by words.

use std::borrow::Cow;

use df_api::Code;
use df_http::ApiError;
use http::header::{HeaderValue, RETRY_AFTER};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// Seconds; a server that was restarted is back about then.
const RETRY_AFTER_SECS: u64 = 2;

/// The database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("the database is not there, or too busy, or full")]
    Unavailable(#[source] sqlx::Error),
    #[error("the database does not answer in time")]
    Slow,
    #[error("there is such a row already")]
    Duplicate(#[source] sqlx::Error),
    #[error("a text has the character NUL in it, which no text may have")]
    Nul,
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}

/// Classes of SQLSTATE: connection, rollback of a transaction, resources, locks, a server that comes or goes or was asked
/// to stop, its files; and of other classes: too long in a transaction, and a server that only reads.
const POSTGRES_PASSING: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
const POSTGRES_PASSING_CODES: [&str; 3] = ["25P03", "25P04", "25006"];
/// Files that cannot be written, 1021 disk full, 1040 too many connections, 1053 going down, 1114 table full, 1205 and
/// 1213 locks, 1290 and 1836 only reads, 1317 and 3024 interrupted; MariaDB's 1927 and 1969, killed and out of time.
const MYSQL_PASSING: [u16; 18] =
    [3, 5, 28, 1021, 1026, 1030, 1037, 1040, 1053, 1114, 1203, 1205, 1213, 1290, 1317, 1836, 1927, 1969];
const MYSQL_OUT_OF_TIME: u16 = 3024;
/// Busy, locked, out of memory, read-only, interrupted, input or output, full, cannot open, protocol of locks.
const SQLITE_PASSING: [i32; 9] = [5, 6, 7, 8, 9, 10, 13, 14, 15];

// === impl DbError ===

impl DbError {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, DbError::Unavailable(_) | DbError::Slow)
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => Self::Duplicate(error),
            _ if passes(&error) => Self::Unavailable(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) | DbError::Slow => unavailable(error),
            DbError::Nul => ApiError::unprocessable(error),
            DbError::Duplicate(_) | DbError::Failed(_) => ApiError::internal(error),
        }
    }
}

/// 503, with when to try again.
pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    ApiError::new(Code::Unavailable, "the database does not answer, or takes nothing now; try again")
        .with_header(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS))
        .with_cause(cause)
}

fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(refusal) => {
            let code = refusal.code().unwrap_or(Cow::Borrowed(""));
            if refusal.try_downcast_ref::<PgDatabaseError>().is_some() {
                POSTGRES_PASSING.contains(&code.get(..2).unwrap_or_default())
                    || POSTGRES_PASSING_CODES.contains(&code.as_ref())
            } else if let Some(refusal) = refusal.try_downcast_ref::<MySqlDatabaseError>() {
                MYSQL_PASSING.contains(&refusal.number()) || refusal.number() == MYSQL_OUT_OF_TIME
            } else if refusal.try_downcast_ref::<SqliteError>().is_some() {
                // The low byte; above it, which of its kind.
                code.parse::<i32>().is_ok_and(|code| SQLITE_PASSING.contains(&(code & 0xff)))
            } else {
                false
            }
        }
        _ => false,
    }
}
