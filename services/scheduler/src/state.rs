//! What the scheduler knows, and how reports change it. Plain data and a clock passed in: no lock, no I/O.
//!
//! **Invariant.** Everything here is rebuilt from reports: a state that has just been made knows everything again when
//! each host and each running peer has reported once.

mod expire;
pub mod orders;

use std::collections::BTreeSet;

use df_api::scheduler::{
    DemotionReason, Duty, HeldTask, HostReport, PeerReport, PeerState, RestReason, TaskFacts, Work,
};
use df_api::task::TaskSpec;
use df_api::{HostId, TaskId};
use serde::{Deserialize, Serialize};

use self::orders::Orders;
use crate::directory::Directory;
use crate::event::Settings;
use crate::host::{Host, Hosts};
use crate::left::Left;
use crate::maps::{Map, SteadyMap};
use crate::pace::Pace;
use crate::policy::{HOSTS_MAX, PEERS_MAX, Policy, TASKS_MAX};
use crate::rules::{Forbidden, Rules};
use crate::select::{Effect, Selection, View, select};
use crate::task::{Demotion, Lease, Peer, Rest, Task};

#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub policy: Policy,
    pub rules: Rules,
    pub hosts: Hosts,
    pub directory: Directory,
    pub tasks: SteadyMap<TaskId, Task>,
    /// Tasks in which a host has a peer, or which it holds; also of hosts that have not announced themselves yet.
    parts: Map<HostId, BTreeSet<TaskId>>,
    left: Left,
    /// What jobs have ordered of hosts.
    pub orders: Orders,
    next_seat: u64,
    next_duty: u64,
    first_row: u64,
    expired_ms: u64,
    next_expiry_ms: u64,
    #[serde(skip)]
    rings: Vec<Ring>,
}

/// Who should be asked again because of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring {
    Host(HostId),
    /// Everybody with a part in it.
    Task(TaskId),
    Peer(TaskId, HostId),
    AllTasks,
    /// Who looks after jobs.
    Orders,
}

/// What a report cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this scheduler keeps at most {TASKS_MAX} tasks; try again later, or read from the origin")]
    Tasks,
    #[error("this scheduler keeps at most {PEERS_MAX} peers of a task; try again later, or read from the origin")]
    Peers,
    #[error("this scheduler keeps at most {HOSTS_MAX} hosts")]
    Hosts,
    #[error("url {url:?} is where host {by} is reached, until it leaves or its lease ends")]
    Taken { url: String, by: HostId },
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

// === impl State ===

impl State {
    /// `first` must be above every number that an earlier scheduler gave: hosts remember duties they took, peers their rows.
    pub fn new(policy: Policy, first: u64) -> Self {
        Self {
            policy,
            rules: Rules::default(),
            hosts: Hosts::default(),
            directory: Directory::new(first),
            tasks: SteadyMap::default(),
            parts: Map::default(),
            left: Left::default(),
            orders: Orders::new(),
            next_seat: 1,
            next_duty: first,
            first_row: first,
            expired_ms: 0,
            next_expiry_ms: u64::MAX,
            rings: Vec::new(),
        }
    }

    pub fn take_rings(&mut self) -> Vec<Ring> {
        std::mem::take(&mut self.rings)
    }

    /// Hosts are told at once whether there are rules; who is at something that they forbid, with its next report. What
    /// cannot be compiled leaves the former rules in force.
    pub fn follow(&mut self, settings: Settings) {
        self.policy = settings.policy;
        if *self.rules.set() == settings.rules {
            return;
        }
        match Rules::compile(settings.rules, self.rules.version + 1) {
            Ok(rules) => self.rules = rules,
            Err(error) => return tracing::error!(%error, "the rules of the cluster are not followed"),
        }
        self.rings.extend(self.hosts.announced.keys().cloned().map(Ring::Host));
    }

    pub fn is_following(&self, settings: &Settings) -> bool {
        self.policy == settings.policy && *self.rules.set() == settings.rules
    }

    // --- hosts ---

