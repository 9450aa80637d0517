//! Who is the better parent, who is none, and what people are told of that.

use df_api::rules::Weights;
use df_api::scheduler::{Explanation, Filter};

use super::*;

impl Sim {
    fn explain(&self, name: &str) -> Explanation {
        let State { tasks, hosts, policy, .. } = &self.state;
        let task = &tasks[&task()];
        let known = task.peers.len() + task.whole().len();
        explain(View { now_ms: self.now_ms, task, hosts, policy }, &host(name), known).unwrap()
    }

    fn hold_with(&mut self, name: &str, change: impl FnOnce(&mut HostReport)) {
        let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18, imported: false };
        self.announce(name, |report| {
            report.tasks = Some(vec![held]);
            change(report);
        });
    }

    /// Whom a newcomer of this place reads from, of those who have it.
    fn chosen(&mut self, limit: usize, weights: Weights) -> String {
        self.state.policy.candidate_parent_limit = limit;
        self.state.policy.weights = weights;
        self.announce("me", |report| {
            (report.place.idc, report.place.location) = ("East".to_owned(), "a|b|c".to_owned());
        });
        let Told::Rows(_, above, _) = self.ask("me") else { panic!("somebody has it") };
        above
    }
}

fn only(change: impl FnOnce(&mut Weights)) -> Weights {
    let mut weights = Weights { load: 0.0, idc: 0.0, location: 0.0, host_type: 0.0 };
    change(&mut weights);
    weights
}

/// Holders of which each is the best in one respect.
fn holders() -> Sim {
    let mut sim = Sim::new();
    sim.hold_with("idle", |_| {});
    for name in ["idc", "location", "s1"] {
        sim.hold_with(name, |report| {
            (report.sent_bytes_per_s, report.sent_bytes_per_s_max) = (60, Some(100));
            match name {
                "idc" => report.place.idc = "east".to_owned(),
                "location" => report.place.location = "a|b|d".to_owned(),
                _ => {}
            }
        });
    }
    sim
}

#[test]
fn each_weight_alone_decides() {
    assert_eq!(holders().chosen(1, only(|weights| weights.load = 1.0)), "idle");
    assert_eq!(holders().chosen(1, only(|weights| weights.idc = 7.0)), "idc");
    assert_eq!(holders().chosen(1, only(|weights| weights.location = 0.1)), "location");
    assert_ne!(holders().chosen(3, only(|weights| weights.host_type = 0.1)), "s1", "peers relieve seeds");
    assert!(!holders().chosen(3, only(|weights| weights.host_type = 0.1)).contains("s1"));
}

#[test]
fn an_idle_host_elsewhere_is_better_than_a_loaded_one_here() {
    assert_eq!(holders().chosen(1, Weights::default()), "idle");
    assert_eq!(holders().chosen(2, Weights::default()), "idc idle");
}

#[test]
fn who_reads_from_somebody_stays_although_it_is_loaded_by_now() {
    let mut sim = Sim::with(&["me"]);
    sim.hold("one");
    assert_eq!(sim.chosen(1, Weights::default()), "one");
    sim.hold("two");
    sim.hold_with("one", |report| (report.sent_bytes_per_s, report.sent_bytes_per_s_max) = (100, Some(100)));
    assert_eq!(sim.chosen(1, Weights::default()), "one");
    sim.announce("late", |report| report.place.idc = "east".to_owned());
    let Told::Rows(_, above, _) = sim.ask("late") else { panic!("somebody has it") };
    assert_eq!(above, "two");
}

#[test]
fn hosts_alike_are_told_apart_by_the_task() {
    let alike = |names: [&str; 3]| {
        let mut sim = Sim::new();
        names.iter().for_each(|name| sim.hold(name));
        sim.chosen(1, Weights::default())
    };
    assert_eq!(alike(["a", "b", "c"]), alike(["c", "b", "a"]), "whoever came first");
}

#[test]
fn no_more_holders_than_the_limit_are_looked_at() {
    let mut sim = Sim::new();
    for at in 0..40 {
        sim.hold_with(&format!("h{at:02}"), |report| {
            (report.sent_bytes_per_s, report.sent_bytes_per_s_max) = (100, Some(100));
        });
    }
    let last = sim.state.tasks[&task()].apart().last().unwrap().to_string();
    sim.hold(&last);
    let chosen = |sim: &mut Sim, filter_parent_limit| {
        sim.state.delete_peer(&task(), &host("me"));
        sim.state.policy.filter_parent_limit = filter_parent_limit;
        sim.chosen(1, Weights::default())
    };
    assert_eq!(chosen(&mut sim, 40), last, "the only one that is idle");
    assert_ne!(chosen(&mut sim, 39), last);
}

