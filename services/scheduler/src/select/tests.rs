//! Decisions in situations, then in any sequence of situations. Driven over [`State`], as reports drive it.

use df_api::scheduler::{
    Complaint, ComplaintReason, ComplaintReason::*, Duty, HeldTask, HostReport, ParentRole, PeerReport, PeerState,
    Wants, Work,
};
use df_api::task::Origin;
use df_api::{HostId, TaskId};
use proptest::prelude::*;

use super::*;
use crate::state::State;

mod any_order;
mod blame;
mod choice;
mod handover;
mod room;
mod rows;
mod ruled;

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
    /// Of the last report of anybody.
    seq: u64,
}

fn peer_report(name: &str, state: PeerState) -> PeerReport {
    PeerReport {
        host_id: host(name),
        seq: 1,
        state,
        origin: Origin::new("http://origin/blob"),
        digest: None,
        length: None,
        piece_length: None,
        pieces: Default::default(),
        received_bytes: 0,
        complaints: Vec::new(),
        at_origin: false,
        known: None,
        row: None,
        wants: Default::default(),
    }
}

impl Sim {
    fn new() -> Self {
        Self { state: State::new(Policy::default(), 1), now_ms: 1_000, seq: 0 }
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
        self.seq += 1;
        let mut report = HostReport {
            seq: self.seq,
            place: Default::default(),
            url: format!("http://{name}"),
            seed: name.starts_with('s'),
            sharing_off: false,
            storing: true,
            upload_slots: 100,
            sent_bytes_per_s: 0,
            sent_bytes_per_s_max: None,
            tasks: None,
            duties_taken: Vec::new(),
            hosts_known: 0,
        };
        change(&mut report);
        self.state.report_host(self.now_ms, &host(name), report).unwrap();
        self.state.hosts.announced[&host(name)].duties.clone()
    }

    fn duties(&self, name: &str) -> usize {
        self.state.hosts.announced.get(&host(name)).map_or(0, |host| host.duties.len())
    }

    fn hold(&mut self, name: &str) {
        let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18, imported: false };
        self.announce(name, |report| report.tasks = Some(vec![held]));
    }

    fn report(&mut self, name: &str, change: impl FnOnce(&mut PeerReport)) -> Told {
        self.seq += 1;
        let mut report = PeerReport { seq: self.seq, ..peer_report(name, PeerState::Running) };
        change(&mut report);
        self.state.report_peer(self.now_ms, &task(), &host(name), report).unwrap();
        self.decide(name)
    }

    fn ask(&mut self, name: &str) -> Told {
        self.report(name, |_| {})
    }

    /// It does what it was told.
    fn ask_at_origin(&mut self, name: &str, received_bytes: u64) -> Told {
        self.report(name, |report| (report.at_origin, report.received_bytes) = (true, received_bytes))
    }

    fn end(&mut self, name: &str, state: PeerState) {
        self.report(name, |report| report.state = state);
    }

    fn complain(&mut self, name: &str, about: &str, reason: ComplaintReason) -> Told {
        self.report(name, |report| report.complaints = vec![Complaint { peer_id: host(about).peer(), reason }])
    }

    fn decide(&mut self, name: &str) -> Told {
        let verdict = self.state.decide(self.now_ms, &task(), &host(name)).unwrap().verdict;
        verdict.into()
    }

    fn place(&self, name: &str) -> Option<(u64, u32)> {
        let place = self.state.tasks[&task()].table().place(&host(name));
        place.map(|place| (place.row, place.slot))
    }

    /// As a peer reports that does as it was told.
    fn obey(&mut self, name: &str, change: impl FnOnce(&mut PeerReport)) -> Told {
        let peer = self.state.tasks.get(&task()).and_then(|task| task.peers.get(&host(name)));
        let (report, told) = peer.map(|peer| (peer.report.clone(), peer.told.clone())).unzip();
        let report = report.unwrap_or_else(|| peer_report(name, PeerState::Running));
        let told = told.flatten();
        self.report(name, |new| {
            *new = PeerReport { seq: new.seq, ..report };
            new.row = told.as_ref().map(|told| told.row);
            change(new);
        })
    }
}

/// A verdict, for the eye.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Names of mates, of those above, and in reserve.
    Rows(String, String, String),
    Origin,
    Wait,
    Nobody,
}

fn rows(mates: &str, above: &str, reserve: &str) -> Told {
    Told::Rows(mates.to_owned(), above.to_owned(), reserve.to_owned())
}

