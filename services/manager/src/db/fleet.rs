//! The fleet in numbers: enough to see that something of it has changed.
//! **Invariant:** whatever a daemon is told of clusters and instances changes the numbers.

use sqlx::FromRow;

use super::{Db, DbError};

/// A cluster, or a lease that runs.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
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
    pub async fn fleet_marks(&self, now: i64) -> Result<Vec<Mark>, DbError> {
        Ok(sqlx::query_as(
            "SELECT 'cluster' AS kind, id, id AS cluster_id, updated_at_ms FROM clusters \
             UNION ALL SELECT kind, id, cluster_id, updated_at_ms FROM instances WHERE lease_until_ms > $1 \
             ORDER BY kind, id",
        )
        .bind(now)
        .fetch_all(self.read())
        .await?)
    }
}
