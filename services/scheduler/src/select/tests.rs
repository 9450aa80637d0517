//! Decisions in situations, then in any sequence of situations. Driven over [`State`], as reports drive it.

use df_api::scheduler::{
    Complaint, ComplaintReason, ComplaintReason::*, Duty, HeldTask, HostReport, PeerReport, PeerState,
};
use df_api::task::Origin;
use df_api::{HostId, TaskId};
use proptest::prelude::*;

use super::*;
use crate::state::State;
use crate::task::peer_of;

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn task() -> TaskId {
    "ab".repeat(32).parse().unwrap()
}

/// A cluster with a clock.
struct Sim {
    state: State,
    now_ms: u64,
}

fn peer_report(name: &str, state: PeerState) -> PeerReport {
    PeerReport {
        host_id: host(name),
        state,
        origin: Origin::new("http://origin/blob"),
        digest: None,
        length: None,
        piece_length: None,
        pieces: Default::default(),
        received_bytes: 0,
        complaints: Vec::new(),
        at_origin: false,
        parents: Vec::new(),
    }
}

impl Sim {
    fn new() -> Self {
        Self { state: State::new(Policy::default(), 1), now_ms: 1_000 }
    }

    fn with(hosts: &[&str]) -> Self {
        let mut sim = Self::new();
        for name in hosts {
            sim.announce(name, |_| {});
        }
        sim
    }

    /// A seed when its name starts with `s`.
    fn announce(&mut self, name: &str, change: impl FnOnce(&mut HostReport)) -> Vec<Duty> {
        let mut report = HostReport {
            place: Default::default(),
            url: format!("http://{name}"),
            seed: name.starts_with('s'),
            sharing_off: false,
            upload_slots: 100,
            tasks: None,
            duties_taken: Vec::new(),
        };
        change(&mut report);
        self.state.report_host(self.now_ms, &host(name), report).unwrap();
        self.state.hosts.announced[&host(name)].duties.clone()
    }

    fn duties(&self, name: &str) -> usize {
        self.state.hosts.announced.get(&host(name)).map_or(0, |host| host.duties.len())
    }

    fn hold(&mut self, name: &str) {
        let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18 };
        self.announce(name, |report| report.tasks = Some(vec![held]));
    }

    fn report(&mut self, name: &str, change: impl FnOnce(&mut PeerReport)) -> Verdict {
        let mut report = peer_report(name, PeerState::Running);
        change(&mut report);
        self.state.report_peer(self.now_ms, &task(), &host(name), report).unwrap();
        self.decide(name)
    }

    fn ask(&mut self, name: &str) -> Verdict {
        self.report(name, |_| {})
    }

    /// It does what it was told.
    fn ask_at_origin(&mut self, name: &str, received_bytes: u64) -> Verdict {
        self.report(name, |report| (report.at_origin, report.received_bytes) = (true, received_bytes))
    }

    fn end(&mut self, name: &str, state: PeerState) {
        self.report(name, |report| report.state = state);
    }

    fn complain(&mut self, name: &str, about: &str, reason: ComplaintReason) -> Verdict {
        self.report(name, |report| report.complaints = vec![Complaint { peer_id: peer_of(&host(about)), reason }])
    }

    fn decide(&mut self, name: &str) -> Verdict {
        self.state.decide(self.now_ms, &task(), &host(name)).unwrap().verdict
    }
}

fn parents(names: &[&str]) -> Verdict {
    Verdict::Parents(names.iter().map(|name| host(name)).collect())
}

#[test]
fn a_cold_ask_sends_one_seed_and_names_it_at_once() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.ask("a"), parents(&["s1"]));
    assert_eq!(sim.ask("b"), parents(&["a", "s1"]));
    assert_eq!(sim.duties("s1"), 1);
    assert_eq!(sim.ask("s1"), Verdict::Origin, "the seed does its duty");
    assert_eq!(sim.duties("s1"), 0, "reporting the peer takes the duty");
}

#[test]
fn a_duty_carries_what_the_asker_would_have_sent() {
    let mut sim = Sim::with(&["s1", "a"]);
    let digest: df_api::Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    sim.report("a", |report| {
        report.origin.authorization = Some("Bearer scoped".to_owned());
        report.digest = Some(digest.clone());
    });
    let duties = sim.announce("s1", |_| {});
    assert_eq!(duties[0].task.origin.authorization.as_deref(), Some("Bearer scoped"));
    assert_eq!(duties[0].task.digest, Some(digest));
}