    /// A report that is older than what is known changes nothing.
    pub fn report_host(&mut self, now_ms: u64, id: &HostId, mut report: HostReport) -> Result<(), Refused> {
        let known = self.hosts.announced.get(id);
        if known.is_some_and(|host| host.report.seq > report.seq) || self.left.is_late(now_ms, id, None, report.seq) {
            return Ok(());
        }
        if let Some(by) = self.hosts.at(&report.url).filter(|by| *by != id) {
            return Err(Refused::Taken { url: report.url, by: by.clone() });
        }
        let (tasks, taken) = (report.tasks.take(), std::mem::take(&mut report.duties_taken));
        if known.is_none() && self.hosts.announced.len() >= HOSTS_MAX {
            return Err(Refused::Hosts);
        }
        let former = self.hosts.remove(id);
        let part = |report: &HostReport| {
            (report.seed, report.sharing_off, report.storing, report.url.clone(), report.place.idc.clone())
        };
        let changed = former.as_ref().is_none_or(|host| part(&host.report) != part(&report));
        let (seed, shares) = (report.seed, !report.sharing_off && report.storing);
        let expires_ms = now_ms + self.policy.host_lease_ms;
        self.directory.follow(id, &report);
        let mut host = match former {
            Some(host) => Host { report, expires_ms, ..host },
            None => Host {
                report,
                told_tasks: false,
                told_rules: None,
                held: BTreeSet::new(),
                duties: Vec::new(),
                expires_ms,
            },
        };
        host.duties.retain(|duty| !taken.contains(&duty.id));
        host.told_tasks |= tasks.is_some();
        self.hosts.insert(id.clone(), host);
        if let Some(tasks) = tasks {
            self.replace_held(id, tasks);
        }
        if changed && !shares {
            self.leave_rows(id);
        }
        match changed {
            true if seed => self.rings.push(Ring::AllTasks),
            true => self.ring_parts(id),
            false => {}
        }
        Ok(())
    }

    /// With the number of its farewell, unless it has said something since.
    pub fn end_host(&mut self, now_ms: u64, id: &HostId, seq: u64) {
        if self.hosts.announced.get(id).is_none_or(|host| host.report.seq <= seq) {
            self.delete_host(id);
            self.left.note(now_ms, id, None, seq);
        }
    }

    pub fn delete_host(&mut self, id: &HostId) {
        self.rings.push(Ring::Host(id.clone()));
        self.hosts.remove(id);
        self.directory.remove(id);
        self.drop_orders_of(id);
        for task in self.parts.get(id).cloned().unwrap_or_default() {
            self.delete_peer(&task, id);
        }
    }

    fn replace_held(&mut self, id: &HostId, tasks: Vec<HeldTask>) {
        let Some(host) = self.hosts.announced.get_mut(id) else { return };
        let seq = host.report.seq;
        let former = std::mem::take(&mut host.held);
        let mut held = BTreeSet::new();
        for HeldTask { id: task_id, length, piece_length, imported } in tasks {
            let Ok(task) = task_entry(&mut self.tasks, &task_id, self.first_row) else { break };
            // Its own peer knows better: it is fetching again what the host had, or could not.
            if task.peers.get(id).is_some_and(|peer| peer.report.state != PeerState::Complete) {
                continue;
            }
            task.facts.length.get_or_insert(length);
            task.facts.piece_length.get_or_insert(piece_length);
            task.imported |= imported;
            if task.add_whole(id) {
                self.rings.push(Ring::Task(task_id.clone()));
            }
            self.parts.entry(id.clone()).or_default().insert(task_id.clone());
            held.insert(task_id);
        }
        // Also what its peer had completed before this list was made.
        let completed = self.parts.get(id).into_iter().flatten().filter(|task_id| {
            let peer = self.tasks.get(*task_id).and_then(|task| task.peers.get(id));
            peer.is_some_and(|peer| peer.report.state == PeerState::Complete && peer.report.seq < seq)
        });
        let gone: BTreeSet<TaskId> = former.iter().chain(completed).filter(|id| !held.contains(*id)).cloned().collect();
        for gone in &gone {
            self.delete_peer(gone, id);
        }
        if let Some(host) = self.hosts.announced.get_mut(id) {
            host.held = held;
        }
    }

    // --- peers ---

