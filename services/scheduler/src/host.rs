//! The hosts of the cluster: who is alive, who is a seed, who serves how many.
//!
//! **Invariants.** At one address there is one host that gives something. `children` counts exactly the peers, over all tasks, whose last answer names the host, other than in reserve.

use std::collections::BTreeSet;
use std::ops::Bound;

use df_api::scheduler::{Duty, HostReport, Work};
use df_api::{HostId, TaskId};
use serde::{Deserialize, Serialize};

use crate::maps::Map;
use crate::task::Sources;

/// A host that has announced itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// As last reported; `tasks` and `duties_taken` are moved out of it.
    pub report: HostReport,
    /// It has told what it holds since this scheduler runs.
    pub told_tasks: bool,
    /// It has been answered, and whether there are rules: the first answer is not held back, because it says whom to know.
    pub told_rules: Option<bool>,
    /// Whole tasks on its disk, as it told.
    pub held: BTreeSet<TaskId>,
    /// Not acknowledged yet; sent with every answer until they are.
    pub duties: Vec<Duty>,
    pub expires_ms: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hosts {
    pub announced: Map<HostId, Host>,
    seeds: BTreeSet<HostId>,
    /// Who is reached where, of those that give anything.
    urls: Map<String, HostId>,
    children: Map<HostId, u32>,
}

// === impl Hosts ===

impl Hosts {
    pub fn live(&self, id: &HostId, now_ms: u64) -> Option<&Host> {
        self.announced.get(id).filter(|host| host.expires_ms > now_ms)
    }

    /// In the order of their ids.
    pub fn live_seeds(&self, now_ms: u64) -> impl Iterator<Item = (&HostId, &Host)> {
        self.seeds.iter().filter_map(move |id| Some((id, self.live(id, now_ms)?)))
    }

    /// In the order of their ids, from somebody on: each begins with others.
    pub fn live_seeds_near(&self, id: &HostId, now_ms: u64) -> impl Iterator<Item = &HostId> {
        let after = self.seeds.range((Bound::Excluded(id.clone()), Bound::Unbounded));
        let all = after.chain(self.seeds.range(..id.clone()));
        all.filter(move |id| self.live(id, now_ms).is_some())
    }

    pub fn is_seed(&self, id: &HostId) -> bool {
        self.seeds.contains(id)
    }

    /// Peers that were told to read from this host.
    pub fn children(&self, id: &HostId) -> u32 {
        self.children.get(id).copied().unwrap_or(0)
    }

    pub fn insert(&mut self, id: HostId, host: Host) {
        if host.report.seed {
            self.seeds.insert(id.clone());
        }
        if !host.report.sharing_off {
            self.urls.insert(host.report.url.clone(), id.clone());
        }
        self.announced.insert(id, host);
    }

    pub fn remove(&mut self, id: &HostId) -> Option<Host> {
        self.seeds.remove(id);
        let host = self.announced.remove(id)?;
        if self.urls.get(&host.report.url) == Some(id) {
            self.urls.remove(&host.report.url);
        }
        Some(host)
    }

    /// Whom others reach at this address.
    pub fn at(&self, url: &str) -> Option<&HostId> {
        self.urls.get(url)
    }

    pub fn drop_duties_of(&mut self, id: &HostId, task: &TaskId) {
        if let Some(host) = self.announced.get_mut(id) {
            host.duties.retain(|duty| !matches!(&duty.work, Work::Fetch(fetched) if fetched.id == *task));
        }
    }

    /// A peer reads from `new` instead of `old`.
    pub fn move_child(&mut self, old: Option<&Sources>, new: Option<&Sources>) {
        for id in new.into_iter().flat_map(Sources::serving) {
            *self.children.entry(id.clone()).or_default() += 1;
        }
        for id in old.into_iter().flat_map(Sources::serving) {
            if let Some(count) = self.children.get_mut(id) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.children.remove(id);
                }
            }
        }
    }
}
