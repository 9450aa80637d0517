//! The same for several hosts: to have tasks, or to have one no more. Pure.
//!
//! **Invariant.** Every host of the choice ends exactly once; what it said last is what is told of it.

use df_api::manager::{ClusterResult, JOB_ENTRIES_MAX, JobProgress, JobTask};
use df_api::scheduler::{DutyOutcome, DutyTask, HoldDuty, Work};
use df_api::task::{Origin, TaskSpec};
use df_api::{HostId, TaskId};

use super::choose::Hand;
use super::run::{Command, Next, Said, said};
use crate::state::State;

#[derive(Clone, Debug)]
pub struct Item {
    pub task: TaskSpec,
    pub length: Option<u64>,
}

/// How tasks are to be held.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Tasks at each host.
    pub at_once: u32,
    pub hosts_at_once: usize,
    pub secrets_of: Option<i64>,
}

#[derive(Debug)]
pub struct Spread {
    /// `None`: to be dropped.
    hold: Option<Hold>,
    items: Vec<Item>,
    parts: Vec<Part>,
    /// Who begins instead when one fails.
    spare: Vec<Hand>,
}

#[derive(Debug)]
struct Part {
    hand: Hand,
    status: Status,
    tasks: Vec<DutyTask>,
    error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Waiting,
    /// It has no number yet.
    Asked,
    Ordered(u64),
    Done,
    Failed,
}

/// There may be a thousand of them.
const DESCRIPTION_CHARS_MAX: usize = 300;
const DROPS_AT_ONCE: usize = 1_000;

// === impl Part ===

impl Part {
    fn new(hand: Hand) -> Self {
        Self { hand, status: Status::Waiting, tasks: Vec::new(), error: String::new() }
    }

    fn has_ended(&self) -> bool {
        matches!(self.status, Status::Done | Status::Failed)
    }

    fn is_under_way(&self) -> bool {
        matches!(self.status, Status::Asked | Status::Ordered(_))
    }

    /// It has begun everything, so that others find a source.
    fn leads(&self, items: usize) -> bool {
        let begun = self.tasks.iter().filter(|task| task.outcome != DutyOutcome::Waiting).count();
        self.hand.seed && self.status != Status::Failed && (self.status == Status::Done || begun == items)
    }

    fn fail(&mut self, error: String) {
        (self.status, self.error) = (Status::Failed, error);
    }
}

// === impl Spread ===

impl Spread {
    pub fn hold(hold: Hold, items: Vec<Item>, hands: Vec<Hand>, spare: Vec<Hand>) -> Self {
        Self { hold: Some(hold), items, parts: hands.into_iter().map(Part::new).collect(), spare }
    }

    pub fn drop(task: TaskId, hands: Vec<Hand>) -> Self {
        let task = TaskSpec { id: task, origin: Origin::none(), digest: None };
        let items = vec![Item { task, length: None }];
        Self { hold: None, items, parts: hands.into_iter().map(Part::new).collect(), spare: Vec::new() }
    }

    pub fn advance(&mut self, state: &State, now_ms: u64, commands: &mut Vec<Command>) -> Option<Next> {
        self.hear(state, now_ms, commands);
        self.replace_failed();
        if self.parts.iter().all(Part::has_ended) {
            let result = self.result();
            return Some(Next::Ended(match self.failure() {
                None => Ok(result),
                Some(error) => Err((error, result)),
            }));
        }
        self.order(commands);
        None
    }

    pub fn ordered(&mut self, host: &HostId, duty: Option<u64>) {
        let asked = self.parts.iter_mut().find(|part| part.hand.id == *host && part.status == Status::Asked);
        match (asked, duty) {
            (Some(part), Some(duty)) => part.status = Status::Ordered(duty),
            (Some(part), None) => part.fail("it left, or has too much to do".to_owned()),
            (None, _) => {}
        }
    }

    fn hear(&mut self, state: &State, now_ms: u64, commands: &mut Vec<Command>) {
        for part in &mut self.parts {
            let Status::Ordered(duty) = part.status else { continue };
            let order = state.orders.get(&duty);
            if let Some(report) = order.and_then(|order| order.report.as_ref()) {
                part.tasks.clone_from(&report.tasks);
            }
            match said(order, now_ms) {
                Said::Nothing => continue,
                Said::Done => part.status = Status::Done,
                Said::Failed(error) => part.fail(error),
            }
            commands.push(Command::Forget(duty));
        }
    }

    /// Of one seed peer, the next takes the place.
    fn replace_failed(&mut self) {
        let failed = self.parts.iter_mut().find(|part| part.status == Status::Failed);
        if let (Some(part), false) = (failed, self.spare.is_empty()) {
            *part = Part::new(self.spare.remove(0));
        }
    }

