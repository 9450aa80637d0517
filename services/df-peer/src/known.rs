//! What this host knows of its cluster, for when nobody can be asked: the hosts that schedulers have told of, in memory,
//! and on disk together with schedulers and membership, so that a node that starts in an outage still belongs.
//!
//! **Invariants.** Hosts of one cluster never pass for those of another. The file is its owner's alone (0600): the
//! credential in it opens the cluster for days.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use df_api::cluster::Membership;
use df_api::rendezvous::weight;
use df_api::scheduler::{HOSTS_TOLD_MAX, KnownHost, Parent, ParentRole};
use df_api::{HostId, TaskId};
use df_http::credential::{Gate, verify};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::peer::{Peer, PeerConfig};

/// Of those that schedulers no longer tell of, too.
const HOSTS_MAX: usize = 2 * HOSTS_TOLD_MAX;
/// A scheduler that has just started knows few; whom it does not tell of is kept for so long.
const UNTOLD_KEPT: Duration = Duration::from_secs(600);

/// Shared by announcing, which fills it, and downloads without a scheduler.
pub(crate) struct Known {
    path: PathBuf,
    /// The cluster of the last membership of an earlier process.
    former_cluster: Option<i64>,
    hosts: Mutex<Hosts>,
    /// Of the last discovery, and of its cluster.
    seeds: Mutex<(Option<i64>, Vec<KnownHost>)>,
    changed: Notify,
    /// Its bytes as last written.
    written: Mutex<Vec<u8>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hosts {
    /// `None` without a manager.
    cluster_id: Option<i64>,
    hosts: Vec<Acquaintance>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acquaintance {
    host: KnownHost,
    /// Seconds since 1970 when a list came without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untold_since_s: Option<u64>,
}

/// What is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// The settings under which it was true.
    pub settings: String,
    /// The last cluster, whatever has become of the settings and the credential: while no scheduler of it is alive, who
    /// does not say that it is a member would be passed on to another one.
    member_of: Option<i64>,
    pub membership: Option<Membership>,
    pub schedulers: Vec<String>,
    hosts: Hosts,
}

// === impl Known ===

impl Known {
    /// With what was known at the end of an earlier process, if it had the same settings. What cannot be read is no loss.
    pub fn open(dir: &Path, settings: &str) -> (Self, Option<Memory>) {
        let path = dir.join("cluster.json");
        let memory = match fs::read(&path).map(|bytes| serde_json::from_slice::<Memory>(&bytes)) {
            Ok(Ok(memory)) => Some(memory),
            Ok(Err(error)) => {
                tracing::warn!(%error, path = %path.display(), "what was known of the cluster cannot be read");
                None
            }
            Err(_) => None,
        };
        let former_cluster = memory.as_ref().and_then(|memory| memory.member_of);
        let memory = memory.filter(|memory| memory.settings == settings);
        let hosts = memory.as_ref().map(|memory| memory.hosts.clone()).unwrap_or_default();
        let (seeds, changed, written) = (Mutex::default(), Notify::new(), Mutex::default());
        (Self { path, former_cluster, hosts: Mutex::new(hosts), seeds, changed, written }, memory)
    }

    /// A scheduler's list, of the cluster that this host is in now.
    pub fn tell(&self, cluster_id: Option<i64>, told: Vec<KnownHost>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.hosts.lock().tell(cluster_id, told, now);
        self.note_change();
    }

    /// Seed peers of the cluster, as the manager knows them.
    pub fn set_seeds(&self, cluster_id: Option<i64>, seeds: Vec<KnownHost>) {
        *self.seeds.lock() = (cluster_id, seeds);
        self.note_change();
    }

    /// Each once, in no order. A seed peer is one even where a scheduler has not heard of it yet.
    pub fn hosts(&self, cluster_id: Option<i64>) -> Vec<KnownHost> {
        let (of, mut all) = self.seeds.lock().clone();
        if of != cluster_id {
            all.clear();
        }
        let hosts = self.hosts.lock();
        if hosts.cluster_id == cluster_id {
            let told = hosts.hosts.iter().map(|known| &known.host);
            let others: Vec<_> = told.filter(|host| all.iter().all(|seed| seed.id != host.id)).cloned().collect();
            all.extend(others);
        }
        all
    }

    /// Something that is kept may be different now.
    pub fn note_change(&self) {
        self.changed.notify_one();
    }

    pub async fn changes(&self) {
        self.changed.notified().await;
    }

    /// As [`Known::changes`], for who does not wait.
    pub fn has_changed(&self) -> bool {
        self.changed.notified().now_or_never().is_some()
    }

