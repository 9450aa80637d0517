//! What the clusters page knows about the fleet, and what follows from it. Pure: no page, no network.

use df_api::manager::{Cluster, InstanceState, Scheduler, Scopes, SeedPeer};

/// All clusters with who works for them, read together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    pub clusters: Vec<Cluster>,
    pub schedulers: Vec<Scheduler>,
    pub seed_peers: Vec<SeedPeer>,
}

/// How many hold a lease, of how many are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub active: usize,
    pub total: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    Active,
    /// A scheduler of it has lost its lease.
    Degraded,
    /// None has ever joined.
    Waiting,
}

pub const CLUSTER_STATES: [ClusterState; 3] = [ClusterState::Active, ClusterState::Degraded, ClusterState::Waiting];

/// One line under the cluster's name: who it takes.
pub fn scopes_line(cluster: &Cluster) -> String {
    let Scopes { idc, location, cidrs, hostnames } = &cluster.scopes;
    let mut parts = Vec::new();
    if !location.is_empty() {
        parts.push(location.clone());
    }
    if !idc.is_empty() {
        parts.push(if location.is_empty() { format!("IDC {idc}") } else { idc.clone() });
    }
    if !hostnames.is_empty() {
        parts.push(format!("hostnames {}", hostnames.join(", ")));
    }
    parts.extend(cidrs.iter().map(ToString::to_string));
    match (parts.is_empty(), cluster.is_default) {
        (false, _) => parts.join(" · "),
        (true, true) => "No scopes: takes every peer no other cluster claims".to_owned(),
        (true, false) => "No scopes: takes only peers configured for it".to_owned(),
    }
}

/// Name, ID or scope, letter case aside. An empty query matches everything.
pub fn matches(cluster: &Cluster, query: &str) -> bool {
    let query = query.trim().to_lowercase();
    let id = cluster.id.to_string();
    query.is_empty()
        || query == id
        || query == format!("id {id}")
        || [cluster.name.as_str(), &scopes_line(cluster)].iter().any(|text| text.to_lowercase().contains(&query))
}

// === impl Fleet ===

impl Fleet {
    pub fn cluster(&self, id: i64) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.id == id)
    }

    pub fn schedulers_of(&self, cluster: &Cluster) -> Count {
        let mine = self.schedulers.iter().filter(|one| one.scheduler_cluster_id == cluster.scheduler_cluster_id);
        Count::of(mine.map(|one| one.state))
    }

    pub fn seed_peers_of(&self, cluster: &Cluster) -> Count {
        let mine = self.seed_peers.iter().filter(|one| one.seed_peer_cluster_id == cluster.seed_peer_cluster_id);
        Count::of(mine.map(|one| one.state))
    }

    pub fn all_schedulers(&self) -> Count {
        Count::of(self.schedulers.iter().map(|one| one.state))
    }

    pub fn all_seed_peers(&self) -> Count {
        Count::of(self.seed_peers.iter().map(|one| one.state))
    }

    pub fn state_of(&self, cluster: &Cluster) -> ClusterState {
        match self.schedulers_of(cluster) {
            Count { total: 0, .. } => ClusterState::Waiting,
            Count { active, total } if active < total => ClusterState::Degraded,
            Count { .. } => ClusterState::Active,
        }
    }

    pub fn in_state(&self, state: ClusterState) -> usize {
        self.clusters.iter().filter(|cluster| self.state_of(cluster) == state).count()
    }
}

// === impl Count ===

impl Count {
    fn of(states: impl Iterator<Item = InstanceState>) -> Self {
        states.fold(Count::default(), |count, state| Count {
            active: count.active + usize::from(state == InstanceState::Active),
            total: count.total + 1,
        })
    }

    pub fn missing(self) -> usize {
        self.total - self.active
    }
}

// === impl ClusterState ===

