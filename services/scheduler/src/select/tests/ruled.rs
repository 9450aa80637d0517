//! Block lists and priorities.

use df_api::rules::{ApplicationPriority, ApplicationRule, BlockList, Blocked, Priority, TaskBlockList};

use super::*;
use crate::rules::{Forbidden, RuleSet, Rules};
use crate::state::Refused;

fn blocked(application: &str) -> Blocked {
    Blocked { applications: vec![application.to_owned()], ..Blocked::default() }
}

fn download(application: &str) -> BlockList {
    BlockList { task: TaskBlockList { download: blocked(application), ..TaskBlockList::default() } }
}

fn upload(application: &str) -> BlockList {
    BlockList { task: TaskBlockList { upload: blocked(application), ..TaskBlockList::default() } }
}

impl Sim {
    fn rule(&mut self, seeds: BlockList, peers: BlockList) {
        let version = self.state.rules.version + 1;
        self.state.rules = Rules::compile(RuleSet { seeds, peers, applications: Vec::new() }, version).unwrap();
    }

    fn wish(&mut self, name: &str, application: &str, change: impl FnOnce(&mut PeerReport)) -> Result<Told, Refused> {
        self.seq += 1;
        let mut report = PeerReport { seq: self.seq, ..peer_report(name, PeerState::Running) };
        report.origin.application = Some(application.to_owned());
        change(&mut report);
        self.state.report_peer(self.now_ms, &task(), &host(name), report)?;
        Ok(self.decide(name))
    }
}

#[test]
fn a_blocked_download_is_refused_and_one_that_runs_is_ended() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(rows("", "s1", "")));
    sim.rule(BlockList::default(), download("app"));
    let refused = sim.wish("a", "app", |_| {}).unwrap_err();
    assert!(matches!(&refused, Refused::Forbidden(Forbidden::Blocked { list: "applications", .. })), "{refused}");
    assert!(!sim.state.tasks.contains_key(&task()), "nobody reads through it");
    assert_eq!(sim.wish("b", "other", |_| {}), Ok(rows("", "s1", "")));
    assert!(sim.wish("s1", "app", |report| report.at_origin = true).is_ok(), "the list of seeds is another");
    assert_eq!(sim.state.rules.version, 1);
}

#[test]
fn what_is_whole_already_is_no_download() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.rule(BlockList::default(), download("app"));
    assert!(sim.wish("a", "app", |report| report.state = PeerState::Complete).is_ok());
    assert_eq!(sim.wish("b", "other", |_| {}), Ok(rows("", "a", "")));
}

#[test]
fn a_kind_of_host_whose_upload_is_blocked_is_no_parent() {
    let mut sim = Sim::with(&["a", "b"]);
    sim.hold("s1");
    sim.hold("p1");
    sim.rule(upload("app"), BlockList::default());
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(rows("", "p1", "")));
    sim.rule(BlockList::default(), upload("app"));
    assert_eq!(sim.wish("b", "app", |_| {}), Ok(rows("", "s1", "")), "nor are peers beside it");
}

#[test]
fn who_may_not_be_given_it_does_not_wait_for_it_either() {
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.ask("a"), rows("", "s1", ""));
    sim.rule(upload("app"), upload("app"));
    assert_eq!(sim.wish("b", "app", |_| {}), Ok(Told::Origin), "the seed is at the origin, and not for this one");
    assert!(sim.state.tasks[&task()].holds_lease(&host("s1")));
}

#[test]
fn no_seed_is_sent_that_may_not_fetch_it_or_give_it_away() {
    for seeds in [download("app"), upload("app")] {
        let mut sim = Sim::with(&["s1", "a"]);
        sim.rule(seeds, BlockList::default());
        assert_eq!(sim.wish("a", "app", |_| {}), Ok(Told::Origin));
        assert_eq!(sim.duties("s1"), 0);
    }
}

#[test]
fn the_priorities_mean_what_they_do_to_the_incumbent() {
    let of = |level: u8| {
        let mut sim = Sim::with(&["s1", "a"]);
        let told = sim.wish("a", "app", |report| report.origin.priority = Priority::try_from(level).unwrap());
        (told, sim.duties("s1"))
    };
    for usual in [0, 4, 5, 6] {
        assert_eq!(of(usual), (Ok(rows("", "s1", "")), 1), "{usual}");
    }
    assert_eq!(of(1), (Err(Refused::Forbidden(Forbidden::Asked)), 0));
    assert_eq!(of(2), (Ok(Told::Nobody), 0));
    assert_eq!(of(3), (Ok(Told::Origin), 0));
}

#[test]
fn only_what_the_cluster_has_also_while_somebody_is_getting_it() {
    let mut sim = Sim::with(&["a", "b", "c"]);
    let rule = ApplicationRule {
        name: "app".to_owned(),
        priority: ApplicationPriority { value: Priority::CACHED_ONLY, urls: Vec::new() },
    };
    sim.state.rules = Rules::compile(RuleSet { applications: vec![rule], ..RuleSet::default() }, 1).unwrap();
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(Told::Nobody));
    assert_eq!(sim.ask("b"), Told::Origin);
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(rows("", "b", "")));
    sim.end("b", PeerState::Failed);
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(Told::Nobody));
    sim.hold("c");
    assert_eq!(sim.wish("a", "app", |_| {}), Ok(rows("", "c", "")));
}
