//! The scheduler: its real state and decisions, with long polls in virtual time as `swarm.rs` has them in real time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use df_api::scheduler::{HostReport, PeerReport};
use df_api::task::{Origin, TaskSpec};
use df_api::{HostId, TaskId};
use scheduler::decisions::{Pending, Policy, Ring, State, host_decision, peer_decision};

use crate::events::{Call, Event, HostIndex, PartId, STEP_MS};
use crate::part::Phase;
use crate::scenario::Scenario;
use crate::world::World;

pub struct Control {
    /// `None` while it is down.
    state: Option<State>,
    started_ms: u64,
    tasks: Vec<TaskSpec>,
    task_indexes: HashMap<TaskId, usize>,
    polls: BTreeMap<u64, Poll>,
    of_part: HashMap<PartId, BTreeSet<u64>>,
    of_task: HashMap<usize, BTreeSet<u64>>,
    of_host: HashMap<HostIndex, BTreeSet<u64>>,
    next_poll: u64,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
enum Whom {
    Part(PartId),
    Host(HostIndex),
}

struct Poll {
    whom: Whom,
    serial: u64,
    asked_ms: u64,
    wait_ms: u64,
    /// Tells a look that is planned from an earlier one.
    version: u64,
    rung: bool,
    calm_ms: u64,
}

/// An answer, and whether it goes out now.
struct Look {
    answer: Event,
    stale: bool,
    hold_ms: u64,
    recheck_ms: Option<u64>,
    calm_ms: u64,
}

// === impl Control ===

impl Control {
    pub fn new(scenario: &Scenario) -> Self {
        let spec = |task: usize| TaskSpec::new(Origin::new(format!("http://origin/{}/{task}", scenario.seed)), None);
        let tasks: Vec<TaskSpec> = (0..scenario.tasks).map(spec).collect();
        let task_indexes = tasks.iter().enumerate().map(|(at, task)| (task.id.clone(), at)).collect();
        Self {
            state: Some(State::new(Policy::default(), 1)),
            started_ms: 0,
            tasks,
            task_indexes,
            polls: BTreeMap::new(),
            of_part: HashMap::new(),
            of_task: HashMap::new(),
            of_host: HashMap::new(),
            next_poll: 0,
        }
    }

    pub fn task_id(&self, task: usize) -> &TaskId {
        &self.tasks[task].id
    }

    pub fn task_index(&self, id: &TaskId) -> Option<usize> {
        self.task_indexes.get(id).copied()
    }

    pub fn origin_url(&self, task: usize) -> &str {
        &self.tasks[task].origin.url
    }

    pub fn demoted(&self) -> usize {
        self.state.iter().flat_map(|state| state.tasks.values()).map(|task| task.demoted.len()).sum()
    }

    fn open(&mut self, poll: Poll, task: Option<usize>) -> u64 {
        let id = self.next_poll;
        self.next_poll += 1;
        match poll.whom {
            Whom::Part(part) => self.of_part.entry(part).or_default().insert(id),
            Whom::Host(host) => self.of_host.entry(host).or_default().insert(id),
        };
        if let Some(task) = task {
            self.of_task.entry(task).or_default().insert(id);
        }
        self.polls.insert(id, poll);
        id
    }

    fn close(&mut self, id: u64, task: Option<usize>) -> Option<Poll> {
        let poll = self.polls.remove(&id)?;
        match poll.whom {
            Whom::Part(part) => self.of_part.get_mut(&part).map(|polls| polls.remove(&id)),
            Whom::Host(host) => self.of_host.get_mut(&host).map(|polls| polls.remove(&id)),
        };
        task.and_then(|task| self.of_task.get_mut(&task)).map(|polls| polls.remove(&id));
        Some(poll)
    }
}

// === impl World ===

impl World {
    /// A message to or from the scheduler: late, lost or doubled where the scenario has it.
    pub fn send(&mut self, message: impl Fn() -> Event) {
        let unreliable = self.scenario.messages;
        if self.rng.f64() < unreliable.lost {
            return;
        }
        let copies = 1 + u32::from(self.rng.f64() < unreliable.doubled);
        for _ in 0..copies {
            let late_ms = if unreliable.late_ms > 0 { self.rng.u64(0..unreliable.late_ms) } else { 0 };
            self.events.plan(self.now_ms + STEP_MS + late_ms, message());
        }
    }