    /// A report that is older than what is known changes nothing.
    pub fn report_peer(&mut self, now_ms: u64, id: &TaskId, host: &HostId, report: PeerReport) -> Result<(), Refused> {
        let known = self.tasks.get(id).and_then(|task| task.peers.get(host));
        let late = known.is_some_and(|peer| peer.report.seq > report.seq);
        if late || self.left.is_late(now_ms, host, Some(id), report.seq) {
            return Ok(());
        }
        let admission = self.admit(id, host, &report)?;
        let task = task_entry(&mut self.tasks, id, self.first_row)?;
        if !task.peers.contains_key(host) && task.peers.len() >= PEERS_MAX {
            return Err(Refused::Peers);
        }
        let seed = self.hosts.is_seed(host);
        let mut ring = learn(task, host, &report) | follow_lease(task, now_ms, host, &report);
        ring |= match task.peers.get(host) {
            // A newcomer is nobody's parent, unless it comes from the origin's side.
            None => report.at_origin || seed,
            Some(former) => former.report.at_origin != report.at_origin,
        };
        // One more whole copy is news while there are few; the rest find it when they report.
        let scarce = task.whole().len() < self.policy.candidate_parent_limit;
        ring |= report.state == PeerState::Complete && scarce && !task.whole().contains(host);
        if report.state == PeerState::Failed && seed {
            let rest = Rest { until_ms: now_ms + self.policy.rest_ms, why: RestReason::Failed };
            task.resting.insert(host.clone(), rest);
        }
        let concerned = follow_whole(task, host, report.state);
        ring |= concerned.is_none();
        let announced = self.hosts.announced.get_mut(host);
        if let Some(announced) = announced.filter(|_| report.state != PeerState::Complete) {
            announced.held.remove(id);
        }
        task.complaints.replace(host, task.peers.get(host).map(|peer| &peer.report), Some(&report), now_ms);
        match task.peers.get_mut(host) {
            Some(peer) => {
                peer.pace.follow(now_ms, &report);
                (peer.report, peer.seen_ms, peer.admission) = (report, now_ms, admission);
            }
            None => {
                let (pace, seat) = (Pace::start(now_ms, &report), self.next_seat);
                let peer = Peer { seat, report, joined_ms: now_ms, seen_ms: now_ms, pace, admission, told: None };
                join(task, host, peer);
                self.next_seat += 1;
                self.parts.entry(host.clone()).or_default().insert(id.clone());
            }
        }
        let hosts = &self.hosts.announced;
        let links = task.peers.keys().filter_map(|id| hosts.get(id)?.report.sent_bytes_per_s_max);
        task.reference.follow(now_ms, links);
        let running = task.peers.values().filter(|peer| peer.is_running()).map(|peer| peer.pace);
        task.median.follow(now_ms, running);
        if let Some(peer) = task.peers.get_mut(host).filter(|peer| !peer.is_running()) {
            self.hosts.move_child(peer.told.take().as_ref(), None);
        }
        self.hosts.drop_duties_of(host, id);
        self.ring_peers(id, concerned.into_iter().flatten());
        if ring {
            self.rings.push(Ring::Task(id.clone()));
        }
        Ok(())
    }

    /// With the number of its farewell, unless it has said something since.
    pub fn end_peer(&mut self, now_ms: u64, id: &TaskId, host: &HostId, seq: u64) {
        let peer = self.tasks.get(id).and_then(|task| task.peers.get(host));
        if peer.is_none_or(|peer| peer.report.seq <= seq) {
            self.delete_peer(id, host);
            self.left.note(now_ms, host, Some(id), seq);
        }
    }

