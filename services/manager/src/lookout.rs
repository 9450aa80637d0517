//! Watching the fleet for all who wait at discovery: what clusters there are, and whose leases run.
//! **Invariant:** nothing is believed that was not just read: whoever asks looks at the database first. While somebody
//! waits, one of those who wait looks for all of them every second, so that a change made at another manager, or a lease
//! that runs out, is noticed; a change made here is looked at at once.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use df_api::manager::{InstanceState, Scheduler};
use df_api::scheduler::KnownHost;
use moka::future::Cache;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::db::instances::{Instance, InstanceFilter, Kind};
use crate::db::{Db, DbError, Page, fleet::Mark, now_ms};
use crate::match_clusters::Candidate;
use crate::paging::PER_PAGE_WHOLE;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A change is told to thousands at once: who is there is read once for all of them.
const ROSTER_KEPT: Duration = Duration::from_secs(1);
const ROSTERS_MAX: u64 = 1000;

/// See the module.
pub struct Lookout {
    db: Db,
    seen: watch::Sender<Arc<Fleet>>,
    /// The start of the last look, whoever's.
    looked: parking_lot::Mutex<Instant>,
    /// Held by the one that looks for all.
    turn: Mutex<()>,
    /// One for each that may wait.
    room: Semaphore,
    /// By the version of the answer that they are for.
    rosters: Cache<String, Arc<Roster>>,
}

/// What was seen at one look.
#[derive(Debug, Default)]
pub struct Fleet {
    /// All clusters, ready to be matched.
    pub clusters: Arc<Vec<Candidate>>,
    marks: Vec<Mark>,
}

/// Whose leases run in one cluster. Those behind one URL are told as one: nobody can choose among them.
#[derive(Debug)]
pub struct Roster {
    pub schedulers: Vec<Scheduler>,
    pub seed_peers: Vec<KnownHost>,
    marks: Vec<String>,
}

// === impl Lookout ===

impl Lookout {
    /// For so many that wait at once.
    pub fn new(db: Db, room: usize) -> Self {
        let looked = parking_lot::Mutex::new(Instant::now());
        let rosters = Cache::builder().max_capacity(ROSTERS_MAX).time_to_live(ROSTER_KEPT).build();
        let (turn, room) = (Mutex::default(), Semaphore::new(room));
        Self { db, seen: watch::Sender::default(), looked, turn, room, rosters }
    }

    /// Reads a few numbers per cluster and instance; clusters only when one of them has changed.
    pub async fn look(&self) -> Result<Arc<Fleet>, DbError> {
        *self.looked.lock() = Instant::now();
        let marks = self.db.fleet_marks(now_ms()).await?;
        let seen = self.seen.borrow().clone();
        if seen.marks == marks {
            return Ok(seen);
        }
        let of_clusters = |marks: &[Mark]| marks.iter().filter(|mark| mark.is_cluster()).cloned().collect::<Vec<_>>();
        let clusters = if of_clusters(&seen.marks) == of_clusters(&marks) {
            seen.clusters.clone()
        } else {
            Arc::new(self.db.all_clusters().await?.into_iter().map(Candidate::new).collect())
        };
        let fleet = Arc::new(Fleet { clusters, marks });
        self.seen.send_replace(fleet.clone());
        Ok(fleet)
    }

    /// Good enough for somebody who knows that already, and waits for another: he is told within [`LOOK_EVERY`].
    pub async fn look_lately(&self) -> Result<Arc<Fleet>, DbError> {
        let lately = self.looked.lock().elapsed() < LOOK_EVERY;
        let seen = self.seen.borrow().clone();
        // Without a cluster, nobody has looked yet.
        if lately && !seen.clusters.is_empty() { Ok(seen) } else { self.look().await }
    }

    /// Something was changed here: those who wait hear of it now. What cannot be read is found at the next look.
    pub async fn changed(&self) {
        if let Err(error) = self.look().await {
            tracing::debug!(error = df_http::error::chain(&error), "a change was not looked at");
        }
    }

    /// Another fleet than `known`, when somebody has seen it; the caller's patience ends the wait. `None` at once when too
    /// many wait already.
    pub async fn other_than(&self, known: &Arc<Fleet>) -> Option<Arc<Fleet>> {
        let _place = self.room.try_acquire().ok()?;
        let mut seen = self.seen.subscribe();
        tokio::select! {
            found = seen.wait_for(|now| !Arc::ptr_eq(now, known)) => found.ok().map(|now| now.clone()),
            never = self.look_for_all() => match never {},
        }
    }

    /// Of a cluster, for an answer of this version, which was concluded from `fleet`.
    pub async fn roster(&self, cluster_id: i64, version: &str, fleet: &Fleet) -> Result<Arc<Roster>, Arc<DbError>> {
        let kept = self.rosters.try_get_with(version.to_owned(), self.read_roster(cluster_id)).await?;
        if kept.instances().eq(fleet.instances(cluster_id)) {
            return Ok(kept);
        }
        // Somebody came or went between the look and the reading, and may be back where it was by now.
        Ok(self.read_roster(cluster_id).await?)
    }

    async fn read_roster(&self, cluster_id: i64) -> Result<Arc<Roster>, DbError> {
        let now = now_ms();
        let (state, cluster_id) = (Some(InstanceState::Active), Some(cluster_id));
        let active = InstanceFilter { state, cluster_id, ..InstanceFilter::default() };
        let page = Page { page: 1, per_page: PER_PAGE_WHOLE };
        let schedulers = self.db.list_instances(Kind::Scheduler, &active, page, now).await?.items;
        let seed_peers = self.db.list_instances(Kind::SeedPeer, &active, page, now).await?.items;
        let of = |kind: &str, all: &[Instance]| all.iter().map(|one| mark(kind, one.id, one.updated_at_ms)).collect();
        let marks: [Vec<String>; 2] = [of("scheduler", &schedulers), of("seed_peer", &seed_peers)];
        let told = once_per_url(schedulers.into_iter().filter(Instance::schedules).collect());
        Ok(Arc::new(Roster {
            marks: marks.concat(),
            schedulers: told.into_iter().map(|row| row.into_scheduler(now)).collect(),
            seed_peers: once_per_url(seed_peers).into_iter().filter_map(Instance::into_known_host).collect(),
        }))
    }