#[test]
fn a_duty_is_repeated_until_it_is_acknowledged() {
    let mut sim = Sim::with(&["s1", "a"]);
    sim.ask("a");
    let first = sim.announce("s1", |_| {});
    assert_eq!(sim.announce("s1", |_| {}), first);
    assert_eq!(sim.announce("s1", |report| report.duties_taken = vec![first[0].id]), []);
}

#[test]
fn without_a_seed_one_asker_goes_to_the_origin_and_the_others_read_from_it() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    assert_eq!(sim.ask("b"), Verdict::Origin);
    assert_eq!(sim.ask("a"), parents(&["b"]));
    assert_eq!(sim.ask("c"), parents(&["a", "b"]), "fewest children first");
    assert_eq!(sim.ask_at_origin("b", 1), Verdict::Origin);
}

#[test]
fn an_origin_that_only_the_node_can_reach_sends_no_seed() {
    let mut sim = Sim::with(&["s1", "a"]);
    assert_eq!(sim.report("a", |report| report.origin.node_only = true), Verdict::Origin);
    assert_eq!(sim.duties("s1"), 0);
}

#[test]
fn a_seed_that_asks_for_itself_needs_no_duty() {
    let mut sim = Sim::with(&["s1", "a"]);
    assert_eq!(sim.ask("s1"), Verdict::Origin);
    assert_eq!((sim.duties("s1"), sim.ask("a")), (0, parents(&["s1"])));
}

#[test]
fn whole_peers_on_idle_hosts_come_first_and_the_seed_last() {
    let mut sim = Sim::with(&["s1", "a", "b", "c", "d", "e"]);
    for name in ["s1", "a", "b"] {
        sim.hold(name);
    }
    assert_eq!(sim.ask("c"), parents(&["a", "b", "s1"]));
    // `c` has no children, but only a part.
    assert_eq!(sim.ask("d"), parents(&["a", "b", "c", "s1"]));
    sim.hold("e");
    sim.announce("f", |_| {});
    assert_eq!(sim.ask("f"), parents(&["e", "a", "b", "s1"]));
}

#[test]
fn parents_that_still_do_stay() {
    let mut sim = Sim::with(&["s1", "a", "b", "c", "d"]);
    sim.ask("a");
    sim.ask("b");
    let keep = ["a", "s1"].map(|name| peer_of(&host(name)));
    sim.state.policy.candidate_parent_limit = 2;
    sim.hold("c");
    assert_eq!(sim.report("b", |report| report.parents = keep.to_vec()), parents(&["a", "s1"]));
    assert_eq!(sim.ask("d"), parents(&["c", "s1"]), "a newcomer gets the better one");
}

#[test]
fn a_full_host_comes_after_one_that_has_room() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.hold("a");
    sim.ask("b");
    sim.announce("a", |report| report.upload_slots = 1);
    assert_eq!(sim.ask("c"), parents(&["b", "a"]));
}

#[test]
fn a_seed_that_does_not_start_is_replaced() {
    let mut sim = Sim::with(&["s1", "s2", "s3", "a"]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let Verdict::Parents(seed) = sim.ask("a") else { panic!("a seed is left") };
        asked.extend(seed);
        sim.now_ms += sim.state.policy.duty_timeout_ms;
    }
    asked.sort_unstable();
    assert_eq!(asked, ["s1", "s2", "s3"].map(host));
    assert_eq!(sim.ask("a"), Verdict::Origin, "none is left");
    assert_eq!(["s1", "s2", "s3"].map(|seed| sim.duties(seed)), [0, 0, 0]);
}

#[test]
fn after_a_seed_failed_the_asker_sees_the_origin_itself() {
    let mut sim = Sim::with(&["s1", "s2", "a"]);
    let Verdict::Parents(seed) = sim.ask("a") else { panic!("a seed is sent") };
    sim.end(seed[0].as_str(), PeerState::Failed);
    assert_eq!(sim.ask("a"), Verdict::Origin);
}

