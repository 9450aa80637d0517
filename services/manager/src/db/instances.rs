//! Schedulers and seed peers that hold, or held, a lease.
//! **Invariant:** active is what the lease says at the moment of reading; no timer has to run for the truth.

use std::net::SocketAddr;
use std::time::Duration;

use df_api::HostId;
use df_api::cluster::Place;
use df_api::manager::{InstanceState, Scheduler, SeedPeer};
use df_api::scheduler::KnownHost;
use sqlx::FromRow;

use super::{Db, DbError, Listed, Page, time};

/// An instance that is gone for longer than this is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(30 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Scheduler,
    SeedPeer,
}

/// A lease to write down.
pub struct Lease<'a> {
    pub kind: Kind,
    pub place: &'a Place,
    pub url: &'a str,
    pub port: u16,
    pub cluster_id: i64,
    pub now: i64,
    pub until: i64,
}

/// `None` takes all.
#[derive(Clone, Debug, Default)]
pub struct InstanceFilter {
    pub state: Option<InstanceState>,
    pub host_name: Option<String>,
    pub cluster_id: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub struct Instance {
    pub id: i64,
    host_name: String,
    ip: String,
    port: u16,
    pub url: String,
    idc: String,
    location: String,
    pub cluster_id: i64,
    lease_until_ms: i64,
    last_keep_alive_at_ms: i64,
    created_at_ms: i64,
    pub updated_at_ms: i64,
}

// === impl Kind ===

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Scheduler => "scheduler",
            Kind::SeedPeer => "seed_peer",
        }
    }
}

// === impl Instance ===

impl Instance {
    fn state(&self, now: i64) -> InstanceState {
        if self.lease_until_ms > now { InstanceState::Active } else { InstanceState::Inactive }
    }

    pub fn into_scheduler(self, now: i64) -> Scheduler {
        Scheduler {
            id: self.id,
            state: self.state(now),
            host_name: self.host_name,
            ip: self.ip,
            port: self.port,
            url: self.url,
            idc: self.idc,
            location: self.location,
            features: vec!["schedule".to_owned()],
            scheduler_cluster_id: self.cluster_id,
            last_keep_alive_at: time(self.last_keep_alive_at_ms),
            created_at: time(self.created_at_ms),
            updated_at: time(self.updated_at_ms),
        }
    }

    pub fn into_seed_peer(self, now: i64) -> SeedPeer {
        SeedPeer {
            id: self.id,
            state: self.state(now),
            host_name: self.host_name,
            kind: "super".to_owned(),
            ip: self.ip,
            port: self.port,
            url: self.url,
            idc: self.idc,
            location: self.location,
            seed_peer_cluster_id: self.cluster_id,
            last_keep_alive_at: time(self.last_keep_alive_at_ms),
            created_at: time(self.created_at_ms),
            updated_at: time(self.updated_at_ms),
        }
    }

    /// A seed peer, in the name that its daemon gives itself. `None` for a name that no daemon has.
    pub fn into_known_host(self) -> Option<KnownHost> {
        let address = SocketAddr::new(self.ip.parse().ok()?, self.port);
        Some(KnownHost { id: HostId::of(&self.host_name, address).ok()?, url: self.url, seed: true })
    }
}

// === impl Db ===

impl Db {
    /// Registers or renews; the id stays as long as host name, ip and cluster do. The cluster must exist.
    pub async fn renew_lease(&self, lease: &Lease<'_>) -> Result<i64, DbError> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar(
            "INSERT INTO instances (kind, host_name, ip, port, url, idc, location, cluster_id, lease_until_ms, \
               last_keep_alive_at_ms, created_at_ms, updated_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10) \
             ON CONFLICT (kind, host_name, ip, cluster_id) DO UPDATE SET \
               updated_at_ms = CASE WHEN instances.url = excluded.url AND instances.idc = excluded.idc \
                 AND instances.location = excluded.location THEN instances.updated_at_ms ELSE excluded.updated_at_ms END, \
               port = excluded.port, url = excluded.url, idc = excluded.idc, location = excluded.location, \
               lease_until_ms = excluded.lease_until_ms, last_keep_alive_at_ms = excluded.last_keep_alive_at_ms \
             RETURNING id",
        )
        .bind(lease.kind.as_str())
        .bind(&lease.place.hostname)
        .bind(&lease.place.ip)
        .bind(lease.port)
        .bind(lease.url)
        .bind(&lease.place.idc)
        .bind(&lease.place.location)
        .bind(lease.cluster_id)
        .bind(lease.until)
        .bind(lease.now)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    pub async fn instance(&self, kind: Kind, id: i64) -> Result<Option<Instance>, DbError> {
        Ok(sqlx::query_as("SELECT * FROM instances WHERE kind = $1 AND id = $2")
            .bind(kind.as_str())
            .bind(id)
            .fetch_optional(self.read())
            .await?)
    }

