//! A database of its own for each test, on servers that all tests of a process share.
//! **Invariant:** a server and its folder are gone soon after the process that started it, however that ended.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};
use tokio::sync::OnceCell;

use crate::mariadb::MariaDb;
use crate::postgres::Postgres;
use crate::skip::skip;
use crate::wait::until;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// Empty.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    pub kind: DatabaseKind,
    /// `None` for SQLite: the program makes its file itself.
    pub url: Option<String>,
}

/// What is in a static is never dropped: this is told by its standard input that the process is gone.
struct Guard(#[expect(dead_code, reason = "holds the other end of its standard input")] Child);

/// A server of a test's own, for what cannot be done to one that others use.
pub enum DatabaseServer {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

static POSTGRES: OnceCell<(DatabaseServer, Guard)> = OnceCell::const_new();
static MARIADB: OnceCell<(DatabaseServer, Guard)> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

const START_BOUND: Duration = Duration::from_secs(30);
const GUARD: &str = r#"cat >/dev/null; kill -TERM "$1"; sleep 1; kill -KILL "$1"; rm -rf "$2""#;

// === impl TestDatabase ===

impl TestDatabase {
    /// `None`, and the test skipped, where there is no such server.
    pub async fn new(kind: DatabaseKind) -> anyhow::Result<Option<Self>> {
        let server = match kind {
            DatabaseKind::Sqlite => return Ok(Some(Self { kind, url: None })),
            DatabaseKind::Postgres => &POSTGRES,
            DatabaseKind::MariaDb => &MARIADB,
        };
        if !kind.is_installed() {
            return Ok(None);
        }
        let (server, _) = server.get_or_try_init(async || DatabaseServer::start_guarded(kind).await).await?;
        server.new_database().await.map(Some)
    }
}

// === impl DatabaseKind ===

impl DatabaseKind {
    /// Says so where it is not.
    fn is_installed(self) -> bool {
        let installed = match self {
            DatabaseKind::Sqlite => true,
            DatabaseKind::Postgres => Postgres::program_path().is_some(),
            DatabaseKind::MariaDb => MariaDb::program_path().is_some(),
        };
        if !installed {
            skip(&format!("{self:?} is not installed"));
        }
        installed
    }
}

// === impl DatabaseServer ===

impl DatabaseServer {
    /// `None`, and the test skipped, where there is no such server.
    pub async fn start(kind: DatabaseKind) -> anyhow::Result<Option<Self>> {
        if !kind.is_installed() {
            return Ok(None);
        }
        Ok(match kind {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres => Some(Self::Postgres(Postgres::start().await?)),
            DatabaseKind::MariaDb => Some(Self::MariaDb(MariaDb::start().await?)),
        })
    }

    async fn start_guarded(kind: DatabaseKind) -> anyhow::Result<(Self, Guard)> {
        let server = Self::start(kind).await?.context("no such server")?;
        let running = match &server {
            Self::Postgres(server) => server.id_and_folder(),
            Self::MariaDb(server) => server.id_and_folder(),
        };
        let (id, dir) = running.context("it does not run")?;
        let guard = Guard::start(id, dir)?;
        Ok((server, guard))
    }

    /// Whose own order of words is not that of their bytes, as with many servers: of some language at PostgreSQL, with A
    /// for a at MariaDB.
    pub async fn new_database(&self) -> anyhow::Result<TestDatabase> {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name}");
        Ok(match self {
            Self::Postgres(server) => {
                let create = format!("{create} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'");
                // It listens before it is ready.
                let connected = async || Ok(PgConnection::connect(&server.url()).await.ok());
                let mut on = until("PostgreSQL is ready", START_BOUND, connected).await?;
                on.execute(AssertSqlSafe(create)).await?;
                on.close().await?;
                let url = format!("{}/{name}", server.server_url());
                TestDatabase { kind: DatabaseKind::Postgres, url: Some(url) }
            }
            Self::MariaDb(server) => {
                let connected = async || Ok(MySqlConnection::connect(&server.server_url()).await.ok());
                let mut on = until("MariaDB is ready", START_BOUND, connected).await?;
                on.execute(AssertSqlSafe(create)).await?;
                on.close().await?;
                let url = format!("{}/{name}", server.server_url());
                TestDatabase { kind: DatabaseKind::MariaDb, url: Some(url) }
            }
        })
    }

    /// In order, whoever is connected.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.stop().await,
            Self::MariaDb(server) => server.stop().await,
        }
    }

    /// After [`DatabaseServer::stop`], at the same address.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.resume().await,
            Self::MariaDb(server) => server.resume().await,
        }
    }

    /// Answers nobody until [`DatabaseServer::thaw`], and keeps its connections.
    pub fn freeze(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.freeze(),
            Self::MariaDb(server) => server.freeze(),
        }
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres(server) => server.thaw(),
            Self::MariaDb(server) => server.thaw(),
        }
    }
}

// === impl Guard ===

impl Guard {
    fn start(id: u32, dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;

        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", &id.to_string()]).arg(dir).stdin(Stdio::piped());
        // Of a group of its own, so that what ends the tests from the keyboard does not end it first.
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn();
        child.map(Self).context("no guard starts")
    }
}
