//! Join tokens, as hashes.
//! **Invariant:** a token's text never reaches this file: who reads the database cannot join with what is in it.

use df_api::manager::JoinToken;
use sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::Tx;
use super::{Db, DbError, insert, time};

const LISTED_MAX: u64 = 1000;

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
        let rows: Vec<JoinTokenRow> = self.fetch_all(all().order_by("id", Order::Asc).limit(LISTED_MAX)).await?;
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
        let id = add(&mut tx, &NewJoinToken { name, cluster_id, hash, source, now }).await?;
        tx.commit().await?;
        Ok(JoinToken { id, name: name.to_owned(), cluster_id, created_at: time(now) })
    }

    /// False when there was none.
    pub async fn delete_join_token(&self, id: i64) -> Result<bool, DbError> {
        Ok(self.execute(Query::delete().from_table("join_tokens").and_where(Expr::col("id").eq(id))).await? > 0)
    }

    pub async fn join_token(&self, hash: &str) -> Result<Option<JoinToken>, DbError> {
        let row: Option<JoinTokenRow> = self.fetch_optional(all().and_where(Expr::col("hash").eq(hash))).await?;
        Ok(row.map(JoinToken::from))
    }
}

struct NewJoinToken<'a> {
    name: &'a str,
    cluster_id: Option<i64>,
    hash: &'a str,
    source: Source,
    now: i64,
}

fn all() -> SelectStatement {
    Query::select().columns(["id", "name", "cluster_id", "created_at_ms"]).from("join_tokens").to_owned()
}

async fn add(tx: &mut Tx, new: &NewJoinToken<'_>) -> Result<i64, DbError> {
    let row = [
        ("name", new.name.into()),
        ("hash", new.hash.into()),
        ("cluster_id", new.cluster_id.into()),
        ("source", new.source.as_str().into()),
        ("created_at_ms", new.now.into()),
    ];
    tx.insert(&mut insert("join_tokens", row)).await
}

async fn delete_former(tx: &mut Tx, name: &str, source: Source) -> Result<(), DbError> {
    let mut former = Query::delete();
    former.from_table("join_tokens").and_where(Expr::col("name").eq(name));
    tx.execute(former.and_where(Expr::col("source").eq(source.as_str()))).await.map(drop)
}

/// Makes `hash` the one token of the environment; nothing changes when it is that already.
pub(super) async fn set_environment_token(tx: &mut Tx, hash: &str, now: i64) -> Result<(), DbError> {
    let known: Option<JoinTokenRow> = tx.fetch_optional(all().and_where(Expr::col("hash").eq(hash))).await?;
    if known.is_none() {
        let name = "DRAGONFLY_JOIN_TOKEN";
        delete_former(tx, name, Source::Environment).await?;
        add(tx, &NewJoinToken { name, cluster_id: None, hash, source: Source::Environment, now }).await?;
    }
    Ok(())
}
