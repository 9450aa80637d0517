//! Schedulers and seed peers that hold, or held, a lease.
//! **Invariant:** active is what the lease says at the moment of reading; no timer has to run for the truth.

use std::net::SocketAddr;
use std::time::Duration;

use df_api::cluster::Place;
use df_api::manager::{Feature, InstanceState, Scheduler, SeedPeer};
use df_api::scheduler::KnownHost;
use df_api::{Code, HostId};
use df_http::ApiError;
use sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::Connection;
use super::{Db, DbError, JsonText, Listed, Page, insert, json, time, time_after};
use crate::check_cluster::Refused;

/// An instance that is gone for longer than this is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(30 * 60);

const COLUMNS: [&str; 13] = [
    "id",
    "host_name",
    "ip",
    "port",
    "url",
    "idc",
    "location",
    "features",
    "cluster_id",
    "lease_until_ms",
    "last_keep_alive_at_ms",
    "created_at_ms",
    "updated_at_ms",
];

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
    pub ip: Option<String>,
    pub port: Option<u16>,
    pub idc: Option<String>,
    pub location: Option<String>,
    pub cluster_id: Option<i64>,
}

/// An instance that is expected.
pub struct Expected<'a> {
    pub kind: Kind,
    pub place: &'a Place,
    pub url: &'a str,
    pub port: u16,
    pub cluster_id: i64,
    pub features: &'a [Feature],
    pub now: i64,
}

/// Only what is present changes.
#[derive(Clone, Debug, Default)]
pub struct InstanceChange {
    pub idc: Option<String>,
    pub location: Option<String>,
    pub features: Option<Vec<Feature>>,
}

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("there is no {kind} {id}")]
    Unknown { kind: Kind, id: i64 },
    #[error("there is a {kind} {host_name} with this address in cluster {cluster_id} already")]
    Taken { kind: Kind, host_name: String, cluster_id: i64 },
    #[error("{kind} {host_name} is active: stop it first")]
    Active { kind: Kind, host_name: String },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(FromRow)]
pub struct Instance {
    pub id: i64,
    host_name: String,
    ip: String,
    #[sqlx(try_from = "i64")]
    port: u16,
    pub url: String,
    idc: String,
    location: String,
    #[sqlx(try_from = "String")]
    features: JsonText<Vec<Feature>>,
    pub cluster_id: i64,
    lease_until_ms: i64,
    last_keep_alive_at_ms: i64,
    created_at_ms: i64,
    pub updated_at_ms: i64,
}

// === impl Kind ===

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Kind::Scheduler => "scheduler",
            Kind::SeedPeer => "seed_peer",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Scheduler => "scheduler",
            Kind::SeedPeer => "seed peer",
        })
    }
}

impl From<InstanceError> for ApiError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Unknown { .. } => ApiError::not_found(error),
            InstanceError::Taken { .. } | InstanceError::Active { .. } => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            InstanceError::Refused(refused) => refused.into(),
            InstanceError::Db(error) => error.into(),
        }
    }
}

// === impl Instance ===

impl Instance {
    fn state(&self, now: i64) -> InstanceState {
        if self.lease_until_ms > now { InstanceState::Active } else { InstanceState::Inactive }
    }

    /// Nothing that others are told of it would change.
    fn is_told_as(&self, lease: &Lease<'_>) -> bool {
        self.url == lease.url && self.idc == lease.place.idc && self.location == lease.place.location
    }

    fn place(&self) -> Place {
        Place {
            hostname: self.host_name.clone(),
            ip: self.ip.clone(),
            idc: self.idc.clone(),
            location: self.location.clone(),
        }
    }

    pub fn has_feature(&self, feature: Feature) -> bool {
        self.features.0.contains(&feature)
    }

    /// Peers may ask it for parents.
    pub fn schedules(&self) -> bool {
        self.has_feature(Feature::Schedule)
    }

