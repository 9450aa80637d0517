//! The clusters' table.
//! **Invariant:** exactly one row is the default; it moves inside one transaction and its row cannot be deleted.

use df_api::Code;
use df_api::manager::{
    Cluster, CreateClusterRequest, PeerClusterConfig, SchedulerClusterConfig, Scopes, SeedPeerClusterConfig,
    UpdateClusterRequest,
};
use df_http::ApiError;
use sqlx::types::Json;
use sqlx::{FromRow, SqliteConnection};

use super::{Db, DbError, Listed, Page, time};
use crate::check_cluster::Refused;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("there is no cluster {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another cluster; names are unique")]
    NameTaken(String),
    #[error("cluster {0} is the default one; make another cluster the default first")]
    IsDefault(String),
    #[error(
        "cluster {name} still has {schedulers} active schedulers and {seed_peers} active seed peers; stop them first"
    )]
    InUse { name: String, schedulers: i64, seed_peers: i64 },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(FromRow)]
struct ClusterRow {
    id: i64,
    name: String,
    bio: String,
    scopes: Json<Scopes>,
    scheduler_cluster_config: Json<SchedulerClusterConfig>,
    seed_peer_cluster_config: Json<SeedPeerClusterConfig>,
    peer_cluster_config: Json<PeerClusterConfig>,
    is_default: bool,
    strict: bool,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<ClusterRow> for Cluster {
    fn from(row: ClusterRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            bio: row.bio,
            scopes: row.scopes.0,
            scheduler_cluster_id: row.id,
            seed_peer_cluster_id: row.id,
            scheduler_cluster_config: row.scheduler_cluster_config.0,
            seed_peer_cluster_config: row.seed_peer_cluster_config.0,
            peer_cluster_config: row.peer_cluster_config.0,
            is_default: row.is_default,
            strict: row.strict,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

impl From<sqlx::Error> for ClusterError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Unknown(_) => ApiError::not_found(error),
            ClusterError::NameTaken(_) | ClusterError::IsDefault(_) | ClusterError::InUse { .. } => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            ClusterError::Refused(refused) => refused.into(),
            ClusterError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_clusters(&self, name: Option<&str>, page: Page) -> Result<Listed<Cluster>, DbError> {
        let total = sqlx::query_scalar("SELECT COUNT(*) FROM clusters WHERE ($1 IS NULL OR name = $1)")
            .bind(name)
            .fetch_one(self.read())
            .await?;
        let rows: Vec<ClusterRow> =
            sqlx::query_as("SELECT * FROM clusters WHERE ($1 IS NULL OR name = $1) ORDER BY id LIMIT $2 OFFSET $3")
                .bind(name)
                .bind(page.per_page)
                .bind(page.offset())
                .fetch_all(self.read())
                .await?;
        Ok(Listed { items: rows.into_iter().map(Cluster::from).collect(), total })
    }

    /// All of them, for matching.
    pub async fn all_clusters(&self) -> Result<Vec<Cluster>, DbError> {
        let rows: Vec<ClusterRow> = sqlx::query_as("SELECT * FROM clusters ORDER BY id").fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(Cluster::from).collect())
    }

    pub async fn cluster(&self, id: i64) -> Result<Cluster, ClusterError> {
        let row: Option<ClusterRow> =
            sqlx::query_as("SELECT * FROM clusters WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        row.map(Cluster::from).ok_or(ClusterError::Unknown(id))
    }

    pub async fn create_cluster(&self, new: &CreateClusterRequest, now: i64) -> Result<Cluster, ClusterError> {
        let mut tx = self.begin().await?;
        if new.is_default {
            unmark_default(&mut tx, now).await?;
        }
        let id = insert(&mut tx, new, now).await?;
        let cluster = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(cluster)
    }

    /// `check` sees the cluster as it would become, and may refuse it.
    pub async fn update_cluster(
        &self,
        id: i64,
        change: UpdateClusterRequest,
        now: i64,
        check: fn(&Cluster) -> Result<(), Refused>,
    ) -> Result<Cluster, ClusterError> {
        let mut tx = self.begin().await?;
        let mut cluster = fetch(&mut tx, id).await?;
        if cluster.is_default && change.is_default == Some(false) {
            return Err(ClusterError::IsDefault(cluster.name));
        }
        let becomes_default = !cluster.is_default && change.is_default == Some(true);
        apply(&mut cluster, change);
        check(&cluster)?;
        if becomes_default {
            unmark_default(&mut tx, now).await?;
        }
        // Two changes are two times, whatever the clocks of two managers say.
        let now = now.max(cluster.updated_at.timestamp_millis() + 1);
        cluster.updated_at = time(now);
        update(&mut tx, &cluster, now).await?;
        tx.commit().await?;
        Ok(cluster)
    }

    /// Takes its inactive instances and its join tokens along.
    pub async fn delete_cluster(&self, id: i64, now: i64) -> Result<(), ClusterError> {
        let mut tx = self.begin().await?;
        let cluster = fetch(&mut tx, id).await?;
        if cluster.is_default {
            return Err(ClusterError::IsDefault(cluster.name));
        }
        let (schedulers, seed_peers): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(CASE WHEN kind = 'scheduler' THEN 1 END), COUNT(CASE WHEN kind = 'seed_peer' THEN 1 END) \
             FROM instances WHERE cluster_id = $1 AND lease_until_ms > $2",
        )
        .bind(id)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        if schedulers + seed_peers > 0 {
            return Err(ClusterError::InUse { name: cluster.name, schedulers, seed_peers });
        }
        sqlx::query("DELETE FROM clusters WHERE id = $1").bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

fn apply(cluster: &mut Cluster, change: UpdateClusterRequest) {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut cluster.name, change.name);
    set(&mut cluster.bio, change.bio);
    set(&mut cluster.scopes, change.scopes);
    set(&mut cluster.scheduler_cluster_config, change.scheduler_cluster_config);
    set(&mut cluster.seed_peer_cluster_config, change.seed_peer_cluster_config);
    set(&mut cluster.peer_cluster_config, change.peer_cluster_config);
    set(&mut cluster.is_default, change.is_default);
    set(&mut cluster.strict, change.strict);
}

async fn fetch(tx: &mut SqliteConnection, id: i64) -> Result<Cluster, ClusterError> {
    let row: Option<ClusterRow> =
        sqlx::query_as("SELECT * FROM clusters WHERE id = $1").bind(id).fetch_optional(tx).await?;
    row.map(Cluster::from).ok_or(ClusterError::Unknown(id))
}

async fn unmark_default(tx: &mut SqliteConnection, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE clusters SET is_default = FALSE, updated_at_ms = $1 WHERE is_default")
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
}

pub(super) async fn insert(
    tx: &mut SqliteConnection,
    new: &CreateClusterRequest,
    now: i64,
) -> Result<i64, ClusterError> {
    sqlx::query_scalar(
        "INSERT INTO clusters (name, bio, scopes, scheduler_cluster_config, seed_peer_cluster_config, \
           peer_cluster_config, is_default, strict, created_at_ms, updated_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) RETURNING id",
    )
    .bind(&new.name)
    .bind(&new.bio)
    .bind(Json(&new.scopes))
    .bind(Json(&new.scheduler_cluster_config))
    .bind(Json(&new.seed_peer_cluster_config))
    .bind(Json(&new.peer_cluster_config))
    .bind(new.is_default)
    .bind(new.strict)
    .bind(now)
    .fetch_one(tx)
    .await
    .map_err(|error| name_taken(error, &new.name))
}

async fn update(tx: &mut SqliteConnection, cluster: &Cluster, now: i64) -> Result<(), ClusterError> {
    sqlx::query(
        "UPDATE clusters SET name = $2, bio = $3, scopes = $4, scheduler_cluster_config = $5, \
           seed_peer_cluster_config = $6, peer_cluster_config = $7, is_default = $8, strict = $9, updated_at_ms = $10 \
         WHERE id = $1",
    )
    .bind(cluster.id)
    .bind(&cluster.name)
    .bind(&cluster.bio)
    .bind(Json(&cluster.scopes))
    .bind(Json(&cluster.scheduler_cluster_config))
    .bind(Json(&cluster.seed_peer_cluster_config))
    .bind(Json(&cluster.peer_cluster_config))
    .bind(cluster.is_default)
    .bind(cluster.strict)
    .bind(now)
    .execute(tx)
    .await
    .map_err(|error| name_taken(error, &cluster.name))?;
    Ok(())
}

fn name_taken(error: sqlx::Error, name: &str) -> ClusterError {
    match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => ClusterError::NameTaken(name.to_owned()),
        _ => error.into(),
    }
}
