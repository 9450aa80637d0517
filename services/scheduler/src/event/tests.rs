//! Events on two states that should be the same.

use df_api::scheduler::{HeldTask, PeerState};
use df_api::task::Origin;
use proptest::prelude::*;

use super::*;

const HOSTS: usize = 7;
const PIECE: u64 = 4 * 1024 * 1024;
const PIECES: u32 = 20;

/// Hosts as they would act: they go on from what they were told.
struct Play {
    states: [State; 2],
    now_ms: u64,
    seq: u64,
    /// Pieces, and the last answer.
    peers: Vec<(u32, Option<PeerDecision>)>,
}

fn host(who: usize) -> HostId {
    format!("{}-{who}", if who == 0 { "seed" } else { "node" }).parse().unwrap()
}

fn task() -> TaskId {
    "ab".repeat(32).parse().unwrap()
}

/// As it is written down, and read elsewhere.
fn copied<T: Serialize + serde::de::DeserializeOwned>(thing: &T) -> T {
    rmp_serde::from_slice(&rmp_serde::to_vec_named(thing).unwrap()).unwrap()
}

impl Play {
    fn start() -> Self {
        let state = || State::new(Policy::default(), 1_000);
        Self { states: [state(), state()], now_ms: 1_000, seq: 0, peers: vec![(0, None); HOSTS] }
    }

    fn host_report(&mut self, who: usize, holds: bool) -> Event {
        self.seq += 1;
        let held = HeldTask { id: task(), length: PIECE * u64::from(PIECES), piece_length: PIECE, imported: false };
        let report = HostReport {
            seq: self.seq,
            place: Default::default(),
            url: format!("http://{}:4001", host(who)),
            seed: who == 0,
            sharing_off: false,
            storing: true,
            upload_slots: 50,
            sent_bytes_per_s: 0,
            sent_bytes_per_s_max: Some(1_000_000 * (1 + who as u64)),
            tasks: Some(if holds { vec![held] } else { Vec::new() }),
            duties_taken: Vec::new(),
            hosts_known: 0,
        };
        Event::Host(host(who), Box::new(report))
    }

    fn peer_report(&mut self, who: usize, more: u32) -> Event {
        self.seq += 1;
        let (have, told) = &mut self.peers[who];
        *have = (*have + more).min(PIECES);
        let mut pieces = df_api::bitmap::Bitmap::default();
        (0..*have).for_each(|piece| pieces.set(piece));
        let told = told.as_ref();
        let report = PeerReport {
            host_id: host(who),
            seq: self.seq,
            state: if *have == PIECES { PeerState::Complete } else { PeerState::Running },
            origin: Origin::new("http://origin.example/blob"),
            digest: None,
            length: Some(PIECE * u64::from(PIECES)),
            piece_length: Some(PIECE),
            pieces,
            received_bytes: u64::from(*have) * PIECE,
            complaints: Vec::new(),
            at_origin: told.is_some_and(|told| told.decision == df_api::scheduler::Decision::Origin),
            known: told.map(|told| told.version),
            row: told.and_then(|told| told.row),
            wants: Default::default(),
        };
        Event::Peer(task(), host(who), Box::new(report))
    }

    fn event(&mut self, who: usize, what: u8, much: u32) -> Event {
        match what {
            0 => self.host_report(who, much == 0),
            1 => Event::AskHost(host(who)),
            2 => Event::EndHost(host(who), self.seq),
            3 => Event::EndPeer(task(), host(who), self.seq),
            4 | 5 => Event::AskPeer(task(), host(who)),
            6 => Event::Settings(Box::new(Settings {
                policy: Policy { candidate_parent_limit: 1 + much as usize, ..Policy::default() },
                rules: RuleSet::default(),
            })),
            7 => Event::Tick,
            _ => self.peer_report(who, much),
        }
    }

    fn step(&mut self, who: usize, what: u8, much: u32) {
        let event = self.event(who, what, much);
        let [one, other] = &mut self.states;
        if let Some(foreseen) = event.foresee(one, self.now_ms) {
            // Nobody has to hear of it; where nobody's lease has ended it is what would have come of it.
            if one.expiry_due_ms() > self.now_ms {
                assert_eq!(format!("{foreseen:?}"), format!("{:?}", event.apply(&mut copied(one), self.now_ms)));
            }
            return;
        }
        let same = copied(&event).apply(other, self.now_ms);
        let outcome = event.apply(one, self.now_ms);
        assert_eq!(format!("{outcome:?}"), format!("{same:?}"));
        match (outcome, what) {
            (Outcome::Peer(Some(pending)), _) if pending.answer.decision != df_api::scheduler::Decision::Unchanged => {
                self.peers[who].1 = Some(pending.answer);
            }
            (_, 2 | 3) => self.peers[who] = (0, None),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn the_same_events_make_the_same_answers_also_of_a_state_that_was_written_down(
        steps in proptest::collection::vec((0..HOSTS, 0..16u8, 0..8u32, 0..3_000u64, 0..10u8), 1..120),
    ) {
        let mut play = Play::start();
        for (who, what, much, passed_ms, copies) in steps {
            play.now_ms += passed_ms;
            play.step(who, what, much);
            if copies == 0 {
                play.states[1] = copied(&play.states[1]);
            }
        }
    }
}
