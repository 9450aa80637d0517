//! Rows: who stands where, and reads from whom.

use std::collections::{BTreeMap, BTreeSet};

use df_api::rows::Surroundings;
use df_api::scheduler::{Row, RowPlace};

use super::*;

const PIECE: u64 = 1 << 20;

fn name(at: usize) -> String {
    format!("p{at:05}")
}

/// A seed that has it, and hosts; nobody has asked yet.
fn swarm(hosts: usize) -> Sim {
    let mut sim = Sim::new();
    let held = HeldTask { id: task(), length: 256 * PIECE, piece_length: PIECE, imported: false };
    sim.announce("s1", |report| report.tasks = Some(vec![held]));
    for at in 0..hosts {
        sim.announce(&name(at), |_| {});
    }
    sim
}

fn joined(hosts: usize) -> Sim {
    let mut sim = swarm(hosts);
    for at in 0..hosts {
        sim.ask(&name(at));
    }
    sim
}

impl Sim {
    fn selection(&self, name: &str) -> Selection {
        let State { tasks, hosts, policy, .. } = &self.state;
        select(View { now_ms: self.now_ms, task: &tasks[&task()], hosts, policy }, &host(name))
    }

    /// What everybody is told in one and the same state.
    fn answers(&self) -> BTreeMap<HostId, Sources> {
        let running = self.state.tasks[&task()].peers.iter().filter(|(_, peer)| peer.is_running());
        let answers = running.filter_map(|(id, _)| match self.selection(id.as_str()).verdict {
            Verdict::Parents(sources) => Some((id.clone(), sources)),
            Verdict::Origin | Verdict::Wait | Verdict::Nobody => None,
        });
        answers.collect()
    }

    fn places(&self) -> BTreeMap<HostId, RowPlace> {
        self.state.tasks[&task()].table().places()
    }
}

/// As the child reads an answer.
pub(super) fn surroundings(sources: &Sources) -> Surroundings<&HostId> {
    let with = |role| {
        let all = sources.parents.iter().filter(move |parent| parent.role == role);
        all.map(|parent| (parent.slot, &parent.id)).collect()
    };
    Surroundings {
        width: sources.row.width,
        slot: sources.row.place.map(|place| place.slot),
        mates: with(ParentRole::Mate),
        above: with(ParentRole::Above),
    }
}

/// Over every piece, everybody's chain of sources ends at somebody who reads from nobody. Returns how often each is a source.
pub(super) fn follow(answers: &BTreeMap<HostId, Sources>, pieces: u32) -> BTreeMap<HostId, u32> {
    let around: BTreeMap<_, _> = answers.iter().map(|(id, sources)| (id, surroundings(sources))).collect();
    let mut sent: BTreeMap<HostId, u32> = BTreeMap::new();
    for piece in 0..pieces {
        for (id, here) in &around {
            let mut at = here.source(piece).unwrap_or_else(|| panic!("{id} has nobody for piece {piece}: {here:?}"));
            *sent.entry(at.clone()).or_default() += 1;
            let mut steps = 0;
            while let Some(next) = around.get(at) {
                at = next.source(piece).unwrap();
                steps += 1;
                assert!(steps <= 2 * around.len(), "{id} goes round in circles for piece {piece}");
            }
        }
    }
    sent
}

#[test]
fn peers_fill_a_row_then_the_next() {
    let sim = joined(9);
    assert_eq!(sim.answers().len(), 9);
    let told = |at| Told::from(sim.selection(&name(at)).verdict);
    assert_eq!(told(0), rows("p00001 p00002 p00003", "s1", ""));
    assert_eq!(told(5), rows("p00004 p00006 p00007", "p00000 p00001 p00002 p00003", "s1"));
    assert_eq!(told(8), rows("", "p00004 p00005 p00006 p00007", "s1"));
    assert_eq!(sim.place("p00008"), Some((3, 0)), "rows count from the first number of this scheduler");
}

#[test]
fn a_single_child_reads_from_the_seed_only() {
    let sim = joined(1);
    assert_eq!(Told::from(sim.selection(&name(0)).verdict), rows("", "s1", ""));
}

#[test]
fn who_comes_when_a_row_is_on_its_way_begins_another() {
    let mut sim = joined(2);
    sim.obey(&name(0), |report| report.received_bytes = 8 * PIECE);
    sim.announce("late", |_| {});
    sim.announce("later", |_| {});
    assert_eq!(
        sim.obey("late", |_| {}),
        rows("", "p00000 p00001", "s1"),
        "2 % of it is 5 MiB, and 2 more are too many"
    );
    assert_eq!(sim.obey("later", |report| report.received_bytes = 100 * PIECE), rows("", "late", "s1"));
    sim.announce("latest", |_| {});
    assert_eq!(sim.obey("latest", |_| {}), rows("late", "p00000 p00001", "s1"), "`later` is on its way, `late` is not");
}