    fn scheduler_ms(&self) -> u64 {
        self.now_ms - self.control.started_ms
    }

    pub fn peer_reports(&mut self, part: PartId, call: &Rc<Call<PeerReport>>) {
        let (now_ms, task) = (self.scheduler_ms(), self.parts[part].task);
        let id = self.control.tasks[task].id.clone();
        let serial = call.serial;
        let Some(state) = self.control.state.as_mut() else {
            return self.events.plan(self.soon_ms(), Event::Decided(part, serial, None));
        };
        let refused = state.report_peer(now_ms, &id, &call.report.host_id, call.report.clone()).is_err();
        let earlier = self.control.of_part.get(&part).cloned().unwrap_or_default();
        // A report that came twice is answered once; and whoever says something new waits no longer for the answer to
        // what it said before.
        if earlier.iter().any(|poll| self.control.polls[poll].serial >= serial) {
            return self.ring();
        }
        if refused {
            return self.send(|| Event::Decided(part, serial, None));
        }
        earlier.into_iter().for_each(|poll| self.close_poll(poll));
        let poll = self.poll(Whom::Part(part), serial, call.wait_ms);
        self.ring();
        let poll = self.control.open(poll, Some(task));
        self.poll_now(poll);
    }

    pub fn host_reports(&mut self, host: HostIndex, call: &Rc<Call<HostReport>>) {
        let (now_ms, id) = (self.scheduler_ms(), self.hosts[host].id.clone());
        let serial = call.serial;
        let Some(state) = self.control.state.as_mut() else {
            return self.events.plan(self.soon_ms(), Event::HostDecided(host, serial, None));
        };
        if state.report_host(now_ms, &id, call.report.clone()).is_err() {
            return self.send(|| Event::HostDecided(host, serial, None));
        }
        let poll = self.poll(Whom::Host(host), serial, call.wait_ms);
        self.ring();
        let poll = self.control.open(poll, None);
        self.poll_now(poll);
    }

    fn poll(&self, whom: Whom, serial: u64, wait_ms: u64) -> Poll {
        Poll { whom, serial, asked_ms: self.now_ms, wait_ms, version: 0, rung: false, calm_ms: 0 }
    }

    pub fn poll_again(&mut self, id: u64, version: u64) {
        if self.control.polls.get(&id).is_some_and(|poll| poll.version == version) {
            self.poll_now(id);
        }
    }

    /// Decides, and answers or waits on.
    fn poll_now(&mut self, id: u64) {
        let Some(poll) = self.control.polls.get_mut(&id) else { return };
        poll.version += 1;
        poll.rung = false;
        let (whom, serial) = (poll.whom, poll.serial);
        let look = match whom {
            Whom::Part(part) => self.look_for_part(part, serial),
            Whom::Host(host) => self.look_for_host(host, serial),
        };
        let Some(poll) = self.control.polls.get_mut(&id) else { return };
        let until_ms = poll.asked_ms + poll.wait_ms.min(look.hold_ms);
        if !look.stale || self.now_ms >= until_ms {
            let answer = look.answer;
            self.close_poll(id);
            self.ring();
            return self.send(|| answer.clone());
        }
        poll.calm_ms = look.calm_ms;
        let version = poll.version;
        let recheck_ms = look.recheck_ms.map_or(until_ms, |at_ms| self.control.started_ms + at_ms);
        self.events.plan(until_ms.min(recheck_ms).max(self.now_ms), Event::Poll(id, version));
        self.ring();
    }

    fn close_poll(&mut self, id: u64) {
        let task = match self.control.polls.get(&id).map(|poll| poll.whom) {
            Some(Whom::Part(part)) => Some(self.parts[part].task),
            _ => None,
        };
        self.control.close(id, task);
    }

    fn look_for_part(&mut self, part: PartId, serial: u64) -> Look {
        let (now_ms, host) = (self.scheduler_ms(), self.parts[part].host);
        let (task, host) = (self.control.tasks[self.parts[part].task].id.clone(), &self.hosts[host].id);
        let pending = self.control.state.as_mut().and_then(|state| peer_decision(state, now_ms, &task, host));
        look(pending, |answer| Event::Decided(part, serial, answer.map(Rc::new)))
    }

