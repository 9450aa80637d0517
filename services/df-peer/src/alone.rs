//! A task when no scheduler answers: hosts known from before are asked in an order that each of them computes alike.
//!
//! **Invariants.** Whom this host reads from has all of it, gets it from the origin, or stands before it in that order, so
//! nobody waits for itself, through whomever. Who has nobody living before it is the one that goes to the origin, unless
//! another is there; views that differ cost a second one, never the content. Every question has a bound, and who does not answer is left alone for a while.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use df_api::dfdaemon::PieceList;
use df_api::rendezvous::weight;
use df_api::scheduler::{Decision, KnownHost, Parent, ParentRole, PeerDecision, Row, TaskFacts};
use df_api::task::{Origin, TaskSpec};
use df_api::{ByteRange, HostId, TaskId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::download::Fetched;
use crate::from_parents::{self, Outcome, PATIENCE};
use crate::known::as_parent;
use crate::peer::Peer;
use crate::sync::{Advice, Sync};
use crate::task::{Failure, Task};

/// Asked about a task: those where it is or will be, and those to read through while they get it.
const FIRST_ASKED: usize = 10;
const NEAREST_ASKED: usize = 6;
/// For an answer at once. A host that is only busy must not count as gone: others would take it for the first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Who has it all, and who is about to, read from at once; each.
const PARENTS_MAX: usize = 4;
const RELAYS_MAX: usize = 3;
/// So often others are looked for when all have failed.
const ROUNDS_MAX: usize = 4;
/// What makes a host begin. It answers when the origin has.
const FIRST_BYTE: ByteRange = ByteRange { start: 0, end: 1 };
/// How many schedulers are asked whether they are there, and how long each may take.
const SCHEDULERS_CHECKED: usize = 4;
const SCHEDULER_CHECK: Duration = Duration::from_millis(500);
/// How often it is looked whether those read from have failed, and whether there are better ones, rarer and rarer.
const TICK: Duration = Duration::from_millis(100);
pub const LOOK_MIN: Duration = Duration::from_secs(1);
pub const LOOK_MAX: Duration = Duration::from_secs(8);

/// The hosts besides this one.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    hosts: Vec<KnownHost>,
    /// So many of them stand before this one.
    before: usize,
}

/// What a host says of a task.
#[derive(Debug)]
pub enum Heard {
    List(PieceList),
    /// It has nothing of it.
    Nothing,
    /// Nobody to read from: of another cluster, or full.
    Refused,
}

/// Whom to read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Who has it or brings it, and who is read through, so that it has to send little.
    Parents(Vec<Parent>, Vec<Parent>),
    /// The first who lives, and has to be asked to begin; and who is read through.
    ToSend(Parent, Vec<Parent>),
    /// This host is the first, or the only one.
    Nobody,
}

/// `None` when a scheduler has spoken.
pub(crate) async fn fetch(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync) -> Result<Option<Fetched>, Failure> {
    for _ in 0..ROUNDS_MAX {
        let Some(parents) = parents(peer, task, sync).await else { break };
        tracing::info!(task = %task.id(), parents = parents.len(), "no scheduler: reading from known hosts");
        let (advice, advised) = watch::channel(decided(Decision::Parents, parents.clone()));
        let outcome = tokio::select! {
            outcome = from_parents::fetch(peer, task, sync, advised, PATIENCE) => outcome?,
            never = look_after(peer, task, sync, parents, &advice) => match never {},
        };
        match outcome {
            Outcome::Done => return Ok(Some(Fetched::All)),
            _ if matches!(&*sync.advice().borrow(), Advice::Decided(_)) => return Ok(None),
            // Whoever has failed is passed over the next time.
            Outcome::Refused => {}
            Outcome::Redirected | Outcome::Stuck => break,
        }
    }
    Ok(Some(Fetched::Part))
}

