//! From a URL to pools of connections of a database that has our tables: SQLite, PostgreSQL, or MySQL and MariaDB.
//! **Invariants.** Each has connections for reading and one for writing, because those who write wait for each other
//! anyway and shall not take the place of those who read. What is wrong with a URL is said without repeating it: it may
//! hold a password. Managers that start at once on an empty database take turns.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Executor as _, MySqlPool, PgPool, SqlitePool};
use tokio::time::timeout;
use url::Url;

/// Cheap to clone.
#[derive(Clone)]
pub(super) enum Pools {
    /// With the lock that says that a manager has the file open.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        _lock: Arc<File>,
    },
    Postgres {
        read: PgPool,
        write: PgPool,
    },
    MySql {
        read: MySqlPool,
        write: MySqlPool,
    },
}

/// What `database.url` names.
pub enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
}

pub static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

const SQLITE_READERS: u32 = 4;
const SERVER_READERS: u32 = 8;
const ACQUIRE_BOUND: Duration = Duration::from_secs(5);
const BUSY_BOUND: Duration = Duration::from_secs(5);

/// Shorter than what we wait for an answer (`connection.rs`). A manager that has stopped in the midst of a transaction
/// does not hold up the others for long.
const POSTGRES_BOUNDS: &str = "SET statement_timeout = '4s'; SET lock_timeout = '3s'; \
     SET idle_in_transaction_session_timeout = '10s'";
/// Between `/*M!` and `*/` for MariaDB only, after `/*!50700` for MySQL only. Whatever the server's own mode is, what
/// does not fit into a column is refused, not cut.
const MYSQL_BOUNDS: &str = "SET SESSION innodb_lock_wait_timeout = 3, \
     sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES') \
     /*M! , max_statement_time = 4, idle_transaction_timeout = 10 */ /*!50700 , max_execution_time = 4000 */; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// What sqlx understands; the rest it would ignore, or write into the log with its value.
const POSTGRES_KEYS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
const MYSQL_KEYS: [&str; 9] =
    ["sslmode", "ssl-mode", "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "socket"];

// === impl Target ===

impl Target {
    /// `None` is the file in `data_dir`.
    pub fn parse(url: Option<&str>, data_dir: &Path) -> anyhow::Result<Self> {
        let Some(url) = url else {
            return Ok(Self::sqlite(SqliteConnectOptions::new().filename(data_dir.join("manager.db"))));
        };
        match url.split(':').next().unwrap_or_default() {
            "sqlite" => {
                ensure!(!url.contains("memory"), "database.url: what is in memory only would be lost");
                let options = SqliteConnectOptions::from_str(url).ok().context("database.url is not sqlite://PATH")?;
                Ok(Self::sqlite(options))
            }
            "postgres" | "postgresql" => {
                check_keys(url, &POSTGRES_KEYS)?;
                let options = PgConnectOptions::from_str(url).ok();
                let options = options.context("database.url is not postgres://USER:PASSWORD@HOST/DATABASE")?;
                Ok(Self::Postgres(options.application_name("dragonfly-manager")))
            }
            "mysql" | "mariadb" => {
                check_keys(url, &MYSQL_KEYS)?;
                let options = MySqlConnectOptions::from_str(url).ok();
                Ok(Self::MySql(options.context("database.url is not mysql://USER:PASSWORD@HOST/DATABASE")?))
            }
            _ => bail!("database.url is none of sqlite://PATH, postgres://… and mysql://… (or mariadb://…)"),
        }
    }

    fn sqlite(options: SqliteConnectOptions) -> Self {
        Self::Sqlite(
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .busy_timeout(BUSY_BOUND)
                .foreign_keys(true),
        )
    }

    pub(super) async fn open(self) -> anyhow::Result<Pools> {
        match self {
            Self::Sqlite(options) => open_sqlite(options).await,
            Self::Postgres(options) => open_postgres(options).await,
            Self::MySql(options) => open_mysql(options).await,
        }
    }
}

fn check_keys(url: &str, known: &[&str]) -> anyhow::Result<()> {
    let url = Url::parse(url).ok().context("database.url is not a URL")?;
    for (key, _) in url.query_pairs() {
        ensure!(
            known.contains(&key.as_ref()),
            "database.url: unknown parameter {key:?}; there are {}",
            known.join(", ")
        );
    }
    Ok(())
}

async fn open_sqlite(options: SqliteConnectOptions) -> anyhow::Result<Pools> {
    let path = options.get_filename().to_owned();
    prepare(&path)?;
    let lock = lock_file(&path)?;
    lock.try_lock_shared().with_context(|| format!("{} is being restored", path.display()))?;
    let pool = |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_BOUND);
    let write = pool(1).connect_with(options.clone()).await;
    let write = write.with_context(|| format!("cannot open the database {}", path.display()))?;
    SQLITE.run(&write).await.context("cannot migrate the database")?;
    let read = pool(SQLITE_READERS).connect_lazy_with(options);
    tracing::info!(path = %path.display(), "SQLite: exactly one manager instance may use this database");
    Ok(Pools::Sqlite { read, write, _lock: Arc::new(lock) })
}