    fn look_for_host(&mut self, host: HostIndex, serial: u64) -> Look {
        let id = &self.hosts[host].id;
        let pending = self.control.state.as_mut().and_then(|state| host_decision(state, id));
        look(pending, |answer| Event::HostDecided(host, serial, answer.map(Rc::new)))
    }

    /// Those whom a change may concern look again.
    fn ring(&mut self) {
        let rings = self.control.state.as_mut().map(State::take_rings).unwrap_or_default();
        for ring in rings {
            let control = &self.control;
            let index = |id: &HostId| id.as_str().strip_prefix("h-").and_then(|number| number.parse::<usize>().ok());
            let polls = match &ring {
                Ring::Host(id) => index(id).and_then(|host| control.of_host.get(&host)),
                Ring::Task(id) => control.task_index(id).and_then(|task| control.of_task.get(&task)),
                Ring::Peer(id, host) => {
                    let place = index(host).zip(control.task_index(id));
                    place.and_then(|place| self.places.get(&place)).and_then(|part| control.of_part.get(part))
                }
                Ring::AllTasks | Ring::Orders => None,
            };
            let all = matches!(ring, Ring::AllTasks).then(|| control.of_task.values().flatten().copied());
            let mut rung: Vec<u64> = polls.into_iter().flatten().copied().chain(all.into_iter().flatten()).collect();
            rung.sort_unstable();
            for id in rung {
                self.ring_poll(id);
            }
        }
    }

    fn ring_poll(&mut self, id: u64) {
        let Some(poll) = self.control.polls.get_mut(&id).filter(|poll| !poll.rung) else { return };
        poll.rung = true;
        self.events.plan(self.now_ms + poll.calm_ms, Event::Poll(id, poll.version));
    }

    pub fn expire(&mut self) {
        let now_ms = self.scheduler_ms();
        let latest_ms = Policy::default().host_lease_ms / 4;
        let due_ms = self.control.state.as_mut().map(|state| {
            state.expire(now_ms);
            state.expiry_due_ms()
        });
        let pause_ms = due_ms.map_or(latest_ms, |due_ms| due_ms.saturating_sub(now_ms));
        self.events.plan(self.now_ms + pause_ms.max(STEP_MS), Event::Expire);
        self.ring();
    }

    /// Everything it knew is gone, and everybody who waited is hung up on.
    pub fn stop_scheduler(&mut self) {
        self.control.state = None;
        let polls = std::mem::take(&mut self.control.polls);
        self.control.of_part.clear();
        self.control.of_task.clear();
        self.control.of_host.clear();
        for poll in polls.into_values() {
            let hung_up = match poll.whom {
                Whom::Part(part) => Event::Decided(part, poll.serial, None),
                Whom::Host(host) => Event::HostDecided(host, poll.serial, None),
            };
            self.events.plan(self.soon_ms(), hung_up);
        }
    }

    pub fn start_scheduler(&mut self) {
        self.control.started_ms = self.now_ms;
        self.control.state = Some(State::new(Policy::default(), 1 + self.now_ms * 1_000));
    }

    /// The scheduler knows it before anything happens, as in a cluster that has been running.
    pub fn announce(&mut self, host: HostIndex) {
        let held = self.hosts[host].parts.iter().any(|part| self.parts[*part].phase == Phase::Whole);
        let it = &mut self.hosts[host].announcement;
        (it.full, it.told) = (true, held);
        let serial = it.serial;
        self.host_due(host, serial);
    }
}

fn look<T>(pending: Option<Pending<T>>, answer: impl FnOnce(Option<T>) -> Event) -> Look {
    match pending {
        None => Look { answer: answer(None), stale: false, hold_ms: 0, recheck_ms: None, calm_ms: 0 },
        Some(pending) => Look {
            answer: answer(Some(pending.answer)),
            stale: pending.stale,
            hold_ms: pending.hold_ms,
            recheck_ms: pending.recheck_ms,
            calm_ms: pending.calm.as_millis() as u64,
        },
    }
}
