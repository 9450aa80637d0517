//! The record of calls that were to change something.
//! **Invariant:** a call is written down before it is carried out; what is not written down does not happen.

use df_api::manager::{ActorType, Audit, AuditState, EventType};
use sea_query::{Expr, ExprTrait as _, Order, Query};
use sqlx::FromRow;

use super::{Db, DbError, Listed, Page, insert, time};

const COLUMNS: [&str; 9] =
    ["id", "actor_type", "actor_name", "operation", "path", "status_code", "detail", "operated_at_ms", "updated_at_ms"];

/// A call that is about to be carried out.
pub struct NewAudit<'a> {
    pub actor_type: ActorType,
    pub actor_name: &'a str,
    pub operation: &'a str,
    pub path: &'a str,
    pub now: i64,
}

/// What became of it.
pub struct Outcome<'a> {
    pub status_code: u16,
    pub detail: &'a str,
    /// Who it turned out to be: for signing in.
    pub actor: Option<(ActorType, &'a str)>,
}

/// `None` takes all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor_type: Option<ActorType>,
    pub actor_name: Option<String>,
    pub operation: Option<String>,
    pub path: Option<String>,
    pub state: Option<AuditState>,
    pub status_code: Option<u16>,
}

#[derive(FromRow)]
struct AuditRow {
    id: i64,
    actor_type: String,
    actor_name: String,
    operation: String,
    path: String,
    #[sqlx(try_from = "i64")]
    status_code: u16,
    detail: String,
    operated_at_ms: i64,
    updated_at_ms: i64,
}

impl From<AuditRow> for Audit {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            actor_type: match row.actor_type.as_str() {
                "USER" => ActorType::User,
                "PAT" => ActorType::Pat,
                _ => ActorType::Unknown,
            },
            actor_name: row.actor_name,
            event_type: EventType::Api,
            operation: row.operation,
            path: row.path,
            status_code: row.status_code,
            state: if (200..400).contains(&row.status_code) { AuditState::Success } else { AuditState::Failure },
            detail: row.detail,
            operated_at: time(row.operated_at_ms),
            created_at: time(row.operated_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

const fn text(actor: ActorType) -> &'static str {
    match actor {
        ActorType::Unknown => "UNKNOWN",
        ActorType::User => "USER",
        ActorType::Pat => "PAT",
    }
}

// === impl Db ===

impl Db {
    /// Its number, for [`Self::end_audit`].
    pub async fn begin_audit(&self, new: &NewAudit<'_>) -> Result<i64, DbError> {
        let row = [
            ("actor_type", text(new.actor_type).into()),
            ("actor_name", new.actor_name.into()),
            ("operation", new.operation.into()),
            ("path", new.path.into()),
            ("status_code", 0.into()),
            ("detail", "".into()),
            ("operated_at_ms", new.now.into()),
            ("updated_at_ms", new.now.into()),
        ];
        let mut tx = self.begin().await?;
        let id = tx.insert(&mut insert("audits", row)).await?;
        tx.commit().await?;
        Ok(id)
    }

    pub async fn end_audit(&self, id: i64, outcome: &Outcome<'_>, now: i64) -> Result<(), DbError> {
        let mut update = Query::update();
        update.table("audits").and_where(Expr::col("id").eq(id)).values([
            ("status_code", i64::from(outcome.status_code).into()),
            ("detail", outcome.detail.into()),
            ("updated_at_ms", now.into()),
        ]);
        if let Some((actor_type, name)) = outcome.actor {
            update.values([("actor_type", text(actor_type).into()), ("actor_name", name.into())]);
        }
        self.execute(&update).await.map(drop)
    }

    /// The newest first.
    pub async fn list_audits(&self, filter: &AuditFilter, page: Page) -> Result<Listed<Audit>, DbError> {
        let equal = |column: &'static str, text: Option<&str>| text.map(|text| Expr::col(column).eq(text));
        let status = || Expr::col("status_code");
        let mut found = Query::select().from("audits").to_owned();
        found
            .and_where_option(equal("actor_type", filter.actor_type.map(text)))
            .and_where_option(equal("actor_name", filter.actor_name.as_deref()))
            .and_where_option(equal("operation", filter.operation.as_deref()))
            .and_where_option(equal("path", filter.path.as_deref()))
            .and_where_option(filter.status_code.map(|code| status().eq(i64::from(code))))
            .and_where_option(filter.state.map(|state| match state {
                AuditState::Success => status().gte(200).and(status().lt(400)),
                AuditState::Failure => status().lt(200).or(status().gte(400)),
            }));
        let listed = self.list_by(&found, COLUMNS, page, Order::Desc).await?;
        let rows: Vec<AuditRow> = listed.items;
        Ok(Listed { items: rows.into_iter().map(Audit::from).collect(), total: listed.total })
    }

    /// Those of before.
    pub async fn sweep_audits(&self, before: i64) -> Result<u64, DbError> {
        self.delete_in_parts("audits", Expr::col("operated_at_ms").lt(before)).await
    }
}