    fn order(&mut self, commands: &mut Vec<Command>) {
        let items = self.items.len();
        let gated = self.hold.is_some_and(|hold| hold.secrets_of.is_some());
        let led = self.parts.iter().any(|part| part.leads(items));
        let nobody_leads = gated && !led && self.parts.iter().all(|part| !part.hand.seed || part.has_ended());
        let at_once = self.hold.map_or(DROPS_AT_ONCE, |hold| hold.hosts_at_once);
        let mut free = at_once.saturating_sub(self.parts.iter().filter(|part| part.is_under_way()).count());
        for at in 0..self.parts.len() {
            let Some(part) = self.parts.get(at).filter(|part| part.status == Status::Waiting) else { continue };
            let waits = gated && !part.hand.seed && !led;
            if free == 0 || waits && !nobody_leads {
                continue;
            }
            let (host, work) = (part.hand.id.clone(), self.work(&part.hand));
            let Some(part) = self.parts.get_mut(at) else { continue };
            if waits {
                part.fail("no seed peer could get it".to_owned());
                continue;
            }
            part.status = Status::Asked;
            free -= 1;
            commands.push(Command::Order { host, work });
        }
    }

    fn work(&self, hand: &Hand) -> Work {
        let tasks = || self.items.iter().map(|item| item.task.clone());
        match self.hold {
            None => Work::Drop(tasks().map(|task| task.id).collect()),
            Some(hold) => Work::Hold(HoldDuty {
                tasks: tasks().collect(),
                from_peers: hold.secrets_of.is_some() && !hand.seed,
                at_once: hold.at_once,
                secrets_of: hold.secrets_of.filter(|_| hand.seed),
            }),
        }
    }

    fn failure(&self) -> Option<String> {
        let failed: Vec<&Part> = self.parts.iter().filter(|part| part.status == Status::Failed).collect();
        let first = failed.first()?;
        let (hostname, error) = (&first.hand.place.hostname, &first.error);
        Some(match (failed.len(), self.parts.len()) {
            (1, 1) => format!("{hostname}: {error}"),
            (failed, all) => format!("{failed} of {all} hosts failed; {hostname}: {error}"),
        })
    }

    /// Why it has failed when its time is over.
    pub fn unfinished(&self) -> String {
        let done = self.parts.iter().filter(|part| part.status == Status::Done).count();
        format!("its time is over (timeout): {done} of {} hosts have ended well", self.parts.len())
    }

    pub fn progress(&self) -> JobProgress {
        let done_by_all = |at: usize| {
            let is_done = |part: &Part| part.tasks.get(at).is_some_and(|task| task.outcome == DutyOutcome::Done);
            !self.parts.is_empty() && self.parts.iter().all(is_done)
        };
        let told = |at: usize| self.parts.iter().find_map(|part| part.tasks.get(at)?.length);
        let length = |(at, item): (usize, &Item)| item.length.or_else(|| told(at)).unwrap_or(0);
        let bytes: u64 = self.items.iter().enumerate().map(length).sum();
        let held = self.parts.iter().flat_map(|part| &part.tasks).map(|task| task.held_bytes).sum();
        JobProgress {
            tasks: count(self.items.len()),
            tasks_done: count((0..self.items.len()).filter(|at| done_by_all(*at)).count()),
            peers: count(self.parts.len()),
            peers_done: count(self.parts.iter().filter(|part| part.status == Status::Done).count()),
            bytes: bytes.saturating_mul(self.parts.len() as u64),
            bytes_done: held,
        }
    }

    /// Failures before successes, as many as there is room for.
    pub fn result(&self) -> ClusterResult {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for part in &self.parts {
            for (at, item) in self.items.iter().enumerate() {
                let told = part.tasks.get(at);
                let done = told.is_some_and(|task| task.outcome == DutyOutcome::Done);
                let error = told.map(|task| &task.error).filter(|error| !error.is_empty()).unwrap_or(&part.error);
                let entry = JobTask {
                    task_id: item.task.id.to_string(),
                    url: item.task.origin.shown_url(),
                    hostname: part.hand.place.hostname.clone(),
                    ip: part.hand.place.ip.clone(),
                    description: if done { String::new() } else { error.chars().take(DESCRIPTION_CHARS_MAX).collect() },
                };
                if done { good.push(entry) } else { bad.push(entry) }
            }
        }
        let all = good.len() + bad.len();
        bad.truncate(JOB_ENTRIES_MAX);
        good.truncate(JOB_ENTRIES_MAX - bad.len());
        let omitted = count(all - good.len() - bad.len());
        ClusterResult { success_tasks: good, failure_tasks: bad, omitted, ..ClusterResult::default() }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