impl ClusterState {
    /// The word of the domain.
    pub fn word(self) -> &'static str {
        match self {
            ClusterState::Active => "Active",
            ClusterState::Degraded => "Degraded",
            ClusterState::Waiting => "Waiting",
        }
    }

    /// What follows the word where there is room.
    pub fn more(self) -> Option<&'static str> {
        (self == ClusterState::Waiting).then_some(" for a scheduler")
    }

    /// What colour and icon are chosen by.
    pub fn kind(self) -> &'static str {
        match self {
            ClusterState::Active => "ok",
            ClusterState::Degraded => "warn",
            ClusterState::Waiting => "wait",
        }
    }

    /// As in the URL and in the filter.
    pub fn key(self) -> &'static str {
        match self {
            ClusterState::Active => "active",
            ClusterState::Degraded => "degraded",
            ClusterState::Waiting => "waiting",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = "1970-01-01T00:00:00Z";

    fn cluster(id: i64, scopes: serde_json::Value) -> Cluster {
        let config = serde_json::json!({});
        serde_json::from_value(serde_json::json!({
            "id": id, "name": format!("cluster-{id}"), "bio": "", "scopes": scopes,
            "scheduler_cluster_id": id, "seed_peer_cluster_id": id,
            "scheduler_cluster_config": config, "seed_peer_cluster_config": config, "peer_cluster_config": config,
            "is_default": id == 1, "strict": false, "created_at": EPOCH, "updated_at": EPOCH,
        }))
        .unwrap()
    }

    fn scheduler(cluster: i64, state: &str) -> Scheduler {
        serde_json::from_value(serde_json::json!({
            "id": 1, "host_name": "s", "ip": "10.0.0.1", "port": 8002, "url": "http://10.0.0.1:8002", "idc": "",
            "location": "", "state": state, "features": [], "scheduler_cluster_id": cluster,
            "last_keep_alive_at": EPOCH, "created_at": EPOCH, "updated_at": EPOCH,
        }))
        .unwrap()
    }

    #[test]
    fn a_cluster_waits_until_a_scheduler_has_joined_and_is_degraded_when_one_falls_silent() {
        let mut fleet = Fleet { clusters: vec![cluster(1, serde_json::json!({}))], ..Fleet::default() };
        let state = |fleet: &Fleet| fleet.state_of(&fleet.clusters[0]);
        assert_eq!(state(&fleet), ClusterState::Waiting);
        fleet.schedulers = vec![scheduler(2, "active")];
        assert_eq!(state(&fleet), ClusterState::Waiting, "another cluster's scheduler does not count");
        fleet.schedulers = vec![scheduler(1, "active")];
        assert_eq!(state(&fleet), ClusterState::Active);
        fleet.schedulers.push(scheduler(1, "inactive"));
        assert_eq!(state(&fleet), ClusterState::Degraded);
        assert_eq!(fleet.all_schedulers(), Count { active: 1, total: 2 });
    }

    #[test]
    fn the_scopes_line_says_who_is_taken_in_the_order_of_the_design() {
        let line = |id, scopes| scopes_line(&cluster(id, scopes));
        assert_eq!(line(1, serde_json::json!({})), "No scopes: takes every peer no other cluster claims");
        assert_eq!(line(2, serde_json::json!({"idc": "cluster-2"})), "IDC cluster-2");
        let all = serde_json::json!({"location": "eu|de", "idc": "fra1|fra2", "cidrs": ["10.20.0.0/14"]});
        assert_eq!(line(3, all), "eu|de · fra1|fra2 · 10.20.0.0/14");
        let edge = serde_json::json!({"hostnames": ["^pos-[0-9]+"], "cidrs": ["172.20.0.0/16"]});
        assert_eq!(line(6, edge), "hostnames ^pos-[0-9]+ · 172.20.0.0/16");
    }

    #[test]
    fn a_search_finds_names_ids_and_scopes() {
        let one = cluster(12, serde_json::json!({"idc": "FRA1"}));
        for query in ["", " CLUSTER ", "12", "id 12", "fra1"] {
            assert!(matches(&one, query), "{query}");
        }
        for query in ["13", "id 1", "sin"] {
            assert!(!matches(&one, query), "{query}");
        }
    }
}