#[test]
fn complete_peers_stay_where_they_are_and_are_in_reserve_for_others() {
    let mut sim = joined(5);
    sim.end(&name(1), PeerState::Complete);
    assert_eq!(sim.ask(&name(0)), rows("p00001 p00002 p00003", "s1", ""));
    assert_eq!(sim.ask(&name(4)), rows("", "p00000 p00001 p00002 p00003", "s1"));
    for at in [5, 6, 7, 8] {
        sim.announce(&name(at), |_| {});
        sim.ask(&name(at));
    }
    assert_eq!(sim.ask(&name(8)), rows("", "p00004 p00005 p00006 p00007", "p00001 s1"));
}

#[test]
fn the_first_of_an_idc_hangs_from_the_first_of_the_idc_before() {
    let mut sim = swarm(0);
    for at in 0..16 {
        sim.announce(&name(at), |report| report.place.idc = ["east", "West"][at % 2].to_owned());
        sim.ask(&name(at));
    }
    let told = |at| Told::from(sim.selection(&name(at)).verdict);
    assert_eq!(told(0), rows("p00002 p00004 p00006", "s1", ""));
    assert_eq!(told(1), rows("p00003 p00005 p00007", "p00000 p00002 p00004 p00006", "s1"));
    assert_eq!(told(8), rows("p00010 p00012 p00014", "p00000 p00002 p00004 p00006", "s1"));
    assert_eq!(told(9), rows("p00011 p00013 p00015", "p00001 p00003 p00005 p00007", "s1"));
}

#[test]
fn a_row_that_is_empty_is_passed_over() {
    let mut sim = joined(12);
    for at in 4..8 {
        sim.state.delete_host(&host(&name(at)));
    }
    assert_eq!(sim.ask(&name(8)), rows("p00009 p00010 p00011", "p00000 p00001 p00002 p00003", "s1"));
    for at in 0..4 {
        sim.end(&name(at), PeerState::Failed);
    }
    assert_eq!(sim.ask(&name(8)), rows("p00009 p00010 p00011", "s1", ""));
}

#[test]
fn who_shares_nothing_only_reads() {
    let mut sim = joined(8);
    sim.announce("leaf", |report| report.sharing_off = true);
    let Told::Rows(mates, above, reserve) = sim.ask("leaf") else { panic!("it reads") };
    assert_eq!((mates.split(' ').count(), reserve.as_str(), sim.place("leaf")), (4, "s1", None));
    assert!(above == "s1" && mates.starts_with("p00000") || above.starts_with("p00000"));
    sim.announce(&name(1), |report| report.sharing_off = true);
    assert_eq!(sim.place(&name(1)), None, "it has switched sharing off");
    assert_eq!(sim.ask(&name(0)), rows("p00002 p00003", "s1", ""));
}

#[test]
fn many_holders_share_the_first_row_out_and_the_full_come_last() {
    let mut sim = Sim::with(&["s1", "a", "b", "c", "d", "e", "f"]);
    for name in ["s1", "a", "b", "c", "d"] {
        sim.hold(name);
    }
    assert_eq!(sim.ask("e"), rows("", "a b c d", "s1"));
    sim.announce("a", |report| report.upload_slots = 1);
    assert_eq!(sim.ask("f"), rows("e", "b c d s1", "a"));
    assert_eq!(sim.ask("e"), rows("f", "a b c d", "s1"), "who has its parents keeps them");
}

#[test]
fn when_all_that_have_it_are_mates_one_reads_from_them() {
    let mut sim = joined(3);
    sim.end(&name(0), PeerState::Complete);
    sim.state.delete_host(&host("s1"));
    assert_eq!(sim.ask(&name(1)), rows("p00000 p00002", "", ""));
    assert_eq!(sim.place(&name(1)), None, "and nobody from it");
    assert_eq!(sim.ask(&name(2)), rows("p00000", "", ""));
    assert_eq!(sim.ask(&name(1)), rows("p00000", "", ""));
}

#[test]
fn a_wide_row_from_200_hosts_on() {
    let sim = joined(210);
    assert_eq!(sim.answers()[&host(&name(0))].row, Row { width: 8, place: Some(RowPlace { row: 1, slot: 0 }) });
}

