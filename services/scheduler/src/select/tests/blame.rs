//! Complaints and slow relays.

use std::collections::BTreeMap;

use super::*;

const PIECE: u64 = 1 << 20;
const PIECES: u32 = 128;

fn name(at: usize) -> String {
    format!("p{at:03}")
}

fn joined(hosts: usize) -> Sim {
    let mut sim = Sim::new();
    let held = HeldTask { id: task(), length: u64::from(PIECES) * PIECE, piece_length: PIECE, imported: false };
    sim.announce("s1", |report| report.tasks = Some(vec![held]));
    for at in 0..hosts {
        sim.announce(&name(at), |_| {});
        sim.ask(&name(at));
    }
    sim
}

impl Sim {
    fn accuse(&mut self, by: usize, about: usize, reason: ComplaintReason) -> Told {
        let complaint = Complaint { peer_id: host(&name(about)).peer(), reason };
        self.obey(&name(by), |report| report.complaints.push(complaint))
    }
}

#[test]
fn who_is_gone_for_one_is_left_out_for_one_and_for_two_loses_its_slot() {
    let mut sim = joined(8);
    assert_eq!(sim.accuse(4, 5, Gone), rows("p006 p007", "p000 p001 p002 p003", "s1"));
    assert_eq!(sim.ask("p006"), rows("p004 p005 p007", "p000 p001 p002 p003", "s1"));
    assert_eq!(sim.accuse(6, 5, Gone), rows("p004 p007", "p000 p001 p002 p003", "s1"));
    assert_eq!(sim.place("p005"), None);
    sim.obey("p005", |_| {});
    assert_eq!(sim.place("p005"), None, "it does not come back while two complain");
    for by in ["p004", "p006"] {
        sim.obey(by, |report| report.complaints.clear());
    }
    sim.obey("p005", |report| report.row = None);
    assert_eq!(sim.place("p005"), Some((2, 1)));
}

#[test]
fn one_complaint_empties_the_slot_of_who_is_silent_to_the_scheduler_too() {
    let mut sim = joined(8);
    sim.now_ms += 3 * sim.state.policy.row_refresh_ms(8) + 1;
    sim.accuse(4, 5, Gone);
    assert_eq!(sim.place("p005"), None);
    sim.obey("p005", |_| {});
    assert_eq!(sim.place("p005"), Some((2, 1)), "it was not: it gets its place again");
}

#[test]
fn one_that_was_full_is_left_out_for_a_moment() {
    let mut sim = joined(2);
    assert_eq!(sim.accuse(0, 1, Busy), rows("", "s1", ""));
    assert_eq!(sim.place("p001"), Some((1, 1)), "no blame");
    let decided = sim.state.decide(sim.now_ms, &task(), &host("p000")).unwrap();
    let busy_ms = sim.state.policy.busy_ms;
    assert_eq!(decided.recheck_ms, Some(sim.now_ms + busy_ms));
    sim.now_ms += busy_ms;
    assert_eq!(sim.obey("p000", |_| {}), rows("p001", "s1", ""));
}

#[test]
fn wrong_bytes_seen_by_two_are_offered_to_nobody() {
    let mut sim = joined(5);
    sim.accuse(0, 1, WrongBytes);
    assert_eq!(sim.place("p001"), Some((1, 1)));
    sim.accuse(2, 1, WrongBytes);
    assert_eq!(sim.place("p001"), None);
    // What is wrong stays wrong, also when who saw it has gone on.
    for (at, state) in [(0, PeerState::Complete), (2, PeerState::Complete), (1, PeerState::Complete)] {
        sim.obey(&name(at), |report| report.state = state);
    }
    assert_eq!(sim.ask("p003"), rows("p000 p002", "s1", ""));
}

#[test]
fn the_silent_lose_their_slot_when_most_readers_say_so_and_they_are_slow() {
    let mut sim = joined(12);
    for round in 1..=3u64 {
        sim.now_ms += 500;
        for at in 0..12 {
            let bytes = round * if at == 5 { 1 } else { PIECE };
            sim.obey(&name(at), |report| report.received_bytes = bytes);
        }
    }
    sim.accuse(8, 5, Silent);
    sim.accuse(9, 5, Silent);
    assert!(sim.place("p005").is_some());
    sim.accuse(9, 6, Silent);
    sim.accuse(8, 6, Silent);
    sim.accuse(10, 6, Silent);
    assert!(sim.place("p006").is_some(), "most complain, but it is as fast as the others");
    sim.accuse(10, 5, Silent);
    assert_eq!(sim.place("p005"), None);
    sim.obey("p005", |_| {});
    assert_eq!(sim.place("p005"), None);
}

