//! One job on its way: what is to be ordered of whom next, and how it ends. Pure: the state of the cluster comes in, orders
//! go out.
//!
//! **Invariants.** A job ends: when all have said how it went, are gone, or silent, or its time is over. It has succeeded
//! exactly when everybody it was for has everything. With secrets, nobody but seed peers is sent to an origin.

use df_api::HostId;
use df_api::manager::{ClusterResult, JobAssignment, JobProgress, JobState, JobSubject, JobType, PreheatScope};
use df_api::scheduler::{DutyState, ImageDuty, ResolvedContent, Work};

use super::answer;
use super::choose::{Hand, NoHands, choose};
use super::spread::{Hold, Item, Spread};
use crate::state::State;
use crate::state::orders::Order;

/// What a run wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Order {
        host: HostId,
        work: Work,
    },
    /// Nobody looks at it any more.
    Forget(u64),
}

/// How a job has ended in this cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub state: JobState,
    pub error: String,
    pub result: ClusterResult,
}

#[derive(Debug)]
pub struct Run {
    assignment: JobAssignment,
    deadline_ms: u64,
    stage: Stage,
    progress: JobProgress,
}

#[derive(Debug)]
enum Stage {
    New,
    Resolve(Resolve),
    Spread(Spread),
    Ended(End),
}

/// A host is asked what an image is made of; another one when it fails.
#[derive(Debug, Default)]
struct Resolve {
    tried: Vec<HostId>,
    /// Its duty, once it has a number.
    asked: Option<(HostId, Option<u64>)>,
    error: String,
}

const ERROR_CHARS_MAX: usize = 4_000;
/// A host that is there and has said nothing for this long.
pub const SILENT_MS: u64 = 30_000;
/// So many hosts are asked for the same thing before it is given up.
pub const TRIES_MAX: usize = 3;

// === impl End ===

impl End {
    /// Why it failed. What an image or an origin has said may be in it: no database takes all of that.
    pub fn told(&self) -> String {
        self.error.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect()
    }

    /// In the lists of its result.
    pub fn entries(&self) -> usize {
        let ClusterResult { success_tasks, failure_tasks, peers, persistent_cache_tasks, .. } = &self.result;
        let layers = peers.iter().map(|peer| peer.cached_layers.len()).sum::<usize>();
        success_tasks.len() + failure_tasks.len() + peers.len() + layers + persistent_cache_tasks.len()
    }
}

// === impl Run ===

impl Run {
    pub fn new(assignment: JobAssignment, now_ms: u64) -> Self {
        let deadline_ms = now_ms.saturating_add(assignment.left_ms);
        Self { assignment, deadline_ms, stage: Stage::New, progress: JobProgress::default() }
    }

    pub fn assignment(&self) -> &JobAssignment {
        &self.assignment
    }