    pub fn host_name(&self) -> &str {
        &self.host_name
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
            features: self.features.0,
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
            download_port: self.port,
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
        let Lease { kind, place, url, now, .. } = lease;
        let mut tx = self.begin().await?;
        let mut known = of_kind(*kind);
        known.columns(COLUMNS).and_where(Expr::col("host_name").eq(place.hostname.as_str()));
        known.and_where(Expr::col("ip").eq(place.ip.as_str())).and_where(Expr::col("cluster_id").eq(lease.cluster_id));
        let known: Option<Instance> = tx.fetch_optional(&known).await?;
        let updated_at_ms = known.as_ref().map_or(*now, |known| match known.is_told_as(lease) {
            true => known.updated_at_ms,
            false => time_after(known.updated_at_ms, *now),
        });
        let told = [
            ("port", i64::from(lease.port).into()),
            ("url", (*url).into()),
            ("idc", place.idc.as_str().into()),
            ("location", place.location.as_str().into()),
            ("lease_until_ms", lease.until.into()),
            ("last_keep_alive_at_ms", (*now).into()),
            ("updated_at_ms", updated_at_ms.into()),
        ];
        let id = if let Some(Instance { id, .. }) = known {
            let mut renewed = Query::update();
            renewed.table("instances").values(told).and_where(Expr::col("id").eq(id));
            tx.execute(&renewed).await?;
            id
        } else {
            let named = [
                ("kind", kind.as_str().into()),
                ("host_name", place.hostname.as_str().into()),
                ("ip", place.ip.as_str().into()),
                ("cluster_id", lease.cluster_id.into()),
                ("features", json(&Feature::ALL)?),
                ("created_at_ms", (*now).into()),
            ];
            tx.insert(&mut insert("instances", named.into_iter().chain(told))).await?
        };
        tx.commit().await?;
        Ok(id)
    }

    pub async fn instance(&self, kind: Kind, id: i64) -> Result<Instance, InstanceError> {
        fetch(&mut self.reading().await?, kind, id).await
    }

    /// Inactive, until it renews its lease. The cluster must exist.
    pub async fn create_instance(&self, new: &Expected<'_>) -> Result<Instance, InstanceError> {
        let row = [
            ("kind", new.kind.as_str().into()),
            ("host_name", new.place.hostname.as_str().into()),
            ("ip", new.place.ip.as_str().into()),
            ("port", i64::from(new.port).into()),
            ("url", new.url.into()),
            ("idc", new.place.idc.as_str().into()),
            ("location", new.place.location.as_str().into()),
            ("features", json(&new.features)?),
            ("cluster_id", new.cluster_id.into()),
            ("lease_until_ms", 0.into()),
            ("last_keep_alive_at_ms", new.now.into()),
            ("created_at_ms", new.now.into()),
            ("updated_at_ms", new.now.into()),
        ];
        let mut tx = self.begin().await?;
        let id = tx.insert(&mut insert("instances", row)).await.map_err(|error| match error {
            DbError::Duplicate(_) => InstanceError::Taken {
                kind: new.kind,
                host_name: new.place.hostname.clone(),
                cluster_id: new.cluster_id,
            },
            _ => error.into(),
        })?;
        let instance = fetch(&mut tx, new.kind, id).await?;
        tx.commit().await?;
        Ok(instance)
    }

    /// `check` sees where it would stand, and may refuse it.
    pub async fn update_instance(
        &self,
        kind: Kind,
        id: i64,
        change: InstanceChange,
        now: i64,
        check: fn(&Place) -> Result<(), Refused>,
    ) -> Result<Instance, InstanceError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, kind, id).await?;
        let instance = Instance {
            idc: change.idc.unwrap_or(known.idc),
            location: change.location.unwrap_or(known.location),
            features: change.features.map_or(known.features, JsonText),
            updated_at_ms: time_after(known.updated_at_ms, now),
            ..known
        };
        check(&instance.place())?;
        let mut update = Query::update();
        update.table("instances").and_where(Expr::col("id").eq(id)).values([
            ("idc", instance.idc.as_str().into()),
            ("location", instance.location.as_str().into()),
            ("features", json(&instance.features.0)?),
            ("updated_at_ms", instance.updated_at_ms.into()),
        ]);
        tx.execute(&update).await?;
        tx.commit().await?;
        Ok(instance)
    }

    /// One whose lease runs stays.
    pub async fn delete_instance(&self, kind: Kind, id: i64, now: i64) -> Result<(), InstanceError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, kind, id).await?;
        if known.state(now) == InstanceState::Active {
            return Err(InstanceError::Active { kind, host_name: known.host_name });
        }
        tx.execute(Query::delete().from_table("instances").and_where(Expr::col("id").eq(id))).await?;
        Ok(tx.commit().await?)
    }

    /// The row stays for people to see, inactive.
    pub async fn end_lease(&self, kind: Kind, id: i64) -> Result<(), DbError> {
        let mut ended = Query::update();
        ended.table("instances").value("lease_until_ms", 0);
        ended.and_where(Expr::col("kind").eq(kind.as_str())).and_where(Expr::col("id").eq(id));
        self.execute(&ended).await.map(drop)
    }

    pub async fn list_instances(
        &self,
        kind: Kind,
        filter: &InstanceFilter,
        page: Page,
        now: i64,
    ) -> Result<Listed<Instance>, DbError> {
        let equal = |column: &'static str, text: &Option<String>| text.as_ref().map(|text| Expr::col(column).eq(text));
        let until = Expr::col("lease_until_ms");
        let state = filter.state.map(|state| match state {
            InstanceState::Active => until.gt(now),
            InstanceState::Inactive => until.lte(now),
        });
        let mut found = of_kind(kind);
        found
            .and_where_option(state)
            .and_where_option(equal("host_name", &filter.host_name))
            .and_where_option(equal("ip", &filter.ip))
            .and_where_option(filter.port.map(|port| Expr::col("port").eq(i64::from(port))))
            .and_where_option(equal("idc", &filter.idc))
            .and_where_option(equal("location", &filter.location))
            .and_where_option(filter.cluster_id.map(|id| Expr::col("cluster_id").eq(id)));
        self.list(&found, COLUMNS, page).await
    }

    pub async fn sweep_instances(&self, now: i64) -> Result<u64, DbError> {
        let mut gone = Query::delete();
        gone.from_table("instances").and_where(Expr::col("lease_until_ms").lte(now));
        gone.and_where(Expr::col("last_keep_alive_at_ms").lte(now - FORGET_AFTER.as_millis() as i64));
        self.execute(&gone).await
    }
}

