//! Join tokens, as hashes.
//! **Invariant:** a token's text never reaches this file: who reads the database cannot join with what is in it.

use df_api::manager::JoinToken;
use sqlx::{FromRow, SqliteConnection};

use super::{Db, DbError, time};

/// Who made a token. Those of `Environment` and `Process` replace their own predecessors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Api,
    Environment,
    Process,
}

#[derive(FromRow)]
struct JoinTokenRow {
    id: i64,
    name: String,
    cluster_id: Option<i64>,
    created_at_ms: i64,
}

impl From<JoinTokenRow> for JoinToken {
    fn from(row: JoinTokenRow) -> Self {
        Self { id: row.id, name: row.name, cluster_id: row.cluster_id, created_at: time(row.created_at_ms) }
    }
}

// === impl Source ===

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::Environment => "environment",
            Source::Process => "process",
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_join_tokens(&self) -> Result<Vec<JoinToken>, DbError> {
        let rows: Vec<JoinTokenRow> =
            sqlx::query_as("SELECT id, name, cluster_id, created_at_ms FROM join_tokens ORDER BY id LIMIT 1000")
                .fetch_all(self.read())
                .await?;
        Ok(rows.into_iter().map(JoinToken::from).collect())
    }

    /// The cluster must exist.
    pub async fn create_join_token(
        &self,
        name: &str,
        cluster_id: Option<i64>,
        hash: &str,
        source: Source,
        now: i64,
    ) -> Result<JoinToken, DbError> {
        let mut tx = self.begin().await?;
        if source != Source::Api {
            delete_former(&mut tx, name, source).await?;
        }
        let id = insert(&mut tx, &NewJoinToken { name, cluster_id, hash, source, now }).await?;
        tx.commit().await?;
        Ok(JoinToken { id, name: name.to_owned(), cluster_id, created_at: time(now) })
    }

    /// False when there was none.
    pub async fn delete_join_token(&self, id: i64) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM join_tokens WHERE id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }

    pub async fn join_token(&self, hash: &str) -> Result<Option<JoinToken>, DbError> {
        let row: Option<JoinTokenRow> =
            sqlx::query_as("SELECT id, name, cluster_id, created_at_ms FROM join_tokens WHERE hash = $1")
                .bind(hash)
                .fetch_optional(self.read())
                .await?;
        Ok(row.map(JoinToken::from))
    }
}

pub(super) struct NewJoinToken<'a> {
    pub name: &'a str,
    pub cluster_id: Option<i64>,
    pub hash: &'a str,
    pub source: Source,
    pub now: i64,
}

pub(super) async fn insert(tx: &mut SqliteConnection, new: &NewJoinToken<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO join_tokens (name, hash, cluster_id, source, created_at_ms) VALUES ($1, $2, $3, $4, $5) \
         RETURNING id",
    )
    .bind(new.name)
    .bind(new.hash)
    .bind(new.cluster_id)
    .bind(new.source.as_str())
    .bind(new.now)
    .fetch_one(tx)
    .await
}

async fn delete_former(tx: &mut SqliteConnection, name: &str, source: Source) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM join_tokens WHERE name = $1 AND source = $2")
        .bind(name)
        .bind(source.as_str())
        .execute(tx)
        .await
        .map(drop)
}

/// Makes `hash` the one token of the environment; nothing changes when it is that already.
pub(super) async fn set_environment_token(tx: &mut SqliteConnection, hash: &str, now: i64) -> Result<(), sqlx::Error> {
    let known: Option<i64> =
        sqlx::query_scalar("SELECT id FROM join_tokens WHERE hash = $1").bind(hash).fetch_optional(&mut *tx).await?;
    if known.is_none() {
        let name = "DRAGONFLY_JOIN_TOKEN";
        delete_former(tx, name, Source::Environment).await?;
        insert(tx, &NewJoinToken { name, cluster_id: None, hash, source: Source::Environment, now }).await?;
    }
    Ok(())
}
