//! A copy of SQLite's file while the manager runs, and a copy put in its place while it does not.
//! **Invariants.** Nothing is overwritten and nothing is lost: a copy is whole and checked before it has its name, and the
//! database that a copy replaces is kept beside it. At any moment there is a database under its name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::Utc;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::NamedTempFile;

use crate::config::Config;
use crate::db::connect::{SQLITE, Target, beside, folder_of, lock_file, make_folder};

/// Into a new file that is readable for its owner only, since keys and hashes of passwords are in it.
pub async fn backup(config: &Config, file: &Path) -> anyhow::Result<()> {
    ensure!(!file.exists(), "{} is there already; a backup overwrites nothing", file.display());
    let database = sqlite(config)?.create_if_missing(false);
    let folder = folder_of(file);
    let copy = NamedTempFile::new_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let into = copy.path().to_str().context("the name of the backup's folder is not UTF-8")?;
    let from = database.get_filename().display().to_string();
    let mut on = database.connect().await.with_context(|| format!("cannot open the database {from}"))?;
    // One moment of the database, whatever is written meanwhile.
    let copied = sqlx::query("VACUUM INTO ?").bind(into).execute(&mut on).await;
    copied.with_context(|| format!("cannot copy the database {from}"))?;
    on.close().await.with_context(|| format!("cannot close the database {from}"))?;
    check(copy.path()).await?;
    copy.as_file().sync_all().context("the backup cannot be written")?;
    copy.persist_noclobber(file).with_context(|| format!("cannot write the backup {}", file.display()))?;
    sync(folder)
}

/// Says where the former database is kept, if there was one.
pub async fn restore(config: &Config, file: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = sqlite(config)?.get_filename().to_owned();
    make_folder(&path)?;
    let folder = folder_of(&path);
    let lock = lock_file(&path)?;
    lock.try_lock().with_context(|| format!("a manager has {} open; stop it first", path.display()))?;
    let mut copy = NamedTempFile::new_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let mut from = File::open(file).with_context(|| format!("cannot read the backup {}", file.display()))?;
    io::copy(&mut from, &mut copy).context("the backup cannot be copied")?;
    copy.as_file().sync_all().context("the backup cannot be copied")?;
    check(copy.path()).await.with_context(|| format!("{} is not restored", file.display()))?;
    let former = if path.exists() { Some(keep_aside(&path)?) } else { None };
    copy.persist(&path).with_context(|| format!("cannot write the database {}", path.display()))?;
    sync(folder)?;
    Ok(former)
}

fn sqlite(config: &Config) -> anyhow::Result<SqliteConnectOptions> {
    match Target::parse(config.database.url.as_deref(), &config.data_dir)? {
        Target::Sqlite(options) => Ok(options),
        Target::Postgres(_) | Target::MySql(_) => {
            bail!("backup and restore are for SQLite; a database server has programs of its own for it")
        }
    }
}

/// Whole, a manager's, and of no newer one.
async fn check(file: &Path) -> anyhow::Result<()> {
    // Nobody changes it, so nothing is made beside it.
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut on = options.connect().await.context("it is no SQLite database")?;
    let found: Result<String, _> = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut on).await;
    let found = found.context("it is no SQLite database")?;
    ensure!(found == "ok", "the database is damaged: {found}");
    check_schema(&mut on).await?;
    on.close().await.context("it cannot be closed")
}

async fn check_schema(on: &mut SqliteConnection) -> anyhow::Result<()> {
    let applied = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
    let applied: Vec<(i64, Vec<u8>)> = applied.fetch_all(on).await.context("it is no manager's database")?;
    for (version, checksum) in applied {
        let known = SQLITE.iter().find(|ours| ours.version == version);
        let known = known.with_context(|| format!("it is of a newer manager: this one does not know {version}"))?;
        ensure!(*known.checksum == checksum, "it is of another manager: its tables of version {version} are not ours");
    }
    Ok(())
}

/// With what SQLite has beside it. The name stays until another file takes it.
fn keep_aside(path: &Path) -> anyhow::Result<PathBuf> {
    let aside = beside(path, &format!(".before-{}", Utc::now().format("%Y%m%dT%H%M%S%.3fZ")));
    std::fs::hard_link(path, &aside).with_context(|| format!("cannot keep {} aside", path.display()))?;
    for ending in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot keep {}{ending} aside", path.display()));
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