fn of_kind(kind: Kind) -> SelectStatement {
    Query::select().from("instances").and_where(Expr::col("kind").eq(kind.as_str())).to_owned()
}

async fn fetch(on: &mut Connection, kind: Kind, id: i64) -> Result<Instance, InstanceError> {
    let row = on.fetch_optional(of_kind(kind).columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.ok_or(InstanceError::Unknown { kind, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        the_lease_alone_says_who_is_active,
        a_renewal_that_changes_nothing_is_no_update,
        who_is_gone_for_half_an_hour_is_forgotten,
    }

    const ALL: Page = Page { page: 1, per_page: 1000 };

    async fn renew(db: &Db, hostname: &str, now: i64) -> i64 {
        let place = Place { hostname: hostname.to_owned(), ip: "10.0.0.1".to_owned(), ..Place::default() };
        let url = "http://10.0.0.1:8002";
        let lease =
            Lease { kind: Kind::Scheduler, place: &place, url, port: 8002, cluster_id: 1, now, until: now + 15 };
        db.renew_lease(&lease).await.unwrap()
    }

    async fn add_cluster(db: &Db) {
        let new = df_api::manager::CreateClusterRequest { name: "a".into(), ..Default::default() };
        db.create_cluster(&new, 0).await.unwrap();
    }

    async fn the_lease_alone_says_who_is_active(scratch: Scratch) {
        let db = &scratch.db;
        add_cluster(db).await;
        let id = renew(db, "s1", 100).await;
        assert_eq!(renew(db, "s1", 105).await, id, "a renewal keeps the id");
        let active = InstanceFilter { state: Some(InstanceState::Active), ..InstanceFilter::default() };
        assert_eq!(db.list_instances(Kind::Scheduler, &active, ALL, 119).await.unwrap().total, 1);
        assert_eq!(db.list_instances(Kind::Scheduler, &active, ALL, 120).await.unwrap().total, 0);
        assert_eq!(db.list_instances(Kind::SeedPeer, &InstanceFilter::default(), ALL, 100).await.unwrap().total, 0);
    }

    async fn a_renewal_that_changes_nothing_is_no_update(scratch: Scratch) {
        let db = &scratch.db;
        add_cluster(db).await;
        let id = renew(db, "s1", 100).await;
        renew(db, "s1", 105).await;
        let row = db.instance(Kind::Scheduler, id).await.unwrap();
        assert_eq!((row.updated_at_ms, row.last_keep_alive_at_ms, row.created_at_ms), (100, 105, 100));
        // One that does, is, at a manager whose clock is behind, too.
        let place = Place { hostname: "s1".to_owned(), ip: "10.0.0.1".to_owned(), ..Place::default() };
        let (kind, url) = (Kind::Scheduler, "http://10.0.0.1:9002");
        let moved = Lease { kind, place: &place, url, port: 9002, cluster_id: 1, now: 90, until: 105 };
        assert_eq!(db.renew_lease(&moved).await.unwrap(), id);
        let row = db.instance(Kind::Scheduler, id).await.unwrap();
        assert_eq!((row.updated_at_ms, row.url.as_str(), row.port), (101, url, 9002));
    }

    async fn who_is_gone_for_half_an_hour_is_forgotten(scratch: Scratch) {
        let db = &scratch.db;
        add_cluster(db).await;
        let id = renew(db, "s1", 1_000).await;
        db.end_lease(Kind::Scheduler, id).await.unwrap();
        let later = 1_000 + FORGET_AFTER.as_millis() as i64;
        assert_eq!(db.sweep_instances(later - 1).await.unwrap(), 0);
        assert_eq!(db.sweep_instances(later).await.unwrap(), 1);
    }
}