    /// The peer leaves the task, and no longer has it.
    pub fn delete_peer(&mut self, id: &TaskId, host: &HostId) {
        if let Some(parts) = self.parts.get_mut(host) {
            parts.remove(id);
            if parts.is_empty() {
                self.parts.remove(host);
            }
        }
        if let Some(host) = self.hosts.announced.get_mut(host) {
            host.held.remove(id);
        }
        let Some(task) = self.tasks.get_mut(id) else { return };
        let lease = task.lease.take_if(|lease| lease.holder == *host);
        let apart = task.table().place(host).is_none() && task.drop_whole(host);
        let concerned = task.leave_row(host);
        task.drop_whole(host);
        task.demoted.remove(host);
        if let Some(peer) = task.peers.swap_remove(host) {
            task.complaints.replace(host, Some(&peer.report), None, 0);
            self.hosts.move_child(peer.told.as_ref(), None);
        }
        // Somebody may have to go to the origin, or look for another holder.
        let ring = lease.is_some() || apart || task.whole().is_empty();
        if task.peers.is_empty() && task.whole().is_empty() {
            self.tasks.swap_remove(id);
        }
        self.hosts.drop_duties_of(host, id);
        self.ring_peers(id, concerned.into_iter().chain([host.clone()]));
        if ring {
            self.rings.push(Ring::Task(id.clone()));
        }
    }

    /// What would be decided for a peer. `None` when it has left.
    pub fn select(&self, now_ms: u64, id: &TaskId, asker: &HostId) -> Option<Selection> {
        let task = self.tasks.get(id).filter(|task| task.peers.contains_key(asker))?;
        Some(select(View { now_ms, task, hosts: &self.hosts, policy: &self.policy }, asker))
    }

    /// Decides for a peer, applies what follows, and remembers the answer. `None` when it has left.
    pub fn decide(&mut self, now_ms: u64, id: &TaskId, asker: &HostId) -> Option<Selection> {
        let selection = self.select(now_ms, id, asker)?;
        for effect in &selection.effects {
            self.apply(now_ms, id, asker, effect);
        }
        let told = selection.verdict.sources();
        let peer = self.tasks.get_mut(id)?.peers.get_mut(asker)?;
        if peer.told.as_ref() != told {
            self.hosts.move_child(peer.told.as_ref(), told);
            peer.told = told.cloned();
        }
        Some(selection)
    }

    fn apply(&mut self, now_ms: u64, id: &TaskId, asker: &HostId, effect: &Effect) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let concerned = match effect {
            Effect::Revoke { holder } => {
                let rest = Rest { until_ms: now_ms + self.policy.rest_ms, why: RestReason::Stalled };
                task.resting.insert(holder.clone(), rest);
                task.lease = None;
                self.hosts.drop_duties_of(holder, id);
                tracing::info!(task = %id, %holder, "the right to the origin is taken away");
                None
            }
            Effect::Release => {
                task.lease = None;
                None
            }
            Effect::Grant { holder, duty } => {
                task.lease =
                    Some(Lease { holder: holder.clone(), granted_ms: now_ms, moved_ms: now_ms, duty_pending: *duty });
                // It reads from the origin now, and serves the first row.
                let concerned = task.leave_row(holder);
                if let Some(peer) = task.peers.get_mut(holder) {
                    self.hosts.move_child(peer.told.take().as_ref(), None);
                }
                self.parts.entry(holder.clone()).or_default().insert(id.clone());
                let spec = task.peers.get(asker).filter(|_| *duty).map(|asker| spec_for_seed(task, asker));
                if let (Some(task), Some(host)) = (spec, self.hosts.announced.get_mut(holder)) {
                    host.duties.push(Duty { id: self.next_duty, work: Work::Fetch(Box::new(task)) });
                    self.next_duty += 1;
                    self.rings.push(Ring::Host(holder.clone()));
                }
                tracing::debug!(task = %id, %holder, %asker, duty, "the right to the origin is given");
                self.ring_peers(id, concerned);
                None
            }
            Effect::Demote { host, why } => {
                tracing::info!(task = %id, %host, ?why, "slow: from now on it only reads");
                task.demoted.insert(host.clone(), Demotion { at_ms: now_ms, why: *why });
                Some(task.leave_row(host).into_iter().chain([host.clone()]).collect())
            }
            Effect::Leave { host } => Some(task.leave_row(host).into_iter().chain([host.clone()]).collect()),
            Effect::Take { place, width, idc } => Some(task.take_slot(asker, *place, *width, idc)),
            Effect::Read { row } => Some(task.read_row(asker, *row)),
        };
        match concerned {
            // The right to the origin concerns all who wait, and all who read from its holder.
            None => self.rings.push(Ring::Task(id.clone())),
            Some(concerned) => self.ring_peers(id, concerned.into_iter().filter(|host| host != asker)),
        }
    }

    /// A host that shares nothing is nobody's relay.
    fn leave_rows(&mut self, host: &HostId) {
        for id in self.parts.get(host).cloned().unwrap_or_default() {
            let concerned = self.tasks.get_mut(&id).map(|task| task.leave_row(host));
            self.ring_peers(&id, concerned.into_iter().flatten());
        }
    }

    fn ring_peers(&mut self, task: &TaskId, hosts: impl IntoIterator<Item = HostId>) {
        self.rings.extend(hosts.into_iter().map(|host| Ring::Peer(task.clone(), host)));
    }

    fn ring_parts(&mut self, id: &HostId) {
        self.rings.extend(self.parts.get(id).into_iter().flatten().cloned().map(Ring::Task));
    }
}