#[test]
fn a_new_scheduler_knows_the_table_again_whoever_reports_first() {
    let mut was = joined(0);
    for at in 0..21 {
        let idc = if at < 10 { "a" } else { "b" };
        was.announce(&name(at), |report| (report.place.idc, report.sharing_off) = (idc.to_owned(), at == 20));
        was.ask(&name(at));
    }
    was.state.delete_peer(&task(), &host(&name(5)));
    [8, 9].iter().for_each(|at| drop(was.decide(&name(*at))));
    let places = was.places();
    assert_eq!(places.len(), 19);
    let told = was.answers();

    for backwards in [false, true] {
        let mut now = Sim::new();
        now.state = State::new(Policy::default(), 1_000_000);
        let mut all: Vec<usize> = (0..21).filter(|at| *at != 5).collect();
        if backwards {
            all.reverse();
        }
        now.hold("s1");
        for at in all {
            let Sources { row, .. } = told[&host(&name(at))].clone();
            // Half of the hosts announce themselves only after their peers have reported.
            let announce = |now: &mut Sim| {
                let idc = if at < 10 { "a" } else { "b" };
                now.announce(&name(at), |report| (report.place.idc, report.sharing_off) = (idc.to_owned(), at == 20));
            };
            if at % 2 == 0 {
                announce(&mut now);
            }
            now.report(&name(at), |report| report.row = Some(row));
            announce(&mut now);
            now.decide(&name(at));
        }
        assert_eq!(now.places(), places);
        assert_eq!(now.answers(), told, "and everybody is told the same");
        now.announce("new", |report| report.place.idc = "a".to_owned());
        now.obey("new", |report| report.received_bytes = 100 * PIECE);
        assert_eq!(now.place("new"), Some((1_000_000, 0)), "below all that were there");
    }
}

#[test]
fn what_another_claims_is_its_place_is_not_believed_when_it_is_taken_or_nonsense() {
    let mut sim = joined(1);
    let claim = |width, row, slot| Some(Row { width, place: Some(RowPlace { row, slot }) });
    for (at, row) in [claim(4, 1, 0), claim(4, 1, 4), claim(3, 1, 2), claim(4, u64::MAX, 0), claim(4_000_000, 1, 9)]
        .into_iter()
        .enumerate()
    {
        let name = format!("liar{at}");
        sim.announce(&name, |_| {});
        sim.report(&name, |report| report.row = row);
        assert!(sim.place(&name).is_some_and(|(row, _)| row <= 2), "{row:?}");
    }
    sim.state.delete_host(&host(&name(0)));
}