    /// Keeps it all, if there is anything new. Blocks.
    pub fn write(&self, settings: &str, membership: Option<&Membership>, schedulers: Vec<String>) -> io::Result<()> {
        let (settings, membership) = (settings.to_owned(), membership.cloned());
        let member_of = membership.as_ref().map(|membership| membership.cluster_id).or(self.former_cluster);
        let memory = Memory { settings, member_of, membership, schedulers, hosts: self.hosts.lock().clone() };
        let bytes = serde_json::to_vec_pretty(&memory)?;
        let mut written = self.written.lock();
        if *written == bytes {
            return Ok(());
        }
        replace(&self.path, &bytes)?;
        *written = bytes;
        Ok(())
    }
}

/// All of it or nothing, and readable for its owner only.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    fs::rename(new, path)
}

// === impl Hosts ===

impl Hosts {
    fn tell(&mut self, cluster_id: Option<i64>, mut told: Vec<KnownHost>, now: Duration) {
        if self.cluster_id != cluster_id {
            *self = Self { cluster_id, hosts: Vec::new() };
        }
        told.truncate(HOSTS_TOLD_MAX);
        let before = std::mem::take(&mut self.hosts);
        let untold = before.into_iter().filter(|known| told.iter().all(|host| host.id != known.host.id));
        let untold = untold.filter_map(|known| {
            let since_s = known.untold_since_s.unwrap_or(now.as_secs());
            let kept = now.as_secs().saturating_sub(since_s) < UNTOLD_KEPT.as_secs();
            kept.then_some(Acquaintance { untold_since_s: Some(since_s), ..known })
        });
        let mut untold: Vec<_> = untold.collect();
        self.hosts = told.into_iter().map(|host| Acquaintance { host, untold_since_s: None }).collect();
        untold.sort_by_key(|known| std::cmp::Reverse(known.untold_since_s));
        self.hosts.extend(untold);
        self.hosts.truncate(HOSTS_MAX);
    }
}

// === impl Peer ===

impl Peer {
    fn cluster_id(&self) -> Option<i64> {
        self.gate().membership().map(|membership| membership.cluster_id)
    }

    /// The cluster that it is a member of, or was before it was restarted.
    pub(crate) fn member_of(&self) -> Option<i64> {
        self.cluster_id().or(self.known().former_cluster)
    }

    /// A scheduler has told of them.
    pub(crate) fn meet(&self, hosts: Vec<KnownHost>) {
        self.known().tell(self.cluster_id(), hosts);
    }

    /// Of this cluster, in no order.
    pub fn known_hosts(&self) -> Vec<KnownHost> {
        self.known().hosts(self.cluster_id())
    }

    pub(crate) fn is_seed(&self, id: &HostId) -> bool {
        self.known_hosts().iter().any(|host| host.seed && host.id == *id)
    }

    /// The seed peer that a task belongs to. `None` when this host knows of none, or is one itself.
    pub(crate) fn seed_of(&self, task: &TaskId) -> Option<Parent> {
        if self.config().seed_peer_cluster_id.is_some() {
            return None;
        }
        let seeds = self.known_hosts().into_iter().filter(|host| host.seed);
        seeds.max_by_key(|seed| weight(task, &seed.id)).as_ref().map(as_parent)
    }

    /// Keeps the cluster as it is known now for the next start. Blocks.
    pub(crate) fn keep_known(&self) -> io::Result<()> {
        let membership = self.gate().membership();
        self.known().write(&settings(self.config()), membership.as_deref(), self.schedulers().urls())
    }
}

/// What is left of an earlier process, if it still is right: a credential lives for days. Besides the schedulers.
pub(crate) fn recall(config: &PeerConfig, gate: &Gate) -> (Known, Vec<String>) {
    let (known, memory) = Known::open(&config.storage_dir, &settings(config));
    let (membership, mut schedulers) = memory.map(|memory| (memory.membership, memory.schedulers)).unwrap_or_default();
    if let Some(membership) = membership
        && verify(&membership.credential, &membership.jwks, membership.cluster_id).is_ok()
    {
        gate.admit(membership);
    }
    if !config.schedulers.is_empty() {
        schedulers.clone_from(&config.schedulers);
    }
    (known, schedulers)
}

/// Of which the cluster of a host is a consequence.
fn settings(config: &PeerConfig) -> String {
    let PeerConfig { manager_url, scheduler_cluster_id, seed_peer_cluster_id, place, schedulers, .. } = config;
    format!("{manager_url:?} {scheduler_cluster_id:?} {seed_peer_cluster_id:?} {place:?} {schedulers:?}")
}

