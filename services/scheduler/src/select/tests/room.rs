//! Nobody is given more children than it can serve, as long as somebody else will do.

use std::collections::BTreeMap;

use super::rows::follow;
use super::*;
use crate::task::Source;

fn name(at: usize) -> String {
    format!("p{at:03}")
}

fn held() -> HeldTask {
    HeldTask { id: task(), length: 64 << 20, piece_length: 1 << 20, imported: false }
}

fn with_seed(slots: u32) -> Sim {
    let mut sim = Sim::new();
    sim.announce("s1", |report| (report.tasks, report.upload_slots) = (Some(vec![held()]), slots));
    sim
}

#[test]
fn the_clusters_limit_counts_where_it_is_lower_than_the_hosts() {
    let mut sim = Sim::new();
    sim.state.policy.candidate_parent_limit = 1;
    sim.state.policy.peer_load_limit = 1;
    sim.hold("one");
    sim.hold("two");
    let above = |sim: &mut Sim, name: &str| {
        sim.announce(name, |report| report.sharing_off = true);
        let Told::Rows(_, above, _) = sim.ask(name) else { panic!("nobody waits") };
        above
    };
    assert_ne!(above(&mut sim, "a"), above(&mut sim, "b"), "each has one child");
    sim.hold("s1");
    assert_eq!(above(&mut sim, "c"), "s1", "peers are full, the seed has a limit of its own");
    sim.state.policy.seed_load_limit = 1;
    assert!(!above(&mut sim, "d").is_empty(), "all are full");
}

#[test]
fn a_relay_that_could_not_serve_a_row_gets_no_slot() {
    let mut sim = with_seed(100);
    sim.announce("few", |report| report.upload_slots = 6);
    sim.announce("enough", |report| report.upload_slots = 7);
    assert_eq!((sim.ask("few"), sim.place("few")), (rows("", "s1", ""), None));
    assert_eq!(sim.ask("enough"), rows("", "s1", ""));
    assert!(sim.place("enough").is_some());
}

#[test]
fn rows_are_as_wide_as_the_clusters_limit_lets_them_be() {
    let width = |peer_load_limit, hosts| Policy { peer_load_limit, ..Policy::default() }.row_width(hosts);
    assert_eq!((width(200, 10), width(200, 1_000)), (4, 8));
    assert_eq!((width(7, 10), width(6, 10), width(3, 10), width(1, 1_000)), (4, 3, 2, 1));
}

/// One that only reads takes nothing from the row above: those are there to vouch.
#[test]
fn a_reader_is_a_child_of_its_row_alone() {
    let mut sim = with_seed(100);
    ["a", "b"].iter().for_each(|name| drop(sim.announce(name, |_| {})));
    sim.ask("a");
    sim.ask("b");
    sim.announce("leaf", |report| report.sharing_off = true);
    assert_eq!(sim.ask("leaf"), rows("a b", "s1", ""));
    assert_eq!((sim.state.hosts.children(&host("s1")), sim.state.hosts.children(&host("a"))), (2, 2));
}

#[derive(Clone, Debug)]
enum Change {
    Join { slots: u32, shares: bool },
    Complete(usize),
    Leave(usize),
    Report(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..24u32, prop::bool::weighted(0.8)).prop_map(|(slots, shares)| Change::Join { slots, shares }),
        2 => any::<usize>().prop_map(Change::Complete),
        1 => any::<usize>().prop_map(Change::Leave),
        2 => any::<usize>().prop_map(Change::Report),
    ]
}

impl Sim {
    fn running(&self, at: usize) -> Option<String> {
        let peers = self.state.tasks.get(&task())?.peers.iter().filter(|(_, peer)| peer.is_running());
        let names: Vec<_> = peers.map(|(id, _)| id.to_string()).collect();
        names.get(at.checked_rem(names.len())?).cloned()
    }

    fn is_full(&self, id: &HostId, children: &BTreeMap<HostId, u32>) -> bool {
        let slots = self.state.policy.slots(&self.state.hosts.announced[id].report);
        children.get(id).is_some_and(|children| *children >= slots) || slots == 0
    }

    /// What a newcomer is told names a full host only when all who have the content are full.
    fn check_newcomer(&mut self, name: &str) -> Result<(), TestCaseError> {
        let hosts = &self.state.hosts;
        let children: BTreeMap<_, _> = hosts.announced.keys().map(|id| (id.clone(), hosts.children(id))).collect();
        prop_assert!(matches!(self.ask(name), Told::Rows(..)), "nobody waits because all are full");
        let told = self.state.tasks[&task()].peers[&host(name)].told.clone().unwrap();
        let over: Vec<&HostId> = told.serving().filter(|id| self.is_full(id, &children)).collect();
        let sharing = |id: &&HostId| self.state.hosts.announced.get(*id).is_some_and(|host| !host.report.sharing_off);
        let whole = self.state.tasks[&task()].whole().iter().filter(sharing);
        let free: Vec<_> = whole.filter(|id| !self.is_full(id, &children)).collect();
        prop_assert!(over.is_empty() || free.is_empty(), "{name} is given {over:?} although {free:?} have room");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_newcomer_is_given_to_nobody_who_is_full_while_another_can_serve(
        changes in prop::collection::vec(change(), 1..60), slots in 0..12u32, load_limit in 1..40u32,
    ) {
        let mut sim = with_seed(slots);
        sim.state.policy.peer_load_limit = load_limit;
        let mut next = 0;
        for change in changes {
            match change {
                Change::Join { slots, shares } => {
                    next += 1;
                    sim.announce(&name(next), |report| (report.upload_slots, report.sharing_off) = (slots, !shares));
                    sim.check_newcomer(&name(next))?;
                }
                Change::Complete(at) => if let Some(name) = sim.running(at) {
                    sim.end(&name, PeerState::Complete);
                },
                Change::Leave(at) => if let Some(name) = sim.running(at) {
                    sim.state.delete_host(&host(&name));
                },
                Change::Report(at) => if let Some(name) = sim.running(at) {
                    sim.obey(&name, |report| report.received_bytes += 1 << 20);
                },
            }
            sim.state.tasks[&task()].table().check();
        }
        // In one and the same state nobody reads from itself, however full anybody is.
        let running: Vec<_> = (0..).map_while(|at| (at < next).then(|| name(at + 1))).collect();
        let mut answers = BTreeMap::new();
        for name in running {
            let is = |peer: &crate::task::Peer| peer.is_running();
            if !sim.state.tasks[&task()].peers.get(&host(&name)).is_some_and(is) {
                continue;
            }
            let State { tasks, hosts, policy, .. } = &sim.state;
            let view = View { now_ms: sim.now_ms, task: &tasks[&task()], hosts, policy };
            if let Verdict::Parents(sources) = select(view, &host(&name)).verdict {
                let unique: std::collections::BTreeSet<_> = sources.parents.iter().map(|Source { id, .. }| id).collect();
                prop_assert_eq!(unique.len(), sources.parents.len());
                answers.insert(host(&name), sources);
            }
        }
        follow(&answers, 24);
    }
}
