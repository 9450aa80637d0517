//! What must hold for every set of tasks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn id(number: usize) -> TaskId {
    format!("{number:064x}").parse().unwrap()
}

fn task(number: usize, bytes: u64, last_read_s: u64) -> Candidate {
    Candidate { id: id(number), bytes, last_read_s, pinned: false, complete: true }
}

const FOREVER: u64 = u64::MAX;

#[test]
fn below_the_high_mark_nothing_goes_and_above_it_the_longest_unread() {
    let tasks = [task(1, 40, 30), task(2, 40, 10), task(3, 40, 20)];
    let limits = Limits { high_bytes: 120, low_bytes: 50, ttl_s: FOREVER };
    assert!(evict(&tasks, limits, 100).is_empty());
    assert_eq!(evict(&tasks, Limits { high_bytes: 119, ..limits }, 100), [id(2), id(3)]);
}

#[test]
fn of_two_read_at_once_the_incomplete_goes_first() {
    let half = Candidate { complete: false, ..task(9, 10, 5) };
    let limits = Limits { high_bytes: 15, low_bytes: 10, ttl_s: FOREVER };
    assert_eq!(evict(&[task(1, 10, 5), half], limits, 100), [id(9)]);
}

proptest! {
    #[test]
    fn what_goes_is_loose_is_oldest_and_is_no_more_than_needed(
        tasks in proptest::collection::vec((0..100u64, 0..1000u64, any::<bool>(), any::<bool>()), 0..40),
        high_bytes in 0..2000u64,
        low_share in 0..=100u64,
        ttl_s in 0..1200u64,
    ) {
        let tasks: Vec<Candidate> = tasks
            .into_iter()
            .enumerate()
            .map(|(number, (bytes, last_read_s, pinned, complete))| Candidate { id: id(number), bytes, last_read_s, pinned, complete })
            .collect();
        let limits = Limits { high_bytes, low_bytes: high_bytes * low_share / 100, ttl_s };
        let now_s = 1000;
        let gone = evict(&tasks, limits, now_s);
        let set: BTreeSet<_> = gone.iter().collect();
        prop_assert_eq!(set.len(), gone.len(), "nothing goes twice");

        let find = |id: &TaskId| tasks.iter().find(|task| task.id == *id).unwrap();
        let expired = |task: &Candidate| now_s - task.last_read_s > ttl_s;
        prop_assert!(gone.iter().all(|id| !find(id).pinned));
        prop_assert!(tasks.iter().all(|task| task.pinned || !expired(task) || set.contains(&task.id)), "the old always go");
        prop_assert!(gone.windows(2).all(|pair| find(&pair[0]).last_read_s <= find(&pair[1]).last_read_s));

        let bytes = |tasks: &mut dyn Iterator<Item = &Candidate>| tasks.map(|task| task.bytes).sum::<u64>();
        let left = bytes(&mut tasks.iter().filter(|task| !set.contains(&task.id)));
        let without_old = bytes(&mut tasks.iter().filter(|task| task.pinned || !expired(task)));
        let for_room: Vec<_> = gone.iter().map(find).filter(|task| !expired(task)).collect();
        if without_old <= limits.high_bytes {
            prop_assert!(for_room.is_empty(), "there was room");
        } else {
            let loose_left = tasks.iter().any(|task| !task.pinned && task.bytes > 0 && !set.contains(&task.id));
            prop_assert!(left <= limits.low_bytes || !loose_left, "down to the low mark, or nothing more can go");
            if let Some(last) = for_room.last() {
                prop_assert!(left + last.bytes > limits.low_bytes, "one less would not have been enough");
            }
            let youngest = for_room.iter().map(|task| task.last_read_s).max().unwrap_or(0);
            let goes_later = |task: &Candidate| set.contains(&task.id) || task.last_read_s >= youngest;
            let in_order = tasks.iter().all(|task| task.pinned || task.bytes == 0 || goes_later(task));
            prop_assert!(in_order, "the least recently read first");
        }
    }
}
