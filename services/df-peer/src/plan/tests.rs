use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Parents alike, one slot each.
fn alike(parents: u32) -> Surroundings<Key> {
    let above = (0..parents).map(|key| (key, key)).collect();
    Surroundings { width: parents.max(1), slot: None, mates: Vec::new(), above }
}

fn fetches(steps: &[Step]) -> Vec<(u32, Key)> {
    steps
        .iter()
        .filter_map(|step| if let Step::Fetch { piece, parent } = step { Some((*piece, *parent)) } else { None })
        .collect()
}

fn view<'a>(here: &'a Bitmap, around: &'a Surroundings<Key>, readers: &'a [u32]) -> View<'a> {
    View {
        here,
        pieces: 8,
        readers,
        fronts: readers,
        linked: around,
        usable: around,
        reserve: &[],
        avoid: &[],
        in_flight: &[],
        per_parent: 2,
    }
}

#[test]
fn pieces_are_asked_in_order_and_shared_among_parents() {
    let (here, around) = (Bitmap::default(), alike(2));
    assert_eq!(fetches(&plan(&view(&here, &around, &[0]))), [(0, 0), (1, 1), (2, 0), (3, 1)]);
}

#[test]
fn every_reader_gets_its_next_piece_first() {
    let (here, around) = (Bitmap::default(), alike(1));
    let one = view(&here, &around, &[6]);
    assert_eq!(fetches(&plan(&View { per_parent: 3, ..one })), [(6, 0), (7, 0), (0, 0)]);
    let two = view(&here, &around, &[2, 6]);
    assert_eq!(fetches(&plan(&View { per_parent: 5, ..two })), [(2, 0), (6, 0), (3, 0), (7, 0), (4, 0)]);
}

#[test]
fn a_hole_in_the_row_costs_the_row_and_not_the_reserve() {
    let here = Bitmap::default();
    let around = Surroundings { width: 4, slot: Some(1), mates: vec![(0, 10), (2, 12)], above: vec![(0, 20)] };
    let asked = fetches(&plan(&View { reserve: &[99], per_parent: 8, ..view(&here, &around, &[0]) }));
    assert_eq!(asked.len(), 8);
    assert!(asked.iter().all(|(_, parent)| *parent != 99), "{asked:?}");
    assert!(asked.contains(&(0, 10)) && asked.contains(&(1, 20)) && asked.contains(&(2, 12)));
    let gone = around.without(20);
    let asked = fetches(&plan(&View { reserve: &[99], per_parent: 8, ..view(&here, &gone, &[0]) }));
    assert!(asked.contains(&(1, 99)), "its own pieces come from the reserve then: {asked:?}");
}

#[test]
fn a_changed_source_cancels_what_waits_and_leaves_what_moves() {
    let (here, around) = (Bitmap::default(), alike(2));
    let flying = |piece, moving| Flying { piece, parent: 1, moving, hedge: false };
    let in_flight = [flying(0, false), flying(2, true), flying(3, false)];
    let steps = plan(&View { in_flight: &in_flight, per_parent: 4, ..view(&here, &around, &[0]) });
    assert_eq!(steps[0], Step::Cancel { piece: 0, parent: 1 });
    assert!(fetches(&steps).contains(&(0, 0)));
    assert!(!steps.iter().any(|step| matches!(step, Step::Cancel { piece: 2 | 3, .. })));
}

#[test]
fn who_is_two_rounds_ahead_of_the_slowest_is_asked_for_one_piece_at_a_time() {
    let (mut here, around) = (Bitmap::default(), alike(2));
    [1, 3].into_iter().for_each(|piece| here.set(piece));
    let flying = |piece, moving| Flying { piece, parent: 0, moving, hedge: false };
    let asked = |moving| {
        let in_flight = [flying(0, moving), flying(2, moving)];
        fetches(&plan(&View { in_flight: &in_flight, ..view(&here, &around, &[]) }))
    };
    assert_eq!(asked(true), [(5, 1)]);
    assert_eq!(asked(false), [(5, 1), (7, 1)], "nobody is held up by who does not move");
}