fn task_entry<'a>(
    tasks: &'a mut SteadyMap<TaskId, Task>,
    id: &TaskId,
    first_row: u64,
) -> Result<&'a mut Task, Refused> {
    if tasks.len() >= TASKS_MAX && !tasks.contains_key(id) {
        return Err(Refused::Tasks);
    }
    Ok(tasks.entry(id.clone()).or_insert_with(|| Task::new(id.clone(), first_row)))
}

/// A peer that is new here.
fn join(task: &mut Task, host: &HostId, peer: Peer) {
    // Another scheduler had a reason to give it no slot.
    if peer.report.row.is_some_and(|row| row.place.is_none()) {
        task.demoted.insert(host.clone(), Demotion { at_ms: 0, why: DemotionReason::Inherited });
    }
    task.peers.insert(host.clone(), peer);
}

/// Who is whole keeps its slot, who fails or begins again loses it. Says who should look again; `None`: everybody.
fn follow_whole(task: &mut Task, host: &HostId, state: PeerState) -> Option<BTreeSet<HostId>> {
    if state == PeerState::Complete {
        task.add_whole(host);
        return Some(BTreeSet::new());
    }
    let apart = task.table().place(host).is_none();
    let lost = task.drop_whole(host);
    match state {
        PeerState::Running if !lost => Some(BTreeSet::new()),
        _ if lost && apart => None,
        _ => Some(task.leave_row(host)),
    }
}

/// The seed goes with what the asker would have gone with.
fn spec_for_seed(task: &Task, asker: &Peer) -> TaskSpec {
    let digest = task.facts.digest.clone().or_else(|| asker.report.digest.clone());
    TaskSpec { id: task.id.clone(), origin: asker.report.origin.for_the_cluster(), digest }
}

/// The first to know a fact tells all; only who is at the origin may correct it. Says whether something is news.
fn learn(task: &mut Task, host: &HostId, report: &PeerReport) -> bool {
    let corrects = task.holds_lease(host) && report.at_origin;
    let TaskFacts { length, piece_length, digest } = &mut task.facts;
    fn take<T: Clone + PartialEq>(known: &mut Option<T>, told: &Option<T>, corrects: bool) -> bool {
        let news = told.is_some() && (corrects || known.is_none()) && known != told;
        if news {
            known.clone_from(told);
        }
        news
    }
    let lengths = take(length, &report.length, corrects) | take(piece_length, &report.piece_length, corrects);
    let news = take(digest, &report.digest, corrects) | lengths;
    if corrects || task.origin_url.is_empty() {
        task.origin_url.clone_from(&report.origin.url);
    }
    news
}

/// What a report means for the right to the origin. Says whether others should look again.
fn follow_lease(task: &mut Task, now_ms: u64, host: &HostId, report: &PeerReport) -> bool {
    let received_before = task.peers.get(host).map_or(0, |peer| peer.report.received_bytes);
    let moved = report.received_bytes != received_before;
    if moved {
        task.resting.retain(|id, rest| id != host || rest.why != RestReason::Stalled);
    }
    let Some(lease) = task.lease.as_mut().filter(|lease| lease.holder == *host) else { return false };
    if moved || lease.duty_pending {
        lease.moved_ms = now_ms;
    }
    lease.duty_pending = false;
    let over = report.state != PeerState::Running;
    if over {
        task.lease = None;
    }
    over
}
