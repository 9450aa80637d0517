//! Daemons, as they told of themselves.
//! **Invariant:** active is who was seen lately, at the moment of reading; no timer has to run for the truth.

use std::time::Duration;

use df_api::Code;
use df_api::cluster::Place;
use df_api::manager::{DaemonInfo, InstanceState, Peer, PeerType};
use df_http::ApiError;
use sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::{Db, DbError, Listed, Page, insert, time};

/// Silent for longer, a peer is inactive. Daemons ask at least twice a minute, and are noted once.
pub const ACTIVE_FOR: Duration = Duration::from_secs(180);
/// Silent for longer, it is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

const COLUMNS: [&str; 17] = [
    "id",
    "host_name",
    "ip",
    "cluster_id",
    "seed",
    "port",
    "idc",
    "location",
    "os",
    "platform",
    "platform_family",
    "platform_version",
    "kernel_version",
    "git_version",
    "last_seen_at_ms",
    "created_at_ms",
    "updated_at_ms",
];

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("there is no peer {0}")]
    Unknown(i64),
    #[error("there is a peer {host_name} with this address in cluster {cluster_id} already")]
    Taken { host_name: String, cluster_id: i64 },
    #[error("peer {0} is active: it would be back at once; stop its daemon first")]
    Active(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A daemon that was seen, or is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub place: Place,
    pub cluster_id: i64,
    pub seed: bool,
    pub daemon: DaemonInfo,
}

/// `None` takes all.
#[derive(Clone, Debug, Default)]
pub struct PeerFilter {
    pub state: Option<InstanceState>,
    pub kind: Option<PeerType>,
    pub port: Option<u16>,
    pub cluster_id: Option<i64>,
    /// Columns of text, and what is in them.
    pub texts: Vec<(&'static str, String)>,
}

#[derive(FromRow)]
struct PeerRow {
    id: i64,
    host_name: String,
    ip: String,
    cluster_id: i64,
    seed: bool,
    #[sqlx(try_from = "i64")]
    port: u16,
    idc: String,
    location: String,
    os: String,
    platform: String,
    platform_family: String,
    platform_version: String,
    kernel_version: String,
    git_version: String,
    last_seen_at_ms: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl PeerRow {
    fn is_active(&self, now: i64) -> bool {
        self.last_seen_at_ms > active_since(now)
    }

    fn into_peer(self, now: i64) -> Peer {
        Peer {
            state: if self.is_active(now) { InstanceState::Active } else { InstanceState::Inactive },
            id: self.id,
            host_name: self.host_name,
            kind: if self.seed { PeerType::Super } else { PeerType::Normal },
            ip: self.ip,
            port: self.port,
            download_port: self.port,
            idc: self.idc,
            location: self.location,
            os: self.os,
            platform: self.platform,
            platform_family: self.platform_family,
            platform_version: self.platform_version,
            kernel_version: self.kernel_version,
            git_version: self.git_version,
            scheduler_cluster_id: self.cluster_id,
            last_seen_at: time(self.last_seen_at_ms),
            created_at: time(self.created_at_ms),
            updated_at: time(self.updated_at_ms),
        }
    }
}

impl From<PeerError> for ApiError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Unknown(_) => ApiError::not_found(error),
            PeerError::Taken { .. } | PeerError::Active(_) => ApiError::new(Code::Conflict, error.to_string()),
            PeerError::Db(error) => error.into(),
        }
    }
}

fn active_since(now: i64) -> i64 {
    now - ACTIVE_FOR.as_millis() as i64
}

// === impl Db ===

impl Db {
    pub async fn list_peers(&self, filter: &PeerFilter, page: Page, now: i64) -> Result<Listed<Peer>, DbError> {
        let seen = Expr::col("last_seen_at_ms");
        let state = filter.state.map(|state| match state {
            InstanceState::Active => seen.gt(active_since(now)),
            InstanceState::Inactive => seen.lte(active_since(now)),
        });
        let mut found = all();
        found
            .and_where_option(state)
            .and_where_option(filter.kind.map(|kind| Expr::col("seed").eq(kind == PeerType::Super)))
            .and_where_option(filter.port.map(|port| Expr::col("port").eq(i64::from(port))))
            .and_where_option(filter.cluster_id.map(|id| Expr::col("cluster_id").eq(id)));
        for (column, text) in &filter.texts {
            found.and_where(Expr::col(*column).eq(text.as_str()));
        }
        let listed = self.list(&found, COLUMNS, page).await?;
        let rows: Vec<PeerRow> = listed.items;
        Ok(Listed { items: rows.into_iter().map(|row| row.into_peer(now)).collect(), total: listed.total })
    }

    pub async fn peer(&self, id: i64, now: i64) -> Result<Peer, PeerError> {
        Ok(fetch(&mut self.reading().await?, id).await?.into_peer(now))
    }