async fn open_postgres(options: PgConnectOptions) -> anyhow::Result<Pools> {
    migrate(&options, &POSTGRES, async |_| Ok(())).await?;
    let pool = |connections| {
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_BOUND);
        pool.after_connect(|on, _| Box::pin(async { on.execute(POSTGRES_BOUNDS).await.map(drop) }))
    };
    let (read, write) = (pool(SERVER_READERS), pool(1).connect_lazy_with(options.clone()));
    Ok(Pools::Postgres { read: read.connect_lazy_with(options), write })
}

async fn open_mysql(options: MySqlConnectOptions) -> anyhow::Result<Pools> {
    // What defines tables is not undone with its transaction: ours can be done again (`migrations/mysql`).
    let forget = async |on: &mut sqlx::MySqlConnection| {
        on.ensure_migrations_table("_sqlx_migrations").await?;
        on.execute("DELETE FROM _sqlx_migrations WHERE success = FALSE").await?;
        Ok(())
    };
    migrate(&options, &MYSQL, forget).await?;
    let pool = |connections| {
        let pool = MySqlPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_BOUND);
        pool.after_connect(|on, _| Box::pin(async { on.execute(MYSQL_BOUNDS).await.map(drop) }))
    };
    let (read, write) = (pool(SERVER_READERS), pool(1).connect_lazy_with(options.clone()));
    Ok(Pools::MySql { read: read.connect_lazy_with(options), write })
}

/// On a connection of its own, since a migration may take its time. `first` is done under the lock by which managers take
/// turns; sqlx takes it once more, which costs nothing.
async fn migrate<O: ConnectOptions<Connection: Migrate + Sized>>(
    options: &O,
    migrator: &Migrator,
    first: impl AsyncFnOnce(&mut O::Connection) -> Result<(), MigrateError>,
) -> anyhow::Result<()> {
    let connected = timeout(ACQUIRE_BOUND, options.connect()).await.context("the database does not answer")?;
    let mut on = connected.context("cannot open the database")?;
    let migrated = async {
        on.lock().await?;
        first(&mut on).await?;
        migrator.run_direct(None, &mut on, false).await?;
        on.unlock().await
    };
    migrated.await.context("cannot migrate the database")?;
    on.close().await.context("cannot migrate the database")
}

/// The file holds the signing key and password hashes, so it is ours alone before SQLite puts anything into it; SQLite
/// gives its side files the same mode.
fn prepare(path: &Path) -> anyhow::Result<()> {
    make_folder(path)?;
    open_ours(path).map(drop)
}

pub fn make_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    let folder = folder_of(path);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))
}

pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Beside the database: shared by managers, alone for who replaces the file. SQLite's own locks are in the file that is
/// replaced.
pub fn lock_file(path: &Path) -> anyhow::Result<File> {
    open_ours(&beside(path, ".lock"))
}

/// `path` with something behind it.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn open_ours(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write the database {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_databases_have_the_same_migrations() {
        let of = |migrator: &'static Migrator| {
            migrator.iter().map(|one| (one.version, &one.description)).collect::<Vec<_>>()
        };
        assert_eq!(of(&SQLITE), of(&POSTGRES));
        assert_eq!(of(&SQLITE), of(&MYSQL));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let refused = [
            "hunter2",
            "sqlite::memory:",
            "oracle://root:hunter2@db/x",
            "postgres://root:hunter2@db:port/x",
            "postgres://root@db/x?pasword=hunter2",
            "mysql://root:hunter2@db/x?ssl-mode=hunter2",
            "mysql://root:hunter2@db/x?require=hunter2",
        ];
        for url in refused {
            let Err(error) = Target::parse(Some(url), folder.path()) else { panic!("{url} was taken") };
            let said = format!("{error:?}");
            assert!(said.contains("database.url") && !said.contains("hunter2"), "{said}");
        }
        for url in ["postgres://a:b@c/d?sslmode=verify-full", "mysql://a:b@c/d?ssl-mode=required", "mariadb://a@c/d"] {
            assert!(Target::parse(Some(url), folder.path()).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_without_the_password() {
        let port = df_testkit::process::free_port().unwrap();
        for kind in ["postgres", "mysql"] {
            let url = format!("{kind}://root:hunter2@127.0.0.1:{port}/x");
            let target = Target::parse(Some(&url), Path::new("/nowhere")).unwrap();
            let Err(error) = target.open().await else { panic!("{kind} is there") };
            let said = format!("{error:?}");
            assert!(said.contains("cannot open the database") && !said.contains("hunter2"), "{said}");
        }
    }
}
