//! All SQL of the manager: one file per group of tables below this one.
//! **Invariant:** SQL is portable and nowhere else; whoever writes holds the one write connection under BEGIN IMMEDIATE,
//! because a deferred read-then-write fails at once when another writer was quicker.

pub mod accounts;
pub mod applications;
pub mod clusters;
pub mod first_start;
pub mod fleet;
pub mod instances;
pub mod join_tokens;

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use df_api::Code;
use df_http::ApiError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

/// Cheap to clone.
#[derive(Clone)]
pub struct Db {
    read: SqlitePool,
    write: SqlitePool,
}

/// The database did not do it; the caller cannot help it.
#[derive(Debug, thiserror::Error)]
#[error("the database failed")]
pub struct DbError(#[from] pub sqlx::Error);

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

const READERS: u32 = 4;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Db ===

impl Db {
    /// Opens (makes, the first time) and migrates.
    pub async fn open(url: Option<&str>, data_dir: &Path) -> anyhow::Result<Self> {
        let options = options(url, data_dir)?;
        let path = options.get_filename().to_owned();
        prepare(&path)?;
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await
            .with_context(|| format!("cannot open the database {}", path.display()))?;
        sqlx::migrate!("migrations/sqlite").run(&write).await.context("cannot migrate the database")?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        tracing::info!(path = %path.display(), "SQLite: exactly one manager instance may use this database");
        Ok(Self { read, write })
    }

    pub(crate) fn read(&self) -> &SqlitePool {
        &self.read
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.write.begin_with("BEGIN IMMEDIATE").await
    }

    pub async fn check(&self) -> Result<(), DbError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Lets the last connection fold the write-ahead log into the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn options(url: Option<&str>, data_dir: &Path) -> anyhow::Result<SqliteConnectOptions> {
    let options = match url {
        None => SqliteConnectOptions::new().filename(data_dir.join("manager.db")),
        Some(url) if url.starts_with("sqlite:") && !url.contains("memory") => {
            SqliteConnectOptions::from_str(url).context("database.url is not sqlite://PATH")?
        }
        // Not repeated: a URL of another database may carry a password.
        Some(_) => bail!("database.url must be sqlite://PATH (a file: what is in memory only would be lost)"),
    };
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true))
}

/// The file holds the signing key and password hashes, so it is ours alone before SQLite puts anything into it; SQLite
/// gives its side files the same mode.
fn prepare(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write the database {}", path.display()))?;
    Ok(())
}

/// As stored: milliseconds since the epoch.
pub fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
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

// === impl DbError ===

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error.0 {
            sqlx::Error::PoolTimedOut => {
                ApiError::new(Code::Unavailable, "the database is busy; try again").with_cause(error)
            }
            _ => ApiError::internal(error),
        }
    }
}

#[cfg(test)]
pub async fn scratch() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Db::open(None, folder.path()).await.unwrap(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (db, folder) = scratch().await;
        db.check().await.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
    }

    #[tokio::test]
    async fn another_database_is_refused_without_repeating_its_password() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["postgres://root:hunter2@db/x", "sqlite::memory:", "hunter2"] {
            let Err(error) = Db::open(Some(url), folder.path()).await else { panic!("{url} was taken") };
            assert!(error.to_string().contains("database.url") && !format!("{error:?}").contains("hunter2"), "{error}");
        }
    }
}