#[test]
fn who_lags_far_behind_its_row_mates_is_demoted_before_it_is_anybodys_bottleneck() {
    let reported = |own: u64, mates: u64| {
        let mut sim = joined(8);
        for (now_ms, part) in [(100, 5), (600, 1)] {
            sim.now_ms += now_ms;
            for at in [4, 6, 7, 5] {
                let bytes = if at == 5 { own } else { mates } / part;
                sim.obey(&name(at), |report| (report.received_bytes, report.piece_length) = (bytes, Some(PIECE)));
            }
        }
        sim.place("p005")
    };
    assert_eq!(reported(PIECE / 2, 20 * PIECE), None);
    assert_eq!(reported(8 * PIECE, 20 * PIECE), Some((2, 1)), "not so much slower");
    assert_eq!(reported(0, 0), Some((2, 1)), "they all wait");
    assert_eq!(reported(0, 8 * PIECE), Some((2, 1)), "so little says nothing");
}

/// Peers that read piece after piece from whom they are told, a tick at a time; `slow` gets a hundredth.
struct Line {
    sim: Sim,
    /// By peer, by piece: bytes.
    held: BTreeMap<HostId, Vec<u64>>,
    slow: Vec<HostId>,
}

const TICK_MS: u64 = 100;
/// Per tick, of one stripe.
const STRIPE_RATE: u64 = PIECE / 4;

impl Line {
    fn tick(&mut self) {
        let before = self.held.clone();
        for (id, own) in &mut self.held {
            let Some(told) = self.sim.state.tasks[&task()].peers[id].told.clone() else { continue };
            let around = super::rows::surroundings(&told);
            // In order, for each of the stripes at once.
            for stripe in 0..told.row.width {
                let mut rate = if self.slow.contains(id) { STRIPE_RATE / 100 } else { STRIPE_RATE };
                for piece in (stripe..PIECES).step_by(told.row.width as usize) {
                    let Some(source) = around.source(piece) else { continue };
                    let there = before.get(source).map_or(PIECE, |held| held[piece as usize]);
                    let bytes = &mut own[piece as usize];
                    let more = there.saturating_sub(*bytes).min(rate);
                    *bytes += more;
                    rate -= more;
                }
            }
        }
        self.sim.now_ms += TICK_MS;
    }

    fn report(&mut self) {
        for at in 0..self.held.len() {
            let held = self.held[&host(&name(at))].clone();
            self.sim.obey(&name(at), |report| {
                report.received_bytes = held.iter().sum();
                for (piece, _) in held.iter().enumerate().filter(|(_, bytes)| **bytes == PIECE) {
                    report.pieces.set(piece as u32);
                }
                let whole = held.iter().all(|bytes| *bytes == PIECE);
                report.state = if whole { PeerState::Complete } else { PeerState::Running };
            });
            self.sim.announce(&name(at), |_| {});
        }
        self.sim.announce("s1", |_| {});
    }
}

fn run(hosts: usize, slow: &[usize], ticks: usize) -> (Vec<String>, usize) {
    let sim = joined(hosts);
    let held = (0..hosts).map(|at| (host(&name(at)), vec![0; PIECES as usize])).collect();
    let mut line = Line { sim, held, slow: slow.iter().map(|at| host(&name(*at))).collect() };
    let mut most = 0;
    for tick in 0..ticks {
        line.tick();
        if tick % 5 == 4 {
            line.report();
        }
        let (now_ms, demoted) = (line.sim.now_ms, &line.sim.state.tasks[&task()].demoted);
        most = most.max(demoted.values().filter(|demotion| demotion.at_ms + 10_000 > now_ms).count());
    }
    let demoted = &line.sim.state.tasks[&task()].demoted;
    (demoted.keys().map(ToString::to_string).collect(), most)
}

#[test]
fn of_a_line_with_one_slow_relay_only_that_one_is_demoted() {
    for slow in [0, 5, 22] {
        assert_eq!(run(40, &[slow], 200).0, [name(slow)]);
    }
}

#[test]
fn never_more_than_a_tenth_is_demoted_in_ten_seconds() {
    // All in one slot: the other three quarters of the content go on, and so does the median.
    let slow: Vec<usize> = (0..10).map(|row| row * 4 + 1).collect();
    let (demoted, most) = run(40, &slow, 150);
    assert!(!demoted.is_empty() && most <= 4, "{most} of {demoted:?}");
    assert!(demoted.iter().all(|id| slow.iter().any(|at| name(*at) == *id)), "{demoted:?}");
}