#[test]
fn a_host_whose_link_is_much_slower_than_usual_only_reads() {
    let mut sim = Sim::new();
    sim.hold("s1");
    for (name, megabytes) in [("a", 100), ("b", 100), ("c", 100), ("slower", 50), ("weak", 49)] {
        sim.announce(name, |report| report.sent_bytes_per_s_max = Some(megabytes << 20));
    }
    sim.announce("unknown", |_| {});
    ["a", "b", "c"].iter().for_each(|name| drop(sim.ask(name)));
    sim.now_ms += 1_000;
    for (name, relays) in [("slower", true), ("weak", false), ("unknown", true)] {
        assert!(matches!(sim.ask(name), Told::Rows(..)));
        assert_eq!(sim.place(name).is_some(), relays, "{name}");
    }
}

#[test]
fn it_is_told_who_is_a_parent_and_why_others_are_none() {
    let mut sim = Sim::new();
    sim.state.policy.candidate_parent_limit = 1;
    for name in ["good", "extra", "closed", "mute", "liar", "full"] {
        sim.hold(name);
    }
    sim.hold_with("good", |report| report.place.idc = "east".to_owned());
    sim.hold_with("closed", |report| report.sharing_off = true);
    sim.hold_with("full", |report| report.upload_slots = 0);
    for name in ["me", "mate", "idler"] {
        sim.announce(name, |report| report.place.idc = "east".to_owned());
    }
    sim.announce("idler", |report| report.sharing_off = true);
    let complaint = |about: &str, reason| Complaint { peer_id: host(about).peer(), reason };
    sim.report("me", |report| report.complaints = vec![complaint("mute", Silent), complaint("liar", WrongBytes)]);
    sim.ask("mate");
    sim.ask("idler");
    sim.decide("me");

    let why = sim.explain("me");
    let parents: Vec<_> = why.parents.iter().map(|parent| (parent.peer_id.as_str(), parent.role)).collect();
    assert_eq!(parents, [("mate", ParentRole::Mate), ("good", ParentRole::Above), ("extra", ParentRole::Reserve)]);
    let good = &why.parents[1];
    assert_eq!((good.terms.load, good.terms.idc, good.terms.location, good.terms.host_type), (1.0, 1.0, 0.0, 0.5));
    assert!((good.score - 0.85).abs() < 1e-9 && good.slots == 100, "{good:?}");
    let passed_over: std::collections::BTreeMap<_, _> =
        why.passed_over.iter().map(|it| (it.peer_id.as_str(), it.filter)).collect();
    assert_eq!(passed_over["closed"], Filter::SharingOff);
    assert_eq!(passed_over["mute"], Filter::Complained);
    assert_eq!(passed_over["liar"], Filter::WrongBytes);
    assert_eq!(passed_over["full"], Filter::Full);
    assert_eq!(passed_over["idler"], Filter::SharingOff);
    assert_eq!(why.not_listed, 0);
}

#[test]
fn who_stands_below_is_no_parent_and_that_is_said() {
    let mut sim = Sim::with(&["a", "b", "c", "d", "e"]);
    sim.hold("s1");
    for name in ["a", "b", "c", "d", "e"] {
        sim.ask(name);
    }
    let filter = |sim: &Sim, of: &str, about: &str| {
        let why = sim.explain(of);
        why.passed_over.iter().find(|it| it.peer_id.as_str() == about).map(|it| it.filter)
    };
    assert_eq!(filter(&sim, "a", "e"), Some(Filter::Cycle));
    assert_eq!(filter(&sim, "e", "a"), None, "it is a parent");
    sim.announce("leaf", |report| report.upload_slots = 1);
    sim.ask("leaf");
    assert_eq!(filter(&sim, "a", "leaf"), Some(Filter::Starving));
}

/// The figure is for people: `just test` has no limits of time. At 10,000 holders, of whom a few are looked at; and with
/// all of them full, when each is.
#[test]
fn a_decision_among_ten_thousand_holders_is_printed() {
    const ROUNDS: u32 = 200;
    let mut sim = Sim::new();
    for at in 0..10_000 {
        sim.hold(&format!("holder-{at:05}.example-10.0.0.1-4001"));
    }
    sim.announce("me", |_| {});
    sim.ask("me");
    for (case, peer_load_limit) in [("with room", 200), ("all full", 0)] {
        sim.state.policy.peer_load_limit = peer_load_limit;
        if let Some(me) = sim.state.tasks.get_mut(&task()).unwrap().peers.get_mut(&host("me")) {
            me.told = None;
        }
        let State { tasks, hosts, policy, .. } = &sim.state;
        let view = View { now_ms: sim.now_ms, task: &tasks[&task()], hosts, policy };
        let started = std::time::Instant::now();
        let answers: Vec<Selection> = (0..ROUNDS).map(|_| select(view, &host("me"))).collect();
        let took = started.elapsed() / ROUNDS;
        println!("select among 10,000 holders, {case}: {took:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0] && matches!(answer.verdict, Verdict::Parents(_))));
    }
}