impl From<Verdict> for Told {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Origin => Self::Origin,
            Verdict::Wait => Self::Wait,
            Verdict::Nobody => Self::Nobody,
            Verdict::Parents(Sources { parents, .. }) => {
                let names = |role| {
                    let ids = parents.iter().filter(|parent| parent.role == role).map(|parent| parent.id.as_str());
                    ids.collect::<Vec<_>>().join(" ")
                };
                Self::Rows(names(ParentRole::Mate), names(ParentRole::Above), names(ParentRole::Reserve))
            }
        }
    }
}

#[test]
fn a_cold_ask_sends_one_seed_and_names_it_at_once() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.ask("a"), rows("", "s1", ""));
    assert_eq!(sim.ask("b"), rows("a", "s1", ""));
    assert_eq!(sim.duties("s1"), 1);
    assert_eq!(sim.ask("s1"), Told::Origin, "the seed does its duty");
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
    let Work::Fetch(fetched) = &duties[0].work else { panic!("{:?}", duties[0]) };
    assert_eq!(fetched.origin.authorization.as_deref(), Some("Bearer scoped"));
    assert_eq!(fetched.digest, Some(digest));
}

/// Neither the seed nor the right to the origin is for them: others would wait for what they leave out.
#[test]
fn who_wants_a_part_or_only_what_peers_have_sends_nobody() {
    let mut sim = Sim::with(&["s1", "a", "b", "c"]);
    for wants in [Wants::Part, Wants::FromPeers] {
        assert_eq!(sim.report("a", |report| report.wants = wants), Told::Origin);
    }
    assert_eq!((sim.duties("s1"), sim.state.tasks[&task()].lease.is_none()), (0, true));
    assert_eq!(sim.ask("b"), rows("", "s1", ""), "who wants all of it sends the seed");
    assert_eq!(sim.report("a", |report| report.wants = Wants::FromPeers), rows("b", "s1", ""));
    assert!(sim.place("a").is_some(), "it has all of it in the end");
    assert_ne!(sim.report("c", |report| report.wants = Wants::Part), Told::Origin);
    assert_eq!(sim.place("c"), None, "it never has");
    assert_eq!(sim.report("a", |report| report.wants = Wants::Part), rows("b", "s1", ""));
    assert_eq!(sim.place("a"), None);
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
    assert_eq!(sim.ask("b"), Told::Origin);
    assert_eq!(sim.ask("a"), rows("", "b", ""));
    assert_eq!(sim.ask("c"), rows("a", "b", ""));
    assert_eq!(sim.place("b"), None, "who is at the origin relays nothing");
    assert_eq!(sim.ask_at_origin("b", 1), Told::Origin);
}

#[test]
fn an_origin_that_only_the_node_can_reach_sends_no_seed() {
    let mut sim = Sim::with(&["s1", "a"]);
    assert_eq!(sim.report("a", |report| report.origin.node_only = true), Told::Origin);
    assert_eq!(sim.duties("s1"), 0);
}

#[test]
fn a_seed_that_asks_for_itself_needs_no_duty() {
    let mut sim = Sim::with(&["s1", "a"]);
    assert_eq!(sim.ask("s1"), Told::Origin);
    assert_eq!((sim.duties("s1"), sim.ask("a")), (0, rows("", "s1", "")));
}

#[test]
fn a_seed_that_does_not_start_is_replaced() {
    let mut sim = Sim::with(&["s1", "s2", "s3", "a"]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let Told::Rows(_, seed, _) = sim.ask("a") else { panic!("a seed is left") };
        asked.push(seed);
        sim.now_ms += sim.state.policy.duty_timeout_ms;
    }
    asked.sort_unstable();
    assert_eq!(asked, ["s1", "s2", "s3"]);
    assert_eq!(sim.ask("a"), Told::Origin, "none is left");
    assert_eq!(["s1", "s2", "s3"].map(|seed| sim.duties(seed)), [0, 0, 0]);
}

#[test]
fn after_a_seed_failed_the_asker_sees_the_origin_itself() {
    let mut sim = Sim::with(&["s1", "s2", "a"]);
    let Told::Rows(_, seed, _) = sim.ask("a") else { panic!("a seed is sent") };
    sim.end(&seed, PeerState::Failed);
    assert_eq!(sim.ask("a"), Told::Origin);
}

#[test]
fn a_holder_that_stands_still_is_replaced_and_one_that_moves_is_not() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    for received_bytes in 1..5 {
        sim.now_ms += sim.state.policy.origin_stall_ms - 1;
        sim.announce("a", |_| {});
        sim.announce("b", |_| {});
        assert_eq!(sim.ask_at_origin("a", received_bytes), Told::Origin);
        assert_eq!(sim.ask("b"), rows("", "a", ""));
    }
    sim.now_ms += sim.state.policy.origin_stall_ms;
    sim.announce("a", |_| {});
    sim.announce("b", |_| {});
    assert_eq!(sim.ask("b"), Told::Origin);
    assert_eq!(sim.ask_at_origin("a", 4), rows("", "b", ""));
}

