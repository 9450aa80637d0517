//! The fleet in numbers: enough to see that something of it has changed.
//! **Invariant:** whatever a daemon is told of clusters and instances changes the numbers.

use sea_query::{Expr, ExprTrait as _, Query, UnionType};
use sqlx::FromRow;

use super::{Db, DbError};

/// A cluster, or a lease that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub struct Mark {
    pub kind: String,
    pub id: i64,
    pub cluster_id: i64,
    /// When something was written that is no mere renewal.
    pub updated_at_ms: i64,
}

// === impl Mark ===

impl Mark {
    pub fn is_cluster(&self) -> bool {
        self.kind == "cluster"
    }

    pub fn is_scheduler(&self) -> bool {
        self.kind == "scheduler"
    }
}

// === impl Db ===

impl Db {
    /// In one order, whatever the database's.
    pub async fn fleet_marks(&self, now: i64) -> Result<Vec<Mark>, DbError> {
        let mut marks = Query::select();
        marks.expr_as(Expr::cust("'cluster'"), "kind").column("id").expr_as(Expr::col("id"), "cluster_id");
        marks.column("updated_at_ms").from("clusters");
        let mut leases = Query::select();
        leases.columns(["kind", "id", "cluster_id", "updated_at_ms"]).from("instances");
        leases.and_where(Expr::col("lease_until_ms").gt(now));
        let mut marks: Vec<Mark> = self.fetch_all(marks.union(UnionType::All, leases)).await?;
        marks.sort_unstable();
        Ok(marks)
    }
}
