//! A database of its own for each test, on servers that all tests of a process share.
//! **Invariant:** a server and its folder are gone soon after the process that started it, however that ended.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use tokio::sync::OnceCell;

use crate::mariadb::MariaDb;
use crate::postgres::Postgres;
use crate::skip::skip;

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

static POSTGRES: OnceCell<(Postgres, Guard)> = OnceCell::const_new();
static MARIADB: OnceCell<(MariaDb, Guard)> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

const GUARD: &str = r#"cat >/dev/null; kill -TERM "$1"; sleep 1; kill -KILL "$1"; rm -rf "$2""#;

// === impl TestDatabase ===

impl TestDatabase {
    /// `None`, and the test skipped, where there is no such server.
    pub async fn new(kind: DatabaseKind) -> anyhow::Result<Option<Self>> {
        let url = match kind {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres if Postgres::program_path().is_none() => {
                skip("PostgreSQL is not installed");
                return Ok(None);
            }
            DatabaseKind::MariaDb if MariaDb::program_path().is_none() => {
                skip("MariaDB is not installed");
                return Ok(None);
            }
            DatabaseKind::Postgres => Some(in_postgres().await?),
            DatabaseKind::MariaDb => Some(in_mariadb().await?),
        };
        Ok(Some(Self { kind, url }))
    }
}

/// In a language whose order of words is not that of their bytes.
async fn in_postgres() -> anyhow::Result<String> {
    let (server, _) = POSTGRES.get_or_try_init(start_postgres).await?;
    let mut on = PgConnection::connect(&server.url()).await?;
    let name = name();
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'");
    sqlx::query(AssertSqlSafe(create)).execute(&mut on).await?;
    on.close().await?;
    Ok(format!("{}/{name}", server.server_url()))
}

/// Its default order takes A for a.
async fn in_mariadb() -> anyhow::Result<String> {
    let (server, _) = MARIADB.get_or_try_init(start_mariadb).await?;
    let mut on = MySqlConnection::connect(&server.server_url()).await?;
    let name = name();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut on).await?;
    on.close().await?;
    Ok(format!("{}/{name}", server.server_url()))
}

fn name() -> String {
    format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed))
}

async fn start_postgres() -> anyhow::Result<(Postgres, Guard)> {
    let server = Postgres::start().await?;
    let guard = server.id_and_folder().context("it does not run").and_then(|(id, dir)| Guard::start(id, dir))?;
    Ok((server, guard))
}

async fn start_mariadb() -> anyhow::Result<(MariaDb, Guard)> {
    let server = MariaDb::start().await?;
    let guard = server.id_and_folder().context("it does not run").and_then(|(id, dir)| Guard::start(id, dir))?;
    Ok((server, guard))
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