#[test]
fn what_a_whole_row_is_late_with_comes_over_one_member_each() {
    let around = Surroundings { width: 4, slot: Some(1), mates: vec![(0, 10), (2, 12), (3, 13)], above: vec![(0, 20)] };
    let but_one_slot = |pieces: u32| {
        let mut here = Bitmap::default();
        (0..pieces).filter(|piece| piece % 4 != 0).for_each(|piece| here.set(piece));
        here
    };
    let asked = |here: &Bitmap| {
        let asked = fetches(&plan(&View { pieces: 16, ..view(here, &around, &[0]) }));
        asked.into_iter().filter(|(piece, _)| piece % 4 == 0).collect::<Vec<_>>()
    };
    assert_eq!(
        asked(&but_one_slot(16)),
        [(0, 10), (4, 12), (8, 13), (12, 10)],
        "the asker itself helps with the first and the last"
    );
    assert_eq!(asked(&but_one_slot(8))[..2], [(0, 10), (4, 10)], "a round is not late yet");
}

#[test]
fn a_piece_that_was_wrong_is_asked_elsewhere() {
    let (here, around) = (Bitmap::default(), alike(2));
    let asked = fetches(&plan(&View { avoid: &[(0, 0)], ..view(&here, &around, &[0]) }));
    assert_eq!(asked[0], (0, 1));
    let two = View { avoid: &[(0, 0), (2, 0)], per_parent: 4, ..view(&here, &around, &[0]) };
    assert_eq!(
        fetches(&plan(&two)),
        [(0, 1), (1, 1), (2, 1), (3, 1), (4, 0), (6, 0)],
        "also when that one has another of it"
    );
}

#[test]
fn a_hedge_goes_to_who_has_all_of_it_and_to_the_reserve_last() {
    let (here, around) = (Bitmap::default(), alike(3));
    let in_flight = [Flying { piece: 0, parent: 0, moving: false, hedge: false }];
    let view = View { in_flight: &in_flight, reserve: &[9], ..view(&here, &around, &[0]) };
    let slow = Stalled { piece: 0, parent: 0, rest_bytes: 100, ahead: true, forlorn: false };
    assert_eq!(fetches(&hedge(&view, &[slow], |key, _| key >= 2, 100)), [(0, 2)]);
    assert_eq!(fetches(&hedge(&view, &[slow], |key, _| key == 9, 100)), [(0, 9)]);
    assert_eq!(fetches(&hedge(&view, &[slow], |_, _| false, 100)), []);
    assert_eq!(fetches(&hedge(&view, &[Stalled { forlorn: true, ..slow }], |_, _| false, 100)), [(0, 9)]);
    assert_eq!(fetches(&hedge(&view, &[slow], |_, _| true, 99)), [], "the budget holds");
    let behind = Stalled { ahead: false, ..slow };
    assert_eq!(fetches(&hedge(&view, &[behind], |key, _| key == 9, 100)), [], "its parent waits as well");
    assert_eq!(fetches(&hedge(&view, &[behind], |key, _| key >= 2, 100)), [(0, 2)]);
}

/// A view of some row, some of it lost, some of it busy.
#[derive(Debug)]
struct Random {
    linked: Surroundings<Key>,
    usable: Surroundings<Key>,
    reserve: Vec<Key>,
    here: BTreeSet<u32>,
    in_flight: Vec<Flying>,
    readers: Vec<u32>,
    avoid: Vec<(u32, Key)>,
}