/// To read from, in the name that hosts give to their part in a task.
pub(crate) fn as_parent(KnownHost { id, url, seed, .. }: &KnownHost) -> Parent {
    Parent {
        peer_id: id.peer(),
        host_id: id.clone(),
        url: url.clone(),
        seed: *seed,
        role: ParentRole::Reserve,
        slot: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use df_api::cluster::Jwks;

    use super::*;

    fn host(name: &str) -> KnownHost {
        KnownHost { id: name.parse().unwrap(), url: format!("http://{name}:1"), seed: false }
    }

    fn names(hosts: &Hosts) -> Vec<&str> {
        hosts.hosts.iter().map(|known| known.host.id.as_str()).collect()
    }

    #[test]
    fn whom_a_scheduler_no_longer_tells_of_is_kept_for_a_while() {
        let at = Duration::from_secs;
        let mut hosts = Hosts::default();
        hosts.tell(Some(1), vec![host("a"), host("b")], at(0));
        hosts.tell(Some(1), vec![host("c")], at(1000));
        assert_eq!(names(&hosts), ["c", "a", "b"]);
        hosts.tell(Some(1), vec![host("c"), host("b")], at(1500));
        assert_eq!(names(&hosts), ["c", "b", "a"]);
        hosts.tell(Some(1), vec![host("c")], at(1600));
        assert_eq!(names(&hosts), ["c", "b"], "a has not been told of for ten minutes");
        let many = |letter: &str| (0..1000).map(|i| host(&format!("{letter}-{i}"))).collect();
        hosts.tell(Some(1), many("x"), at(1601));
        hosts.tell(Some(1), many("y"), at(1602));
        assert_eq!(hosts.hosts.len(), HOSTS_MAX);
    }

    #[test]
    fn a_seed_peer_that_manager_and_scheduler_tell_of_is_one_host() {
        let known = Known::open(Path::new("/nowhere"), "").0;
        let seed = KnownHost { seed: true, ..host("seed") };
        known.tell(Some(1), vec![seed.clone(), host("a")]);
        known.set_seeds(Some(1), vec![seed.clone()]);
        assert_eq!(known.hosts(Some(1)), [seed.clone(), host("a")]);
        known.tell(Some(1), vec![host("seed"), host("a")]);
        assert_eq!(known.hosts(Some(1)), [seed, host("a")], "what it is, the manager says");
    }

    #[test]
    fn another_cluster_begins_with_nobody() {
        let known = Known::open(Path::new("/nowhere"), "").0;
        known.tell(Some(1), vec![host("a")]);
        known.set_seeds(Some(1), vec![host("seed")]);
        assert!(known.hosts(Some(2)).is_empty() && known.hosts(None).is_empty());
        known.tell(Some(2), vec![host("b")]);
        assert_eq!(known.hosts(Some(2)), [host("b")]);
        assert_eq!(known.hosts(Some(1)), [host("seed")]);
    }

    #[test]
    fn what_was_known_is_known_again_under_the_same_settings_only() {
        let dir = tempfile::tempdir().unwrap();
        let (known, memory) = Known::open(dir.path(), "here");
        assert!(memory.is_none());
        known.tell(Some(1), vec![host("a")]);
        let (credential, jwks) = ("secret".to_owned(), Jwks::default());
        let membership = Membership { cluster_id: 1, cluster_name: "one".to_owned(), credential, jwks };
        known.write("here", Some(&membership), vec!["http://s:1".to_owned()]).unwrap();
        let mode = fs::metadata(dir.path().join("cluster.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (again, memory) = Known::open(dir.path(), "here");
        let memory = memory.unwrap();
        assert_eq!((memory.membership, memory.schedulers), (Some(membership), vec!["http://s:1".to_owned()]));
        assert_eq!(again.hosts(Some(1)), [host("a")]);
        let (elsewhere, memory) = Known::open(dir.path(), "elsewhere");
        assert!(memory.is_none() && elsewhere.hosts(Some(1)).is_empty());
    }

    #[test]
    fn the_last_cluster_outlives_settings_and_credential() {
        let dir = tempfile::tempdir().unwrap();
        let membership = |cluster_id| {
            let (cluster_name, credential, jwks) = (String::new(), String::new(), Jwks::default());
            Membership { cluster_id, cluster_name, credential, jwks }
        };
        let after = |settings: &str, member: Option<i64>| {
            let known = Known::open(dir.path(), settings).0;
            known.write(settings, member.map(membership).as_ref(), Vec::new()).unwrap();
            Known::open(dir.path(), "new settings").0.former_cluster
        };
        assert_eq!(after("here", Some(2)), Some(2));
        assert_eq!(after("elsewhere", None), Some(2), "it has not been told yet that it is another");
        assert_eq!(after("elsewhere", Some(1)), Some(1));
    }
}