/// Finds others when those read from have failed, better ones from time to time, and passes on what a scheduler says as
/// soon as one does.
async fn look_after(
    peer: &Arc<Peer>,
    task: &Arc<Task>,
    sync: &Sync,
    mut told: Vec<Parent>,
    advice: &watch::Sender<Advice>,
) -> Infallible {
    let mut cluster = sync.advice();
    let mut pause = LOOK_MIN;
    let mut next = Instant::now() + pause;
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            Ok(()) = cluster.changed() => {}
        }
        let word = cluster.borrow_and_update().clone();
        if let Advice::Decided(_) = word {
            advice.send_if_modified(|known| {
                let news = !is_same(known, &word);
                *known = word;
                news
            });
            continue;
        }
        let failed = told.iter().all(|parent| sync.complained_of(&parent.peer_id));
        if !failed && Instant::now() < next {
            continue;
        }
        pause = (pause * 2).min(LOOK_MAX);
        next = Instant::now() + pause;
        match parents(peer, task, sync).await {
            Some(found) if found != told => {
                told = found;
                advice.send_replace(decided(Decision::Parents, told.clone()));
            }
            Some(_) => {}
            None if failed => drop(advice.send_replace(decided(Decision::Origin, Vec::new()))),
            // They may only have been slow to answer; those read from go on.
            None => {}
        }
    }
}

fn is_same(one: &Advice, other: &Advice) -> bool {
    matches!((one, other), (Advice::Decided(one), Advice::Decided(other)) if Arc::ptr_eq(one, other))
}

fn decided(decision: Decision, parents: Vec<Parent>) -> Advice {
    let (row, task) = (row_of(&parents), TaskFacts::default());
    Advice::Decided(Arc::new(PeerDecision { decision, parents, row, task, refresh_after_ms: 0, version: 0, seq: 0 }))
}

/// Who has it, or is getting it by now. `None`: the origin is for this host.
async fn parents(peer: &Peer, task: &Task, sync: &Sync) -> Option<Vec<Parent>> {
    let order = peer.order_of(task.id());
    let usable = |host: &KnownHost| !sync.complained_of(&host.id.peer());
    let asked = peer.ask(task.id(), order.to_ask().into_iter().filter(usable).collect()).await;
    let parents = match choose(&order, asked) {
        Found::Parents(above, relays) => arranged(above, relays),
        Found::ToSend(first, relays) => {
            let begun = send(peer, task, &first).await;
            arranged(begun.then_some(first).into_iter().collect(), relays)
        }
        Found::Nobody => return None,
    };
    Some(parents).filter(|parents| !parents.is_empty())
}

/// Each relay brings a part of the pieces, and those above what the relays do not; without relays, those above alike.
pub fn arranged(above: Vec<Parent>, relays: Vec<Parent>) -> Vec<Parent> {
    if relays.is_empty() || above.is_empty() {
        return [above, relays].concat();
    }
    let in_role = |role| move |(slot, parent)| Parent { role, slot, ..parent };
    let relays = (0..).zip(relays).map(in_role(ParentRole::Mate));
    relays.chain((0..).zip(above).map(in_role(ParentRole::Above))).collect()
}

/// As of one who only reads.
pub fn row_of(parents: &[Parent]) -> Option<Row> {
    let width = parents.iter().map(|parent| parent.slot + 1).max()?;
    parents.iter().any(|parent| parent.role == ParentRole::Mate).then_some(Row { width, place: None })
}

/// Makes a host fetch it from the origin, as a seed peer does. Returns when it has begun.
async fn send(peer: &Peer, task: &Task, host: &Parent) -> bool {
    let spec = task.spec();
    let Some(client) = peer.parent_client(host) else { return false };
    let Some(origin) = passed_on(&spec.origin, peer.is_seed(&host.host_id)).filter(|_| task.wants_whole()) else {
        return false;
    };
    let spec = TaskSpec { origin, ..spec };
    let asked = tokio::time::timeout(PATIENCE, client.fetch_task_content(&spec, FIRST_BYTE)).await;
    match asked {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(task = %task.id(), error = df_http::error::chain(&error), "a known host does not fetch it");
            false
        }
        Err(_) => false,
    }
}

/// What another host may ask the origin with: a credential is for seed peers only.
fn passed_on(origin: &Origin, to_seed: bool) -> Option<Origin> {
    let shared = origin.for_the_cluster();
    if shared.node_only || !shared.may_be_asked() {
        return None;
    }
    let authorization = shared.authorization.clone().filter(|_| to_seed);
    Some(Origin { authorization, ..shared })
}