#[test]
fn a_holder_that_stands_still_is_replaced_and_one_that_moves_is_not() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    for received_bytes in 1..5 {
        sim.now_ms += sim.state.policy.origin_stall_ms - 1;
        sim.announce("a", |_| {});
        sim.announce("b", |_| {});
        assert_eq!(sim.ask_at_origin("a", received_bytes), Verdict::Origin);
        assert_eq!(sim.ask("b"), parents(&["a"]));
    }
    sim.now_ms += sim.state.policy.origin_stall_ms;
    sim.announce("a", |_| {});
    sim.announce("b", |_| {});
    assert_eq!(sim.ask("b"), Verdict::Origin);
    assert_eq!(sim.ask_at_origin("a", 4), parents(&["b"]));
}

#[test]
fn a_holder_found_gone_has_to_prove_itself_sooner() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    assert_eq!(sim.complain("b", "a", Gone), parents(&["a"]), "there is nobody else");
    sim.now_ms += sim.state.policy.duty_timeout_ms;
    assert_eq!(sim.complain("b", "a", Gone), Verdict::Origin);
}

#[test]
fn the_lease_of_a_dead_host_passes_on() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.ask("a");
    sim.now_ms += sim.state.policy.host_lease_ms;
    sim.announce("b", |_| {});
    sim.announce("c", |_| {});
    assert_eq!(sim.ask("b"), Verdict::Origin);
    assert_eq!(sim.ask("c"), parents(&["b"]));
}

#[test]
fn the_lease_passes_on_when_its_holder_fails_or_leaves() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.ask("a");
    sim.ask("b");
    sim.end("a", PeerState::Failed);
    assert_eq!(sim.decide("b"), Verdict::Origin);
    sim.ask("c");
    sim.state.delete_peer(&task(), &host("b"));
    assert_eq!(sim.decide("c"), Verdict::Origin);
}

#[test]
fn wrong_bytes_are_never_offered_again_and_silence_only_when_nobody_else_is_there() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.hold("a");
    sim.hold("b");
    assert_eq!(sim.complain("c", "a", Silent), parents(&["b"]));
    assert_eq!(sim.complain("c", "a", WrongBytes), parents(&["b"]));
    sim.state.delete_peer(&task(), &host("b"));
    assert_eq!(sim.complain("c", "a", WrongBytes), Verdict::Origin);
}

#[test]
fn a_reader_of_wrong_bytes_waits_while_their_sender_holds_the_lease() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    assert_eq!(sim.complain("b", "a", WrongBytes), Verdict::Wait);
    sim.end("a", PeerState::Failed);
    assert_eq!(sim.decide("b"), Verdict::Origin);
}

#[test]
fn a_host_that_shares_nothing_goes_to_the_origin_without_keeping_others_from_it() {
    let mut sim = Sim::with(&["b"]);
    sim.announce("a", |report| report.sharing_off = true);
    assert_eq!(sim.ask("a"), Verdict::Origin);
    assert_eq!(sim.ask("b"), Verdict::Origin);
    assert_eq!(sim.ask("a"), parents(&["b"]));
}

#[test]
fn a_new_scheduler_takes_over_who_is_at_the_origin() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.ask_at_origin("a", 7), Verdict::Origin);
    assert_eq!(sim.ask("b"), parents(&["a"]));
    assert_eq!(sim.duties("s1"), 0);
}

#[test]
fn a_new_scheduler_makes_no_cycle_of_what_runs_already() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    sim.hold("s1");
    // Before the restart `b` read from `a`; now it is `b` that reports first.
    let was = ["a", "s1"].map(|name| peer_of(&host(name)));
    sim.state
        .report_peer(
            1_000,
            &task(),
            &host("b"),
            PeerReport { parents: was.to_vec(), ..peer_report("b", PeerState::Running) },
        )
        .unwrap();
    assert_eq!(sim.ask("a"), parents(&["s1"]));
}

#[test]
fn whole_content_makes_the_origin_unnecessary() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    sim.hold("b");
    assert_eq!(sim.ask_at_origin("a", 1), parents(&["b"]));
}

#[test]
fn silent_peers_and_tasks_without_anybody_are_forgotten() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    sim.hold("b");
    sim.now_ms += sim.state.policy.host_lease_ms * 3 + 1;
    sim.announce("a", |_| {});
    sim.state.expire(sim.now_ms);
    assert_eq!((sim.state.tasks.len(), sim.state.hosts.announced.len()), (0, 1));
}

// --- in any order ---

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "s1", "s2"];