    /// A database that fails is told to whoever asks next, and not to those who wait.
    async fn look_for_all(&self) -> Infallible {
        let _turn = self.turn.lock().await;
        loop {
            let due = *self.looked.lock() + LOOK_EVERY;
            if Instant::now() < due {
                tokio::time::sleep_until(due).await;
            } else {
                self.changed().await;
            }
        }
    }
}

// === impl Roster ===

impl Roster {
    /// As [`Fleet::instances`].
    pub fn instances(&self) -> impl Iterator<Item = String> {
        self.marks.iter().cloned()
    }
}

// === impl Fleet ===

impl Fleet {
    /// The clusters that have a live scheduler.
    pub fn live(&self) -> BTreeSet<i64> {
        self.marks.iter().filter(|mark| mark.is_scheduler()).map(|mark| mark.cluster_id).collect()
    }

    /// Whose leases run in a cluster, as text that differs when they do.
    pub fn instances(&self, cluster_id: i64) -> impl Iterator<Item = String> {
        let own = self.marks.iter().filter(move |mark| mark.cluster_id == cluster_id && !mark.is_cluster());
        own.map(|one| mark(&one.kind, one.id, one.updated_at_ms))
    }
}

/// The last that came of those, since a host that got another name is that one.
fn once_per_url(mut instances: Vec<Instance>) -> Vec<Instance> {
    let last: HashMap<String, i64> = instances.iter().map(|one| (one.url.clone(), one.id)).collect();
    instances.retain(|one| last.get(&one.url) == Some(&one.id));
    instances
}

fn mark(kind: &str, id: i64, updated_at_ms: i64) -> String {
    format!("{kind} {id} {updated_at_ms}")
}

#[cfg(test)]
mod tests {
    use df_api::cluster::Place;
    use df_api::manager::{CreateClusterRequest, UpdateClusterRequest};

    use super::*;
    use crate::db::instances::{Kind, Lease};
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        a_fleet_is_the_same_until_something_of_it_changes,
        who_waits_sees_what_another_manager_has_changed,
    }

    async fn renew(db: &Db, until: i64) {
        let place = Place { hostname: "s1".to_owned(), ip: "10.0.0.1".to_owned(), ..Place::default() };
        let url = "http://10.0.0.1:8002";
        let now = now_ms();
        let lease = Lease { kind: Kind::Scheduler, place: &place, url, port: 8002, cluster_id: 1, now, until };
        db.renew_lease(&lease).await.unwrap();
    }

    async fn a_fleet_is_the_same_until_something_of_it_changes(scratch: Scratch) {
        let db = &scratch.db;
        let lookout = Lookout::new(db.clone(), 1);
        db.create_cluster(&CreateClusterRequest { name: "a".into(), ..Default::default() }, now_ms()).await.unwrap();
        let empty = lookout.look().await.unwrap();
        assert!(empty.live().is_empty() && Arc::ptr_eq(&empty, &lookout.look().await.unwrap()));

        renew(db, i64::MAX).await;
        let manned = lookout.look().await.unwrap();
        assert_eq!(manned.live(), BTreeSet::from([1]));
        let roster = lookout.roster(1, "any", &manned).await.unwrap();
        assert!(roster.instances().eq(manned.instances(1)), "what is seen and what is told have one version");
        assert_eq!(roster.instances().count(), 1);
        assert!(Arc::ptr_eq(&manned.clusters, &empty.clusters), "no cluster has changed");
        renew(db, i64::MAX - 1).await;
        assert!(Arc::ptr_eq(&manned, &lookout.look().await.unwrap()), "a renewal is no change");

        // Within the same millisecond, too.
        let change = UpdateClusterRequest { strict: Some(true), ..Default::default() };
        db.update_cluster(1, change, 0, |_| Ok(())).await.unwrap();
        assert!(lookout.look().await.unwrap().clusters[0].cluster.strict);
        renew(db, 0).await;
        let left = lookout.look().await.unwrap();
        assert!(left.live().is_empty(), "the lease has run out");
        let roster = lookout.roster(1, "any", &left).await.unwrap();
        assert_eq!(roster.instances().count(), 0, "what was read for another fleet is not told");
    }

    async fn until_waiting(lookout: &Lookout, waiting: usize) {
        let all_wait = async {
            while lookout.seen.receiver_count() < waiting {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all_wait).await.unwrap();
    }

    async fn who_waits_sees_what_another_manager_has_changed(scratch: Scratch) {
        let db = &scratch.db;
        let lookout = Arc::new(Lookout::new(db.clone(), 3));
        let known = lookout.look().await.unwrap();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (lookout, known) = (lookout.clone(), known.clone());
                tokio::spawn(async move { lookout.other_than(&known).await })
            })
            .collect();
        until_waiting(&lookout, 3).await;
        assert!(lookout.other_than(&known).await.is_none(), "there is room for three");
        // The first one's turn ends with it, and another goes on.
        waiting[0].abort();
        let other = scratch.second().await;
        other.create_cluster(&CreateClusterRequest { name: "a".into(), ..Default::default() }, now_ms()).await.unwrap();
        for seen in waiting.into_iter().skip(1) {
            assert_eq!(seen.await.unwrap().unwrap().clusters.len(), 1);
        }
    }
}