/// The decision. Pure.
pub fn choose(order: &Order, mut heard: Vec<(KnownHost, Heard)>) -> Found {
    let place = |host: &KnownHost| order.hosts.iter().position(|known| known.id == host.id).unwrap_or(usize::MAX);
    heard.sort_by_key(|(host, _)| place(host));
    let is_before = |host: &KnownHost| place(host) < order.before;
    let complete = |heard: &Heard| matches!(heard, Heard::List(list) if list.complete);
    let running = |heard: &Heard| matches!(heard, Heard::List(list) if list.running && !list.complete);
    let at_origin = |heard: &Heard| matches!(heard, Heard::List(list) if list.at_origin && !list.complete);
    let relays = heard.iter().rev().filter(|(host, heard)| running(heard) && is_before(host)).take(RELAYS_MAX);
    let relays: Vec<Parent> = relays.map(|(host, _)| as_parent(host)).collect();
    let whole = heard.iter().filter(|(_, heard)| complete(heard)).take(PARENTS_MAX);
    let mut whole: Vec<Parent> = whole.map(|(host, _)| as_parent(host)).collect();
    if let [only] = &mut whole[..] {
        only.seed = true;
    }
    if !whole.is_empty() {
        return Found::Parents(whole, relays);
    }
    let there = heard.iter().find(|(_, heard)| at_origin(heard));
    let first = heard.iter().find(|(host, heard)| is_before(host) && !matches!(heard, Heard::Refused));
    let first = there.or(first);
    let Some((host, said)) = first else { return Found::Nobody };
    // What it says of pieces is what the origin has sent: it stands in for a seed peer.
    let first = Parent { seed: true, ..as_parent(host) };
    let relays = relays.into_iter().filter(|relay| relay.peer_id != first.peer_id).collect();
    match running(said) {
        true => Found::Parents(vec![first], relays),
        false => Found::ToSend(first, relays),
    }
}

// === impl Order ===

impl Order {
    /// Seed peers first, then by rendezvous. A host that others are not told of is behind all that they are told of.
    pub fn of(task: &TaskId, mut hosts: Vec<KnownHost>, own: &HostId) -> Self {
        hosts.sort_by_cached_key(|host| (Reverse(host.seed), Reverse(weight(task, &host.id)), host.id.clone()));
        let before = hosts.iter().position(|host| host.id == *own).unwrap_or(hosts.len());
        hosts.retain(|host| host.id != *own);
        Self { hosts, before }
    }

    pub fn to_ask(&self) -> Vec<KnownHost> {
        let nearest = self.before.saturating_sub(NEAREST_ASKED).max(FIRST_ASKED);
        let first = self.hosts.iter().take(FIRST_ASKED);
        let near = self.hosts.iter().take(self.before).skip(nearest);
        first.chain(near).cloned().collect()
    }
}

// === impl Peer ===

impl Peer {
    fn order_of(&self, task: &TaskId) -> Order {
        Order::of(task, self.known_hosts(), self.host_id())
    }

    /// Whether it has to decide without schedulers. Those of whom nothing is known yet are asked whether they are there.
    pub async fn is_without_schedulers(&self) -> bool {
        let checking = self.schedulers().urls().into_iter().take(SCHEDULERS_CHECKED).map(async |url| {
            if !self.answers(&url, SCHEDULER_CHECK).await {
                self.schedulers().set_silent(&url);
            }
        });
        if !self.schedulers().are_silent() {
            futures_util::future::join_all(checking).await;
        }
        self.schedulers().are_silent()
    }

    /// What these hosts say of a task, of those that answer.
    async fn ask(&self, task: &TaskId, hosts: Vec<KnownHost>) -> Vec<(KnownHost, Heard)> {
        let asking = hosts.into_iter().map(async |host| Some((self.ask_one(task, &host).await?, host)));
        let heard = futures_util::future::join_all(asking).await;
        heard.into_iter().flatten().map(|(heard, host)| (host, heard)).collect()
    }