fn random() -> impl Strategy<Value = Random> {
    let row = (1..6u32).prop_flat_map(|width| {
        let slots = || proptest::collection::btree_set(0..width, 0..=width as usize);
        (
            Just(width),
            proptest::option::of(0..width),
            slots(),
            slots(),
            proptest::collection::btree_set(0..2 * width, 0..3),
        )
    });
    let flying = (0..64u32, 0..14u32, any::<bool>());
    (
        row,
        0..3usize,
        proptest::collection::btree_set(0..64u32, 0..64),
        proptest::collection::vec(flying, 0..12),
        proptest::collection::btree_set(0..80u32, 0..4),
        proptest::collection::vec((0..64u32, 0..14u32), 0..4),
    )
        .prop_map(|((width, slot, mates, above, lost), reserve, here, flying, readers, avoid)| {
            let mates = mates.into_iter().filter(|mate| Some(*mate) != slot).map(|mate| (mate, mate)).collect();
            let above = above.into_iter().map(|parent| (parent, width + parent)).collect();
            let linked = Surroundings { width, slot, mates, above };
            let usable = lost.iter().fold(linked.clone(), |around, key| around.without(*key));
            let mut in_flight: Vec<Flying> = Vec::new();
            for (piece, parent, moving) in flying {
                let at = in_flight.iter().filter(|other| other.parent == parent).count();
                if at < 2 && !here.contains(&piece) && in_flight.iter().all(|other| other.piece != piece) {
                    in_flight.push(Flying { piece, parent, moving, hedge: false });
                }
            }
            let reserve = (12..12 + reserve as u32).collect();
            Random { linked, usable, reserve, here, in_flight, readers: readers.into_iter().collect(), avoid }
        })
}

impl Random {
    fn bitmap(&self) -> Bitmap {
        let mut here = Bitmap::default();
        self.here.iter().for_each(|piece| here.set(*piece));
        here
    }

    fn view<'a>(&'a self, here: &'a Bitmap) -> View<'a> {
        View {
            here,
            pieces: 64,
            readers: &self.readers,
            fronts: &self.readers,
            linked: &self.linked,
            usable: &self.usable,
            reserve: &self.reserve,
            avoid: &self.avoid,
            in_flight: &self.in_flight,
            per_parent: 2,
        }
    }
}

/// What is in flight after the steps.
fn after(random: &Random, steps: &[Step]) -> Vec<(u32, Key)> {
    let mut flights: Vec<(u32, Key)> = random.in_flight.iter().map(|flying| (flying.piece, flying.parent)).collect();
    for step in steps {
        match step {
            Step::Cancel { piece, parent } => flights.retain(|flight| flight != &(*piece, *parent)),
            Step::Fetch { piece, parent } => flights.push((*piece, *parent)),
        }
    }
    flights
}

#[test]
fn nobody_runs_far_ahead_of_the_slowest_that_moves() {
    let mut here = Bitmap::default();
    (0..64).filter(|piece| piece % 4 != 1).for_each(|piece| here.set(piece));
    let around = alike(4);
    let slow = |moving| [1, 5].map(|piece| Flying { piece, parent: 1, moving, hedge: false });
    let view = |in_flight| View { pieces: 200, in_flight, ..view(&here, &around, &[0]) };
    let (moving, still) = (slow(true), slow(false));
    let late = fetches(&plan(&view(&moving)));
    assert!(late.iter().all(|(piece, _)| piece % 4 == 1), "16 pieces ahead of piece 1 are the most: {late:?}");
    assert!(late.iter().all(|(piece, parent)| piece % 4 != *parent), "others bring what is late: {late:?}");
    let asked = fetches(&plan(&View { per_parent: 3, ..view(&still) }));
    assert!(
        asked.contains(&(64, 0)) && asked.contains(&(66, 2)),
        "who stands still is waited for by nobody: {asked:?}"
    );
    let far = View { readers: &[0, 100], fronts: &[0, 100], per_parent: 4, ..view(&moving) };
    assert!(fetches(&plan(&far)).contains(&(102, 2)), "another reader has its own front");
    let child = View { readers: &[0, 100], ..view(&moving) };
    let asked = fetches(&plan(&child)).into_iter().filter(|(piece, _)| piece % 4 != 1);
    assert!(asked.eq([(100, 0)]), "a child asks for one piece");
}

