//! The clusters' table.
//! **Invariant:** exactly one row is the default; it moves inside one transaction and its row cannot be deleted.

use df_api::Code;
use df_api::manager::{
    Cluster, CreateClusterRequest, PeerClusterConfig, SchedulerClusterConfig, Scopes, SeedPeerClusterConfig,
    UpdateClusterRequest,
};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::instances::Kind;
use super::{Db, DbError, JsonText, Listed, Page, insert, jobs, json, time, time_after};
use crate::check_cluster::Refused;

const COLUMNS: [&str; 11] = [
    "id",
    "name",
    "bio",
    "scopes",
    "scheduler_cluster_config",
    "seed_peer_cluster_config",
    "peer_cluster_config",
    "is_default",
    "strict",
    "created_at_ms",
    "updated_at_ms",
];

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
    #[sqlx(try_from = "String")]
    scopes: JsonText<Scopes>,
    #[sqlx(try_from = "String")]
    scheduler_cluster_config: JsonText<SchedulerClusterConfig>,
    #[sqlx(try_from = "String")]
    seed_peer_cluster_config: JsonText<SeedPeerClusterConfig>,
    #[sqlx(try_from = "String")]
    peer_cluster_config: JsonText<PeerClusterConfig>,
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
        let mut found = all();
        found.and_where_option(name.map(|name| Expr::col("name").eq(name)));
        let listed = self.list(&found, COLUMNS, page).await?;
        let items: Vec<ClusterRow> = listed.items;
        Ok(Listed { items: items.into_iter().map(Cluster::from).collect(), total: listed.total })
    }

    /// All of them, for matching.
    pub async fn all_clusters(&self) -> Result<Vec<Cluster>, DbError> {
        let rows: Vec<ClusterRow> = self.fetch_all(all().columns(COLUMNS).order_by("id", Order::Asc)).await?;
        Ok(rows.into_iter().map(Cluster::from).collect())
    }

    pub async fn cluster(&self, id: i64) -> Result<Cluster, ClusterError> {
        fetch(&mut self.reading().await?, id).await
    }

    pub async fn create_cluster(&self, new: &CreateClusterRequest, now: i64) -> Result<Cluster, ClusterError> {
        let mut tx = self.begin().await?;
        if new.is_default {
            unmark_default(&mut tx, now).await?;
        }
        let id = add(&mut tx, new, now).await?;
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
        let now = time_after(cluster.updated_at.timestamp_millis(), now);
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
        let mut active = Query::select();
        active.column("kind").expr(Func::count(Expr::col(Asterisk))).from("instances").group_by_col("kind");
        active.and_where(Expr::col("cluster_id").eq(id)).and_where(Expr::col("lease_until_ms").gt(now));
        let active: Vec<(String, i64)> = tx.fetch_all(&active).await?;
        let of_kind = |kind: Kind| active.iter().find(|(name, _)| name == kind.as_str()).map_or(0, |(_, count)| *count);
        let (schedulers, seed_peers) = (of_kind(Kind::Scheduler), of_kind(Kind::SeedPeer));
        if schedulers + seed_peers > 0 {
            return Err(ClusterError::InUse { name: cluster.name, schedulers, seed_peers });
        }
        jobs::fail_parts_of_cluster(&mut tx, id, now).await?;
        tx.execute(Query::delete().from_table("clusters").and_where(Expr::col("id").eq(id))).await?;
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

fn all() -> SelectStatement {
    Query::select().from("clusters").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<Cluster, ClusterError> {
    let row: Option<ClusterRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.map(Cluster::from).ok_or(ClusterError::Unknown(id))
}

async fn unmark_default(tx: &mut Tx, now: i64) -> Result<(), DbError> {
    let mut unmark = Query::update();
    unmark.table("clusters").values([("is_default", false.into()), ("updated_at_ms", now.into())]);
    tx.execute(unmark.and_where(Expr::col("is_default").eq(true))).await.map(drop)
}

pub(super) async fn add(tx: &mut Tx, new: &CreateClusterRequest, now: i64) -> Result<i64, ClusterError> {
    let row = [
        ("name", new.name.as_str().into()),
        ("bio", new.bio.as_str().into()),
        ("scopes", json(&new.scopes)?),
        ("scheduler_cluster_config", json(&new.scheduler_cluster_config)?),
        ("seed_peer_cluster_config", json(&new.seed_peer_cluster_config)?),
        ("peer_cluster_config", json(&new.peer_cluster_config)?),
        ("is_default", new.is_default.into()),
        ("strict", new.strict.into()),
        ("created_at_ms", now.into()),
        ("updated_at_ms", now.into()),
    ];
    tx.insert(&mut insert("clusters", row)).await.map_err(|error| name_taken(error, &new.name))
}

async fn update(tx: &mut Tx, cluster: &Cluster, now: i64) -> Result<(), ClusterError> {
    let mut update = Query::update();
    update.table("clusters").and_where(Expr::col("id").eq(cluster.id)).values([
        ("name", cluster.name.as_str().into()),
        ("bio", cluster.bio.as_str().into()),
        ("scopes", json(&cluster.scopes)?),
        ("scheduler_cluster_config", json(&cluster.scheduler_cluster_config)?),
        ("seed_peer_cluster_config", json(&cluster.seed_peer_cluster_config)?),
        ("peer_cluster_config", json(&cluster.peer_cluster_config)?),
        ("is_default", cluster.is_default.into()),
        ("strict", cluster.strict.into()),
        ("updated_at_ms", now.into()),
    ]);
    tx.execute(&update).await.map_err(|error| name_taken(error, &cluster.name))?;
    Ok(())
}

fn name_taken(error: DbError, name: &str) -> ClusterError {
    match error {
        DbError::Duplicate(_) => ClusterError::NameTaken(name.to_owned()),
        _ => error.into(),
    }
}