#[derive(Clone, Debug)]
enum Event {
    Announce { who: usize, sharing_off: bool, holds: bool },
    Leave { who: usize },
    Quit { who: usize },
    Ask { who: usize, forgets: bool },
    End { who: usize, complete: bool },
    Complain { who: usize, about: usize, reason: ComplaintReason },
    Pass { ms: u64 },
}

fn event(hosts: usize) -> impl Strategy<Value = Event> {
    let who = 0..hosts;
    let reason = prop_oneof![Just(Gone), Just(Silent), Just(WrongBytes)];
    prop_oneof![
        2 => (who.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(who, sharing_off, holds)| Event::Announce { who, sharing_off, holds }),
        1 => who.clone().prop_map(|who| Event::Leave { who }),
        1 => who.clone().prop_map(|who| Event::Quit { who }),
        12 => (who.clone(), prop::bool::weighted(0.1)).prop_map(|(who, forgets)| Event::Ask { who, forgets }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, complete)| Event::End { who, complete }),
        2 => (who.clone(), who.clone(), reason).prop_map(|(who, about, reason)| Event::Complain { who, about, reason }),
        2 => (1..6_000u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// A cluster whose peers do as they are told and report it.
struct Play {
    sim: Sim,
    reports: Vec<PeerReport>,
}

impl Play {
    fn new(hosts: usize) -> Self {
        let reports = NAMES[..hosts].iter().map(|name| peer_report(name, PeerState::Running)).collect();
        Self { sim: Sim::with(&NAMES[..hosts]), reports }
    }

    fn run(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match *event {
            Event::Announce { who, sharing_off, holds } => {
                let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18 };
                let tasks = holds.then(|| vec![held]);
                self.sim.announce(NAMES[who], |report| (report.sharing_off, report.tasks) = (sharing_off, tasks));
            }
            Event::Leave { who } => self.sim.state.delete_host(&host(NAMES[who])),
            Event::Quit { who } => {
                self.sim.state.delete_peer(&task(), &host(NAMES[who]));
                self.reports[who] = peer_report(NAMES[who], PeerState::Running);
            }
            Event::Ask { who, forgets } => {
                self.reports[who].state = PeerState::Running;
                self.reports[who].received_bytes += 1;
                if forgets {
                    self.reports[who].parents.clear();
                }
                self.ask(who)?;
            }
            Event::End { who, complete } => {
                let state = if complete { PeerState::Complete } else { PeerState::Failed };
                let report = PeerReport { state, at_origin: false, parents: Vec::new(), ..self.reports[who].clone() };
                self.reports[who] = report.clone();
                self.sim.state.report_peer(self.sim.now_ms, &task(), &host(NAMES[who]), report).unwrap();
            }
            Event::Complain { who, about, reason } => {
                self.reports[who].complaints.push(Complaint { peer_id: peer_of(&host(NAMES[about])), reason });
            }
            Event::Pass { ms } => {
                self.sim.now_ms += ms;
                self.sim.state.expire(self.sim.now_ms);
            }
        }
        self.check_counts()
    }

    fn ask(&mut self, who: usize) -> Result<Verdict, TestCaseError> {
        let (now_ms, id) = (self.sim.now_ms, host(NAMES[who]));
        self.sim.state.report_peer(now_ms, &task(), &id, self.reports[who].clone()).unwrap();
        let State { tasks, hosts, policy, .. } = &self.sim.state;
        let view = View { now_ms, task: &tasks[&task()], hosts, policy };
        let selection = select(view, &id);
        prop_assert_eq!(&selection, &select(view, &id), "deterministic");
        let decided = self.sim.state.decide(now_ms, &task(), &id).unwrap();
        prop_assert_eq!(&selection, &decided);
        self.check(who, &decided.verdict)?;
        let report = &mut self.reports[who];
        report.at_origin = decided.verdict == Verdict::Origin;
        report.parents = match &decided.verdict {
            Verdict::Parents(parents) => parents.iter().map(peer_of).collect(),
            Verdict::Origin | Verdict::Wait => Vec::new(),
        };
        Ok(decided.verdict)
    }

    fn check(&self, who: usize, verdict: &Verdict) -> Result<(), TestCaseError> {
        let State { tasks, hosts, policy, .. } = &self.sim.state;
        let (task, id) = (&tasks[&task()], host(NAMES[who]));
        let Verdict::Parents(parents) = verdict else {
            let held = task.lease.as_ref().is_some_and(|lease| lease.holder != id);
            prop_assert!(held || *verdict == Verdict::Origin, "who waits, waits for somebody");
            return Ok(());
        };
        prop_assert!(!parents.is_empty() && parents.len() <= policy.candidate_parent_limit);
        let mut doubted = 0;
        for parent in parents {
            prop_assert!(*parent != id, "never itself");
            let host = hosts.live(parent, self.sim.now_ms);
            prop_assert!(host.is_some_and(|host| !host.report.sharing_off), "alive and sharing");
            let complaint = task.peers[&id].complaint_about(parent);
            prop_assert!(complaint != Some(WrongBytes));
            doubted += usize::from(complaint.is_some());
            let failed = task.peers.get(parent).is_some_and(|peer| peer.report.state == PeerState::Failed);
            prop_assert!(
                !failed || task.holds_lease(parent),
                "a failed peer is no parent, unless it was told to try again"
            );
        }
        prop_assert!(doubted == 0 || doubted == parents.len(), "the doubted only when nobody else is there");
        let seed_has_it = hosts.live_seeds(self.sim.now_ms).any(|(seed, host)| {
            task.whole.contains(seed)
                && !host.report.sharing_off
                && *seed != id
                && task.peers[&id].complaint_about(seed).is_none()
        });
        prop_assert!(!seed_has_it || hosts.is_seed(parents.last().unwrap()), "a seed that has it is the last resort");
        self.check_acyclic()
    }

    /// Over recorded parents; who is at the origin or whole reads from nobody.
    fn check_acyclic(&self) -> Result<(), TestCaseError> {
        let task = &self.sim.state.tasks[&task()];
        let mut left: Vec<_> = task.peers.iter().collect();
        loop {
            let before = left.len();
            let still: Vec<_> = left.iter().map(|(id, _)| *id).collect();
            left.retain(|(_, peer)| peer.parents.iter().any(|parent| still.contains(&parent)));
            match left.len() {
                0 => return Ok(()),
                after => prop_assert!(after < before, "a cycle among {still:?}"),
            }
        }
    }

    fn check_counts(&self) -> Result<(), TestCaseError> {
        let State { tasks, hosts, .. } = &self.sim.state;
        for name in NAMES {
            let named = tasks.values().flat_map(|task| task.peers.values()).flat_map(|peer| &peer.parents);
            let count = named.filter(|parent| **parent == host(name)).count();
            prop_assert_eq!(hosts.children(&host(name)) as usize, count, "children of {}", name);
        }
        for task in tasks.values() {
            prop_assert!(!task.peers.is_empty() || !task.whole.is_empty(), "no empty task is kept");
            let idle = task.peers.values().filter(|peer| !peer.is_running());
            prop_assert!(idle.into_iter().all(|peer| peer.parents.is_empty()));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn parents_are_fit_and_never_form_a_cycle(events in prop::collection::vec(event(7), 1..120)) {
        let mut play = Play::new(7);
        for event in &events {
            play.run(event)?;
        }
    }

    #[test]
    fn without_seeds_one_at_most_is_at_the_origin(events in prop::collection::vec(event(5), 1..80)) {
        let mut play = Play::new(5);
        for event in &events {
            play.run(event)?;
        }
        // All share and nobody complains now; who is asked in one round is told of one holder.
        for name in &NAMES[..5] {
            play.sim.announce(name, |_| {});
        }
        let mut at_origin = 0;
        for round in 0..2 {
            at_origin = 0;
            for who in 0..5 {
                play.reports[who].complaints.clear();
                play.reports[who].state = PeerState::Running;
                play.reports[who].received_bytes += 1;
                at_origin += usize::from(play.ask(who)? == Verdict::Origin);
            }
            prop_assert!(round == 0 || at_origin <= 1);
        }
        prop_assert_eq!(at_origin, 1, "all are running, so one has to");
    }

    #[test]
    fn with_a_seed_any_number_of_askers_cause_one_duty(askers in prop::collection::vec(0..5usize, 1..40)) {
        let mut play = Play::new(7);
        for who in askers {
            let verdict = play.ask(who)?;
            prop_assert!(matches!(verdict, Verdict::Parents(_)));
            prop_assert_eq!(play.sim.duties("s1") + play.sim.duties("s2"), 1);
        }
    }
}