proptest! {
    #[test]
    fn no_piece_twice_no_parent_over_its_limit_and_no_room_unused(random in random()) {
        let here = random.bitmap();
        let view = random.view(&here);
        let steps = plan(&view);
        prop_assert_eq!(&steps, &plan(&view), "pure");
        let flights = after(&random, &steps);
        let distinct: BTreeSet<u32> = flights.iter().map(|(piece, _)| *piece).collect();
        prop_assert_eq!(distinct.len(), flights.len(), "twice");
        let mut at: BTreeMap<Key, usize> = BTreeMap::new();
        flights.iter().for_each(|(_, parent)| *at.entry(*parent).or_default() += 1);
        prop_assert!(at.values().all(|count| *count <= 2), "{at:?}");
        let wanted = |piece: &u32| !random.here.contains(piece) && !distinct.contains(piece) && !view.is_far(*piece);
        for piece in (0..64).filter(wanted) {
            // Progress: it is asked of nobody only when whoever should bring it is full, nobody is there, or what comes
            // long before it is on its way. Who helps another already is asked for no more of that.
            if let Some(source) = view.source(piece) {
                let most = if view.is_ahead(piece) { 1 } else { 2 };
                let is_full = |parent: Key| at.get(&parent) >= Some(&most);
                let helps = flights.iter().any(|(other, of)| *of == source && view.helps(source, *other));
                let instead = view.relay(piece).filter(|_| view.helps(source, piece) && helps);
                let full = is_full(source) || instead.is_some_and(is_full);
                prop_assert!(full, "piece {} could have been asked of {}", piece, source);
            }
        }
    }

    #[test]
    fn the_reserve_is_left_alone_while_a_relay_is_there(random in random()) {
        prop_assume!(random.avoid.is_empty());
        let here = random.bitmap();
        for (piece, parent) in fetches(&plan(&random.view(&here))) {
            if random.reserve.contains(&parent) {
                prop_assert_eq!(random.usable.source(piece), None);
            }
        }
    }

    #[test]
    fn a_waiting_request_whose_source_changed_is_cancelled(random in random()) {
        let here = random.bitmap();
        let view = random.view(&here);
        let steps = plan(&view);
        for flying in random.in_flight.iter().filter(|flying| !flying.moving) {
            let stays = view.linked.source(flying.piece) == Some(flying.parent) || view.source(flying.piece) == Some(flying.parent);
            prop_assert_eq!(steps.contains(&Step::Cancel { piece: flying.piece, parent: flying.parent }), !stays);
        }
    }

    #[test]
    fn hedges_stay_within_budget_and_limits(random in random(), budget in 0..500u64, holders in proptest::collection::btree_set(0..14u32, 0..14)) {
        let here = random.bitmap();
        let view = random.view(&here);
        let stalled: Vec<_> = random.in_flight.iter().map(|flying| Stalled { piece: flying.piece, parent: flying.parent, rest_bytes: 100, ahead: true, forlorn: false }).collect();
        let steps = hedge(&view, &stalled, |key, _| holders.contains(&key), budget);
        prop_assert!(steps.len() as u64 * 100 <= budget);
        let mut at: BTreeMap<Key, usize> = BTreeMap::new();
        after(&random, &steps).iter().for_each(|(_, parent)| *at.entry(*parent).or_default() += 1);
        for (piece, parent) in fetches(&steps) {
            prop_assert!(holders.contains(&parent) && at[&parent] <= 2);
            let original = random.in_flight.iter().find(|flying| flying.piece == piece).unwrap();
            prop_assert!(original.parent != parent);
        }
    }

    #[test]
    fn every_piece_comes_once_in_the_order(readers in proptest::collection::btree_set(0..80u32, 0..5), pieces in 0..70u32) {
        let readers: Vec<u32> = readers.into_iter().collect();
        let order: Vec<u32> = in_order(&readers, pieces).collect();
        let distinct: BTreeSet<u32> = order.iter().copied().collect();
        prop_assert_eq!(order.len(), pieces as usize);
        prop_assert_eq!(distinct.len(), order.len());
    }
}