#[test]
fn a_holder_found_gone_has_to_prove_itself_sooner() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    assert_eq!(sim.complain("b", "a", Gone), rows("", "a", ""), "there is nobody else");
    sim.now_ms += sim.state.policy.origin_silence_ms() - 1;
    assert_eq!(sim.ask_at_origin("a", 0), Told::Origin);
    assert_eq!(sim.complain("b", "a", Gone), rows("", "a", ""), "it has said that it lives");
    sim.now_ms += sim.state.policy.origin_silence_ms();
    assert_eq!(sim.complain("b", "a", Gone), Told::Origin);
}

#[test]
fn the_lease_of_a_dead_host_passes_on() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.ask("a");
    sim.now_ms += sim.state.policy.host_lease_ms;
    sim.announce("b", |_| {});
    sim.announce("c", |_| {});
    assert_eq!(sim.ask("b"), Told::Origin);
    assert_eq!(sim.ask("c"), rows("", "b", ""));
}

#[test]
fn the_lease_passes_on_when_its_holder_fails_or_leaves() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.ask("a");
    sim.ask("b");
    sim.end("a", PeerState::Failed);
    assert_eq!(sim.decide("b"), Told::Origin);
    sim.ask("c");
    sim.state.delete_peer(&task(), &host("b"));
    assert_eq!(sim.decide("c"), Told::Origin);
}

#[test]
fn wrong_bytes_are_never_offered_again_and_silence_only_when_nobody_else_is_there() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    sim.hold("a");
    sim.hold("b");
    assert_eq!(sim.complain("c", "a", Silent), rows("", "b", ""));
    assert_eq!(sim.complain("c", "a", WrongBytes), rows("", "b", ""));
    sim.state.delete_peer(&task(), &host("b"));
    assert_eq!(sim.complain("c", "a", WrongBytes), Told::Origin);
}

#[test]
fn a_reader_of_wrong_bytes_waits_while_their_sender_holds_the_lease() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    assert_eq!(sim.complain("b", "a", WrongBytes), Told::Wait);
    sim.end("a", PeerState::Failed);
    assert_eq!(sim.decide("b"), Told::Origin);
}

#[test]
fn a_host_that_shares_nothing_goes_to_the_origin_without_keeping_others_from_it() {
    let mut sim = Sim::with(&["b"]);
    sim.announce("a", |report| report.sharing_off = true);
    assert_eq!(sim.ask("a"), Told::Origin);
    assert_eq!(sim.ask("b"), Told::Origin);
    assert_eq!(sim.ask("a"), rows("", "b", ""));
}

#[test]
fn a_new_scheduler_takes_over_who_is_at_the_origin() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.ask_at_origin("a", 7), Told::Origin);
    assert_eq!(sim.ask("b"), rows("", "a", ""));
    assert_eq!(sim.duties("s1"), 0);
}

#[test]
fn whole_content_makes_the_origin_unnecessary() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask("a");
    sim.hold("b");
    assert_eq!(sim.ask_at_origin("a", 1), rows("", "b", ""));
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

/// A full list says what is there, so also what is not there any more, however it had come to be known.
#[test]
fn what_a_host_no_longer_lists_it_no_longer_has() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.ask_at_origin("a", 1);
    let before = sim.seq;
    sim.end("a", PeerState::Complete);
    sim.announce("a", |report| (report.seq, report.tasks) = (before, Some(Vec::new())));
    assert_eq!(sim.ask("b"), rows("", "a", ""), "the list was on its way when the task was completed");
    sim.announce("a", |report| report.tasks = Some(Vec::new()));
    assert_eq!(sim.ask("b"), Told::Origin);
}

#[test]
fn a_host_that_stores_nothing_gets_no_duty_and_passes_on_only_what_it_has() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.announce("s1", |report| report.storing = false);
    assert_eq!(sim.ask("a"), Told::Origin, "no seed is sent");
    sim.announce("a", |report| report.storing = false);
    assert_eq!(sim.ask("b"), Told::Origin, "nobody can read what is not stored");

    let mut sim = Sim::with(&["a", "b"]);
    sim.hold("a");
    sim.announce("a", |report| report.storing = false);
    assert_eq!(sim.ask("b"), rows("", "a", ""));
}