    /// Inactive, until it is seen. The cluster must exist.
    pub async fn create_peer(&self, new: &Seen, now: i64) -> Result<Peer, PeerError> {
        let mut tx = self.begin().await?;
        // Long enough ago to be inactive, and lately enough to be kept for a day.
        let id = add(&mut tx, new, active_since(now), now).await.map_err(|error| match error {
            DbError::Duplicate(_) => {
                PeerError::Taken { host_name: new.place.hostname.clone(), cluster_id: new.cluster_id }
            }
            _ => error.into(),
        })?;
        let peer = fetch(&mut tx, id).await?.into_peer(now);
        tx.commit().await?;
        Ok(peer)
    }

    /// All of them in one transaction. Those whose cluster is gone are left out.
    pub async fn note_peers(&self, seen: &[Seen], now: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let clusters: Vec<(i64,)> = tx.fetch_all(Query::select().column("id").from("clusters")).await?;
        for one in seen.iter().filter(|one| clusters.contains(&(one.cluster_id,))) {
            let mut update = Query::update();
            update.table("peers").values(told(one)).value("last_seen_at_ms", now).value("updated_at_ms", now);
            update.and_where(Expr::col("host_name").eq(one.place.hostname.as_str()));
            update.and_where(Expr::col("ip").eq(one.place.ip.as_str()));
            update.and_where(Expr::col("cluster_id").eq(one.cluster_id));
            if tx.execute(&update).await? == 0 {
                add(&mut tx, one, now, now).await?;
            }
        }
        tx.commit().await
    }

    /// One that is active would be back at once.
    pub async fn delete_peer(&self, id: i64, now: i64) -> Result<(), PeerError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, id).await?;
        if known.is_active(now) {
            return Err(PeerError::Active(known.host_name));
        }
        tx.execute(Query::delete().from_table("peers").and_where(Expr::col("id").eq(id))).await?;
        Ok(tx.commit().await?)
    }

    pub async fn sweep_peers(&self, now: i64) -> Result<u64, DbError> {
        let before = now - FORGET_AFTER.as_millis() as i64;
        self.execute(Query::delete().from_table("peers").and_where(Expr::col("last_seen_at_ms").lt(before))).await
    }
}

fn all() -> SelectStatement {
    Query::select().from("peers").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<PeerRow, PeerError> {
    let row = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.ok_or(PeerError::Unknown(id))
}

/// What may be another thing the next time.
fn told(seen: &Seen) -> [(&'static str, Expr); 10] {
    let Seen { place, seed, daemon, .. } = seen;
    [
        ("seed", (*seed).into()),
        ("port", i64::from(daemon.port).into()),
        ("idc", place.idc.as_str().into()),
        ("location", place.location.as_str().into()),
        ("os", daemon.os.as_str().into()),
        ("platform", daemon.platform.as_str().into()),
        ("platform_family", daemon.platform_family.as_str().into()),
        ("platform_version", daemon.platform_version.as_str().into()),
        ("kernel_version", daemon.kernel_version.as_str().into()),
        ("git_version", daemon.git_version.as_str().into()),
    ]
}

async fn add(tx: &mut Tx, new: &Seen, last_seen: i64, now: i64) -> Result<i64, DbError> {
    let named = [
        ("host_name", new.place.hostname.as_str().into()),
        ("ip", new.place.ip.as_str().into()),
        ("cluster_id", new.cluster_id.into()),
        ("last_seen_at_ms", last_seen.into()),
        ("created_at_ms", now.into()),
        ("updated_at_ms", now.into()),
    ];
    tx.insert(&mut insert("peers", named.into_iter().chain(told(new)))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        who_was_seen_lately_is_active,
    }

    fn seen(hostname: &str, cluster_id: i64) -> Seen {
        let place = Place { hostname: hostname.to_owned(), ip: "10.0.0.1".to_owned(), ..Place::default() };
        Seen { place, cluster_id, seed: false, daemon: DaemonInfo::default() }
    }

    async fn who_was_seen_lately_is_active(scratch: Scratch) {
        let db = &scratch.db;
        let cluster = df_api::manager::CreateClusterRequest { name: "a".into(), ..Default::default() };
        let cluster = db.create_cluster(&cluster, 0).await.unwrap().id;
        db.note_peers(&[seen("a", cluster), seen("b", cluster), seen("lost", 77)], 1_000).await.unwrap();
        db.note_peers(&[seen("b", cluster)], 100_000).await.unwrap();
        let now = 1_000 + ACTIVE_FOR.as_millis() as i64;
        let all = db.list_peers(&PeerFilter::default(), Page { page: 1, per_page: 10 }, now).await.unwrap();
        let states: Vec<_> = all.items.iter().map(|peer| (peer.host_name.as_str(), peer.state)).collect();
        assert_eq!(states, [("a", InstanceState::Inactive), ("b", InstanceState::Active)]);
        assert_eq!(all.items[1].created_at.timestamp_millis(), 1_000, "it is the same row");
        let (a, b) = (all.items[0].id, all.items[1].id);
        assert!(matches!(db.delete_peer(b, now).await, Err(PeerError::Active(_))));
        db.delete_peer(a, now).await.unwrap();
        assert_eq!(db.sweep_peers(100_000 + FORGET_AFTER.as_millis() as i64).await.unwrap(), 0);
        assert_eq!(db.sweep_peers(100_001 + FORGET_AFTER.as_millis() as i64).await.unwrap(), 1);
    }
}