#[test]
fn a_change_rings_one_row_and_the_next() {
    let mut sim = joined(40);
    sim.state.take_rings();
    sim.state.delete_peer(&task(), &host(&name(9)));
    let rung: BTreeSet<String> = sim
        .state
        .take_rings()
        .into_iter()
        .map(|ring| match ring {
            crate::state::Ring::Peer(_, host) => host.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rung, (8..16).map(name).collect());
}

#[test]
fn a_place_that_was_left_stays_empty_while_others_are_far() {
    let mut sim = joined(12);
    for at in 0..12 {
        sim.obey(&name(at), |report| (report.received_bytes, report.piece_length) = (10 * PIECE, Some(PIECE)));
    }
    let before = sim.places();
    sim.state.delete_peer(&task(), &host(&name(1)));
    for at in (0..12).filter(|at| *at != 1) {
        sim.obey(&name(at), |_| {});
    }
    let moved: Vec<_> = before.into_iter().filter(|(id, place)| sim.places().get(id) != Some(place)).collect();
    assert_eq!(moved.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [name(1)], "who moves has to catch up");
    sim.state.tasks[&task()].table().check();
    follow(&sim.answers(), 24);
}

#[test]
fn from_a_wide_row_two_read() {
    let mut sim = swarm(3_000);
    (0..150).for_each(|at| drop(sim.ask(&name(at))));
    let table = sim.state.tasks[&task()].table();
    table.check();
    let above: Vec<_> = (1..=15).map(|row| table.above(row)).collect();
    assert_eq!(above[..4], [None, Some(1), Some(2), Some(2)]);
    assert_eq!(above[4..], [3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8].map(Some));
    follow(&sim.answers(), 40);
    (0..10).for_each(|at| sim.state.delete_peer(&task(), &host(&name(at))));
    let table = sim.state.tasks[&task()].table();
    table.check();
    assert_eq!((table.above(2), table.above(3), table.above(7), table.above(15)), (None, Some(2), Some(4), Some(8)));
}

/// Decisions look at a few rows however many there are: a herd of ten thousand is placed and told in no time.
#[test]
fn ten_thousand_join_one_after_the_other() {
    let sim = joined(10_000);
    sim.state.tasks[&task()].table().check();
    let places = sim.places();
    let rows: BTreeSet<u64> = places.values().map(|place| place.row).collect();
    assert_eq!((places.len(), rows.len()), (10_000, 1_000));
}

#[derive(Clone, Debug)]
enum Change {
    Join,
    Leave(usize),
    Fail(usize),
    Complete(usize),
    Progress(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => Just(Change::Join),
        2 => any::<usize>().prop_map(Change::Leave),
        1 => any::<usize>().prop_map(Change::Fail),
        1 => any::<usize>().prop_map(Change::Complete),
        2 => any::<usize>().prop_map(Change::Progress),
    ]
}

impl Sim {
    /// `None` when there is nobody to do it.
    fn change(&mut self, change: &Change, next: &mut usize, idcs: usize) -> Option<HostId> {
        let running: Vec<HostId> = self
            .state
            .tasks
            .get(&task())
            .into_iter()
            .flat_map(|task| &task.peers)
            .filter(|(_, peer)| peer.is_running())
            .map(|(id, _)| id.clone())
            .collect();
        let who = |at: usize| running.get(at.checked_rem(running.len())?).cloned();
        let id = match *change {
            Change::Join => {
                *next += 1;
                let at = *next;
                // Every seventh only reads.
                self.announce(&name(at), |report| {
                    (report.place.idc, report.sharing_off) = (format!("idc{}", at % idcs), at % 7 == 6);
                });
                self.ask(&name(at));
                host(&name(at))
            }
            Change::Leave(at) => {
                self.state.delete_host(&who(at)?);
                who(at)?
            }
            Change::Fail(at) => {
                self.end(who(at)?.as_str(), PeerState::Failed);
                who(at)?
            }
            Change::Complete(at) => {
                self.end(who(at)?.as_str(), PeerState::Complete);
                who(at)?
            }
            Change::Progress(at) => {
                self.obey(who(at)?.as_str(), |report| report.received_bytes += 20 * PIECE);
                who(at)?
            }
        };
        Some(id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_piece_comes_down_from_who_has_it(changes in prop::collection::vec(change(), 1..60), idcs in 1..4usize) {
        let (mut sim, mut next) = (swarm(0), 0);
        for change in &changes {
            sim.change(change, &mut next, idcs);
            sim.state.tasks[&task()].table().check();
        }
        follow(&sim.answers(), 24);
    }

    #[test]
    fn each_sends_about_what_it_receives(hosts in 1..60usize) {
        let sim = joined(hosts);
        // A number of pieces that any number of members divides.
        let sent = follow(&sim.answers(), 48);
        prop_assert_eq!(sent[&host("s1")], 48, "the seed sends each byte once");
        let last = hosts % 4;
        for (id, sent) in sent.into_iter().filter(|(id, _)| *id != host("s1")) {
            let count = if id >= host(&name(hosts - last)) { last as u32 } else { 4 };
            prop_assert!(sent <= 48 + 48 / count, "{} sent {}", id, sent);
        }
    }

    #[test]
    fn a_change_concerns_one_row_and_the_next(hosts in 1..60usize, change in change(), holes in prop::collection::vec(any::<usize>(), 0..6)) {
        let (mut sim, mut next) = (joined(hosts), hosts);
        for hole in holes {
            sim.change(&Change::Leave(hole), &mut next, 1);
        }
        // Until every place that was left is filled.
        for id in (0..8).flat_map(|_| sim.answers().into_keys().collect::<Vec<_>>()).collect::<Vec<_>>() {
            sim.decide(id.as_str());
        }
        let (before, was) = (sim.answers(), sim.places());
        prop_assume!(!matches!(change, Change::Complete(_)));
        let Some(id) = sim.change(&change, &mut next, 1) else { return Ok(()) };
        let place = was.get(&id).copied().or_else(|| sim.places().get(&id).copied());
        let Some(RowPlace { row, .. }) = place else { return Ok(()) };
        let below = was.values().map(|place| place.row).filter(|other| *other > row).min();
        // One of whom fills a place that was left.
        let last = was.values().map(|place| place.row).max();
        let after = sim.answers();
        for (id, sources) in before {
            let at = was.get(&id).map(|place| place.row);
            if at.is_some() && ![Some(row), below, last].contains(&at) && after.contains_key(&id) {
                prop_assert_eq!(&after[&id], &sources, "{} stands in row {:?}, the change in {}", id, at, row);
            }
        }
    }
}