    /// The row stays for people to see, inactive.
    pub async fn end_lease(&self, kind: Kind, id: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE instances SET lease_until_ms = 0 WHERE kind = $1 AND id = $2")
            .bind(kind.as_str())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    pub async fn list_instances(
        &self,
        kind: Kind,
        filter: &InstanceFilter,
        page: Page,
        now: i64,
    ) -> Result<Listed<Instance>, DbError> {
        let active = filter.state.map(|state| state == InstanceState::Active);
        let total = sqlx::query_scalar(
            "SELECT COUNT(*) FROM instances WHERE kind = $1 AND ($2 IS NULL OR (lease_until_ms > $5) = $2) \
               AND ($3 IS NULL OR host_name = $3) AND ($4 IS NULL OR cluster_id = $4)",
        )
        .bind(kind.as_str())
        .bind(active)
        .bind(&filter.host_name)
        .bind(filter.cluster_id)
        .bind(now)
        .fetch_one(self.read())
        .await?;
        let items = sqlx::query_as(
            "SELECT * FROM instances WHERE kind = $1 AND ($2 IS NULL OR (lease_until_ms > $5) = $2) \
               AND ($3 IS NULL OR host_name = $3) AND ($4 IS NULL OR cluster_id = $4) \
             ORDER BY id LIMIT $6 OFFSET $7",
        )
        .bind(kind.as_str())
        .bind(active)
        .bind(&filter.host_name)
        .bind(filter.cluster_id)
        .bind(now)
        .bind(page.per_page)
        .bind(page.offset())
        .fetch_all(self.read())
        .await?;
        Ok(Listed { items, total })
    }

    pub async fn sweep_instances(&self, now: i64) -> Result<u64, DbError> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query("DELETE FROM instances WHERE lease_until_ms <= $1 AND last_keep_alive_at_ms <= $2")
            .bind(now)
            .bind(now - FORGET_AFTER.as_millis() as i64)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch;

    const ALL: Page = Page { page: 1, per_page: 1000 };

    async fn renew(db: &Db, hostname: &str, now: i64) -> i64 {
        let place = Place { hostname: hostname.to_owned(), ip: "10.0.0.1".to_owned(), ..Place::default() };
        let url = "http://10.0.0.1:8002";
        let lease =
            Lease { kind: Kind::Scheduler, place: &place, url, port: 8002, cluster_id: 1, now, until: now + 15 };
        db.renew_lease(&lease).await.unwrap()
    }

    async fn with_a_cluster() -> (Db, tempfile::TempDir) {
        let (db, folder) = scratch().await;
        db.create_cluster(&df_api::manager::CreateClusterRequest { name: "a".into(), ..Default::default() }, 0)
            .await
            .unwrap();
        (db, folder)
    }

    #[tokio::test]
    async fn the_lease_alone_says_who_is_active() {
        let (db, _folder) = with_a_cluster().await;
        let id = renew(&db, "s1", 100).await;
        assert_eq!(renew(&db, "s1", 105).await, id, "a renewal keeps the id");
        let active = InstanceFilter { state: Some(InstanceState::Active), ..InstanceFilter::default() };
        assert_eq!(db.list_instances(Kind::Scheduler, &active, ALL, 119).await.unwrap().total, 1);
        assert_eq!(db.list_instances(Kind::Scheduler, &active, ALL, 120).await.unwrap().total, 0);
        assert_eq!(db.list_instances(Kind::SeedPeer, &InstanceFilter::default(), ALL, 100).await.unwrap().total, 0);
    }

    #[tokio::test]
    async fn a_renewal_that_changes_nothing_is_no_update() {
        let (db, _folder) = with_a_cluster().await;
        let id = renew(&db, "s1", 100).await;
        renew(&db, "s1", 105).await;
        let row = db.instance(Kind::Scheduler, id).await.unwrap().unwrap();
        assert_eq!((row.updated_at_ms, row.last_keep_alive_at_ms, row.created_at_ms), (100, 105, 100));
    }

    #[tokio::test]
    async fn who_is_gone_for_half_an_hour_is_forgotten() {
        let (db, _folder) = with_a_cluster().await;
        let id = renew(&db, "s1", 1_000).await;
        db.end_lease(Kind::Scheduler, id).await.unwrap();
        let later = 1_000 + FORGET_AFTER.as_millis() as i64;
        assert_eq!(db.sweep_instances(later - 1).await.unwrap(), 0);
        assert_eq!(db.sweep_instances(later).await.unwrap(), 1);
    }
}