    async fn ask_one(&self, task: &TaskId, host: &KnownHost) -> Option<Heard> {
        if self.silent_hosts.contains_key(&host.url) {
            return None;
        }
        let client = self.parent_client(&as_parent(host))?;
        let asked = tokio::time::timeout(ANSWERED_WITHIN, client.list_pieces(task, 0, Duration::ZERO)).await;
        match asked.map(|answer| answer.map_err(|error| error.status())) {
            Ok(Ok(list)) => Some(Heard::List(list)),
            Ok(Err(Some(401 | 403 | 429 | 503))) => Some(Heard::Refused),
            Ok(Err(Some(_))) => Some(Heard::Nothing),
            Ok(Err(None)) | Err(_) => {
                self.silent_hosts.insert(host.url.clone(), ()).await;
                None
            }
        }
    }

    /// Known seed peers that have the task, or are getting it, and what they know of it. In the order to ask them.
    pub(crate) async fn seeds_holding(&self, task: &TaskId) -> Vec<(Parent, PieceList)> {
        let order = self.order_of(task);
        let seeds = order.hosts.into_iter().take_while(|host| host.seed).take(FIRST_ASKED).collect();
        let holding = self.ask(task, seeds).await.into_iter().filter_map(|(host, heard)| match heard {
            Heard::List(list) => Some((as_parent(&host), list)),
            Heard::Nothing | Heard::Refused => None,
        });
        holding.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(number: u32, seed: bool) -> KnownHost {
        KnownHost { id: format!("h-{number}").parse().unwrap(), url: format!("http://h-{number}:1"), seed }
    }

    fn task(number: u32) -> TaskId {
        format!("{number:064x}").parse().unwrap()
    }

    fn list(running: bool, complete: bool) -> Heard {
        Heard::List(PieceList { running, complete, ..PieceList::default() })
    }

    fn at_origin() -> Heard {
        Heard::List(PieceList { running: true, at_origin: true, ..PieceList::default() })
    }

    fn names(parents: &[Parent]) -> Vec<&str> {
        parents.iter().map(|parent| parent.host_id.as_str()).collect()
    }

    proptest! {
        #[test]
        fn all_compute_one_order_with_seeds_first(number in 0..1000u32, hosts in 2..40u32, seeds in 0..3u32) {
            let all: Vec<KnownHost> = (0..hosts).map(|i| host(i, i < seeds)).collect();
            let alone = |own: &KnownHost| Order::of(&task(number), all.clone(), &own.id);
            let firsts: Vec<_> = all.iter().filter(|own| alone(own).before == 0).collect();
            prop_assert_eq!(firsts.len(), 1, "one goes to the origin");
            prop_assert_eq!(firsts[0].seed, seeds > 0);
            let mut places: Vec<_> = all.iter().map(|own| alone(own).before).collect();
            places.sort_unstable();
            prop_assert!(places.into_iter().eq(0..all.len()));
        }

        /// Whatever each of them is told by whom, and whoever is dead or at the origin.
        #[test]
        fn nobody_waits_for_itself(
            number in 0..1000u32,
            dead in proptest::collection::vec(any::<bool>(), 20),
            there in proptest::collection::vec(proptest::bool::weighted(0.1), 20),
        ) {
            let all: Vec<KnownHost> = (0..20).map(|i| host(i, i < 2)).collect();
            let place = |id: &HostId| {
                all.iter().position(|host| host.id == *id).map(|_| Order::of(&task(number), all.clone(), id).before)
            };
            let is_there = |id: &HostId| all.iter().position(|host| host.id == *id).is_some_and(|at| there[at]);
            for own in all.iter().filter(|own| !is_there(&own.id)) {
                let order = Order::of(&task(number), all.clone(), &own.id);
                let living = order.to_ask().into_iter().filter(|host| !dead[all.iter().position(|h| h == host).unwrap()]);
                let said = |id: &HostId| if is_there(id) { at_origin() } else { list(true, false) };
                let heard = living.map(|host| (host.clone(), said(&host.id))).collect();
                let parents = match choose(&order, heard) {
                    Found::Parents(above, relays) => arranged(above, relays),
                    Found::ToSend(..) => unreachable!("they all run"),
                    Found::Nobody => Vec::new(),
                };
                for parent in parents {
                    prop_assert!(is_there(&parent.host_id) || place(&parent.host_id) < place(&own.id));
                }
            }
        }
    }

    #[test]
    fn who_is_not_told_of_is_behind_everybody() {
        let all: Vec<KnownHost> = (0..100).map(|i| host(i, false)).collect();
        let order = Order::of(&task(1), all.clone(), &"stranger".parse().unwrap());
        assert_eq!(order.before, 100);
        let asked = order.to_ask();
        assert_eq!(asked.len(), FIRST_ASKED + NEAREST_ASKED);
        assert_eq!(asked[FIRST_ASKED..], order.hosts[100 - NEAREST_ASKED..]);
        let middle = Order::of(&task(1), all, &order.hosts[12].id);
        assert_eq!(middle.to_ask().len(), 12, "each once");
    }

    #[test]
    fn whoever_has_it_is_read_from_wherever_it_stands() {
        let all: Vec<KnownHost> = (0..4).map(|i| host(i, false)).collect();
        let first = Order::of(&task(1), all.clone(), &all[0].id).hosts;
        let order = Order::of(&task(1), all, &first[0].id);
        let last = order.hosts.last().unwrap().clone();
        let holder = last.id.to_string();
        let asked = vec![(last, list(false, true)), (first[1].clone(), list(true, false))];
        let Found::Parents(above, relays) = choose(&order, asked) else { panic!("it has it") };
        assert_eq!((names(&above), relays), (vec![&*holder], Vec::new()));
        assert!(above[0].seed, "the only one answers for itself");
    }

    #[test]
    fn who_is_at_the_origin_is_read_from_wherever_it_stands() {
        let all: Vec<KnownHost> = (0..4).map(|i| host(i, false)).collect();
        let first = Order::of(&task(1), all.clone(), &all[0].id).hosts;
        let order = Order::of(&task(1), all, &first[0].id);
        let asked = vec![(first[1].clone(), list(true, false)), (first[2].clone(), at_origin())];
        let Found::Parents(above, relays) = choose(&order, asked) else { panic!("one is there") };
        assert_eq!((names(&above), relays), (vec![first[2].id.as_str()], Vec::new()));
    }

    #[test]
    fn the_first_that_lives_is_sent_and_who_refuses_is_passed_over() {
        let all: Vec<KnownHost> = (0..5).map(|i| host(i, false)).collect();
        let own: HostId = "z".parse().unwrap();
        let order = Order::of(&task(1), all, &own);
        let at = |place: usize| order.hosts[place].clone();
        let heard = vec![(at(3), list(true, false)), (at(2), Heard::Nothing), (at(0), Heard::Refused)];
        let Found::ToSend(first, relays) = choose(&order, heard) else { panic!("somebody is to be sent") };
        assert_eq!((first.host_id, first.seed), (at(2).id, true));
        assert_eq!(names(&relays), [at(3).id.as_str()]);
        assert_eq!(choose(&order, Vec::new()), Found::Nobody);
    }

    #[test]
    fn relays_bring_what_they_can_and_those_above_the_rest() {
        let parent = |number| as_parent(&host(number, false));
        let parents = arranged(vec![parent(9)], vec![parent(1), parent(2)]);
        let told: Vec<_> = parents.iter().map(|parent| (parent.host_id.as_str(), parent.role, parent.slot)).collect();
        assert_eq!(told, [("h-1", ParentRole::Mate, 0), ("h-2", ParentRole::Mate, 1), ("h-9", ParentRole::Above, 0)]);
        assert_eq!(row_of(&parents), Some(Row { width: 2, place: None }));
        let alike = arranged(vec![parent(1), parent(2)], Vec::new());
        assert_eq!((row_of(&alike), names(&alike)), (None, vec!["h-1", "h-2"]));
    }

    #[test]
    fn a_credential_goes_to_seed_peers_only_and_what_stays_on_the_node_to_nobody() {
        let origin = Origin { authorization: Some("Bearer t".to_owned()), ..Origin::new("https://r.example/x") };
        assert_eq!(passed_on(&origin, true).unwrap().authorization.as_deref(), Some("Bearer t"));
        assert_eq!(passed_on(&origin, false).unwrap().authorization, None);
        let basic = Origin { authorization: Some("Basic t".to_owned()), ..origin.clone() };
        assert!(passed_on(&basic, true).is_none() && passed_on(&Origin::none(), true).is_none());
    }
}