    pub fn end(&self) -> Option<&End> {
        match &self.stage {
            Stage::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn progress(&self) -> JobProgress {
        self.progress
    }

    /// As far as it goes now.
    pub fn advance(&mut self, state: &State, now_ms: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        self.go_on(state, now_ms, &mut commands);
        commands
    }

    fn go_on(&mut self, state: &State, now_ms: u64, commands: &mut Vec<Command>) {
        if self.end().is_none() && now_ms >= self.deadline_ms {
            let (error, result) = match &self.stage {
                Stage::Spread(spread) => (spread.unfinished(), spread.result()),
                _ => (
                    "its time is over (timeout) before a host could say what it is made of".to_owned(),
                    ClusterResult::default(),
                ),
            };
            self.stage = Stage::Ended(End { state: JobState::Failure, error, result });
            return;
        }
        loop {
            let next = match &mut self.stage {
                // Hosts are still about to say that they are there, and what they have.
                Stage::New if now_ms < state.policy.learning_ms => None,
                Stage::New => Some(begin(&self.assignment, state)),
                Stage::Resolve(resolve) => resolve.advance(&self.assignment, state, now_ms, commands),
                Stage::Spread(spread) => spread.advance(state, now_ms, commands),
                Stage::Ended(_) => None,
            };
            if let Stage::Spread(spread) = &self.stage {
                self.progress = spread.progress();
            }
            match next {
                Some(next) => self.stage = next.into_stage(&self.assignment, state),
                None => return,
            }
        }
    }

    /// The number that an order got; none when the host could not be given it.
    pub fn ordered(&mut self, host: &HostId, duty: Option<u64>) {
        match &mut self.stage {
            Stage::Resolve(resolve) => resolve.ordered(host, duty),
            Stage::Spread(spread) => spread.ordered(host, duty),
            Stage::New | Stage::Ended(_) => {}
        }
    }
}

/// What follows on a stage.
pub enum Next {
    Resolve,
    Resolved(HostId, Vec<ResolvedContent>),
    Hold(Vec<Item>, Option<HostId>),
    Spread(Spread),
    Ended(Result<ClusterResult, (String, ClusterResult)>),
}

// === impl Next ===

impl Next {
    pub fn failed(error: impl ToString) -> Self {
        Self::Ended(Err((error.to_string(), ClusterResult::default())))
    }

    fn into_stage(self, assignment: &JobAssignment, state: &State) -> Stage {
        match self {
            Self::Resolve => Stage::Resolve(Resolve::default()),
            Self::Spread(spread) => Stage::Spread(spread),
            Self::Ended(Ok(result)) => Stage::Ended(End { state: JobState::Success, error: String::new(), result }),
            Self::Ended(Err((error, result))) => Stage::Ended(End { state: JobState::Failure, error, result }),
            Self::Resolved(_, contents) if assignment.kind == JobType::GetImageDistribution => {
                Self::Ended(Ok(answer::distribution(state, &contents))).into_stage(assignment, state)
            }
            Self::Resolved(by, contents) => {
                let item = |content: ResolvedContent| Item { task: content.task, length: Some(content.length) };
                Self::Hold(contents.into_iter().map(item).collect(), Some(by)).into_stage(assignment, state)
            }
            Self::Hold(items, resolved_by) => {
                hold(assignment, state, items, resolved_by.as_ref()).into_stage(assignment, state)
            }
        }
    }
}

fn begin(assignment: &JobAssignment, state: &State) -> Next {
    let args = &assignment.args;
    let named = || answer::named_task(args).ok_or("the job names no task");
    match assignment.kind {
        JobType::Preheat if args.subject == Some(JobSubject::Image) => Next::Resolve,
        JobType::GetImageDistribution => Next::Resolve,
        JobType::Preheat => {
            let item = |task| Item { task, length: None };
            Next::Hold(answer::task_specs(args).into_iter().map(item).collect(), None)
        }
        JobType::SyncPeers => Next::Ended(Ok(answer::all_hosts(state))),
        JobType::ListPersistentCacheTasks => Next::Ended(Ok(answer::imported(state))),
        JobType::GetTask => match named() {
            Ok(task) => Next::Ended(Ok(answer::who_has(state, &task))),
            Err(error) => Next::failed(error),
        },
        JobType::DeleteTask => match named() {
            Ok(task) => {
                let holders = answer::holders(state, &task);
                let holders = all_hands(state).into_iter().filter(|hand| holders.contains(&hand.id));
                Next::Spread(Spread::drop(task, holders.collect()))
            }
            Err(error) => Next::failed(error),
        },
        JobType::Gc => Next::failed("garbage is collected by the manager itself"),
    }
}

fn all_hands(state: &State) -> Vec<Hand> {
    let hand = |(id, host): (&HostId, &crate::host::Host)| Hand {
        id: id.clone(),
        place: host.report.place.clone(),
        seed: host.report.seed,
    };
    let mut hands: Vec<Hand> = state.hosts.announced.iter().map(hand).collect();
    hands.sort_by(|a, b| a.id.cmp(&b.id));
    hands
}

/// Who can store and give.
fn free_hands(state: &State) -> Vec<Hand> {
    let fit = |hand: &Hand| {
        let host = state.hosts.announced.get(&hand.id);
        host.is_some_and(|host| host.report.storing && !host.report.sharing_off)
    };
    all_hands(state).into_iter().filter(fit).collect()
}

fn hold(assignment: &JobAssignment, state: &State, items: Vec<Item>, resolved_by: Option<&HostId>) -> Next {
    let args = &assignment.args;
    let hands = free_hands(state);
    let seeds: Vec<Hand> = hands.iter().filter(|hand| hand.seed).cloned().collect();
    let mut chosen = match choose(args, hands) {
        Ok(chosen) => chosen,
        Err(error) => return Next::failed(error),
    };
    // Who knows it already begins.
    chosen.sort_by_key(|hand| (!hand.seed, Some(&hand.id) != resolved_by));
    let single = args.scope.unwrap_or_default() == PreheatScope::SingleSeedPeer && args.ips.is_empty();
    let spare = if single { chosen.split_off(1) } else { Vec::new() };
    // Somebody has to go to the origin with the secrets.
    if assignment.has_secrets && !chosen.iter().any(|hand| hand.seed) {
        match seeds.into_iter().next() {
            Some(seed) => chosen.insert(0, seed),
            None => return Next::failed(NoHands::Seeds),
        }
    }
    let hold = Hold {
        at_once: args.concurrent_task_count.unwrap_or(8),
        hosts_at_once: args.concurrent_peer_count.unwrap_or(500) as usize,
        secrets_of: assignment.has_secrets.then_some(assignment.id),
    };
    Next::Spread(Spread::hold(hold, items, chosen, spare.into_iter().take(TRIES_MAX - 1).collect()))
}

// === impl Resolve ===

impl Resolve {
    fn advance(
        &mut self,
        assignment: &JobAssignment,
        state: &State,
        now_ms: u64,
        commands: &mut Vec<Command>,
    ) -> Option<Next> {
        match &self.asked {
            Some((_, None)) => return None,
            Some((host, Some(duty))) => {
                let order = state.orders.get(duty);
                let (host, duty) = (host.clone(), *duty);
                match said(order, now_ms) {
                    Said::Nothing => return None,
                    Said::Failed(error) => self.error = name_host(state, &host, &error),
                    Said::Done => {
                        commands.push(Command::Forget(duty));
                        let contents = order.and_then(|order| order.report.clone()).map(|report| report.contents);
                        return Some(Next::Resolved(host, contents.unwrap_or_default()));
                    }
                }
                commands.push(Command::Forget(duty));
                self.asked = None;
            }
            None => {}
        }
        let wants_seed = assignment.has_secrets
            || assignment.kind == JobType::Preheat && assignment.args.scope != Some(PreheatScope::AllPeers);
        let mut fit: Vec<Hand> = free_hands(state)
            .into_iter()
            .filter(|hand| (hand.seed || !wants_seed) && !self.tried.contains(&hand.id))
            .collect();
        fit.sort_by_cached_key(|hand| (!hand.seed, df_api::rendezvous::rank(&hand.id)));
        let Some(hand) = fit.into_iter().next().filter(|_| self.tried.len() < TRIES_MAX) else {
            let nobody = if wants_seed { NoHands::Seeds } else { NoHands::Hosts };
            return Some(Next::failed(if self.tried.is_empty() { nobody.to_string() } else { self.error.clone() }));
        };
        let duty = ImageDuty {
            url: assignment.args.url.clone().unwrap_or_default(),
            platform: assignment.args.platform.clone(),
            secrets_of: assignment.has_secrets.then_some(assignment.id),
        };
        self.tried.push(hand.id.clone());
        self.asked = Some((hand.id.clone(), None));
        commands.push(Command::Order { host: hand.id, work: Work::Resolve(duty) });
        None
    }

    fn ordered(&mut self, host: &HostId, duty: Option<u64>) {
        if self.asked.as_ref().is_none_or(|(asked, known)| asked != host || known.is_some()) {
            return;
        }
        if duty.is_none() {
            self.error = format!("host {host} could not be given it");
        }
        self.asked = duty.map(|duty| (host.clone(), Some(duty)));
    }
}

/// What is known of an order.
#[derive(Debug, PartialEq)]
pub enum Said {
    Nothing,
    Done,
    Failed(String),
}

pub fn said(order: Option<&Order>, now_ms: u64) -> Said {
    let Some(order) = order else { return Said::Failed("it has left".to_owned()) };
    match order.report.as_ref().map(|report| (report.state, &report.error)) {
        Some((DutyState::Done, _)) => Said::Done,
        Some((DutyState::Failed, error)) => Said::Failed(error.clone()),
        _ if now_ms.saturating_sub(order.heard_ms) > SILENT_MS => {
            Said::Failed("it does not say how it goes".to_owned())
        }
        _ => Said::Nothing,
    }
}

fn name_host(state: &State, id: &HostId, error: &str) -> String {
    let name = state.hosts.announced.get(id).map(|host| host.report.place.hostname.as_str());
    format!("{}: {error}", name.unwrap_or(id.as_str()))
}
