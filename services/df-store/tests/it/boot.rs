//! A machine that ends uncleanly: what the page cache held is not on disk, and the records may say more than there is.

use std::path::Path;
use std::time::Duration;

use df_store::{Available, Policy, Store, Trust};
use df_testkit::random_bytes;

use crate::folder::{begun, damage, fill, id, meta, new_task, numbered, open, write_piece};

/// The next start finds the state file of another boot.
fn lose_power(dir: &Path, clean: bool) {
    std::fs::write(dir.join("state"), format!(r#"{{"boot_id":"another","clean":{clean}}}"#)).unwrap();
}

#[tokio::test]
async fn after_a_power_loss_a_task_is_checked_before_it_is_served_or_announced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(fill(&store, 1, 3));
    drop(store);
    lose_power(dir.path(), false);

    let store = open(dir.path());
    assert!(store.is_surveyed() && store.held().is_empty());
    let task = store.get(&numbered(1)).unwrap();
    assert!(!task.is_complete() && task.begin_piece(0).is_none(), "nothing is fetched before it is known to be lost");
    assert_eq!(task.available(0, Trust::Landed), Available::Pending);
    assert_eq!(task.events_since(0).0, []);

    let before = *store.changes().borrow();
    task.settle().await.unwrap();
    assert!(task.is_complete());
    assert_eq!(task.available(0, Trust::HoldLast), Available::Bytes(3000));
    assert_eq!(store.held().len(), 1);
    assert_ne!(*store.changes().borrow(), before, "schedulers are told");
}

#[tokio::test]
async fn only_the_pieces_that_were_lost_are_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = fill(&store, 2, 1);
    drop((fill(&store, 1, 3), other, store));
    lose_power(dir.path(), false);
    damage(dir.path(), &numbered(1), 1500);

    let store = open(dir.path());
    while store.check_one() {}
    let task = store.get(&numbered(1)).unwrap();
    assert!(!task.is_complete());
    assert_eq!(task.snapshot().pieces.iter().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(store.held().len(), 1, "the other one");
    drop((task, store));

    // Also for a process that ends without another word: it is on disk.
    let store = open(dir.path());
    let task = store.get(&numbered(1)).unwrap();
    assert_eq!(task.snapshot().pieces.iter().collect::<Vec<_>>(), [0, 2]);
    write_piece(&task, 1, &random_bytes(1, 3000));
    task.mark_complete().unwrap();
    drop((task, store));
    let store = open(dir.path());
    assert_eq!(store.held().len(), 2);
    assert_eq!(store.get(&numbered(1)).unwrap().read(0, 3000).await.unwrap(), random_bytes(1, 3000));
}

#[tokio::test]
async fn a_killed_process_loses_no_mark_and_a_clean_stop_outlives_a_boot() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(fill(&store, 1, 3));
    drop(store);
    // Same boot, no clean stop.
    let store = open(dir.path());
    assert!(store.get(&numbered(1)).unwrap().is_complete());
    store.close(Duration::from_secs(60));
    drop(store);
    let state = std::fs::read_to_string(dir.path().join("state")).unwrap();
    assert!(state.contains(r#""clean":true"#), "{state}");

    lose_power(dir.path(), true);
    let store = open(dir.path());
    assert!(store.get(&numbered(1)).unwrap().is_complete());
    let state = std::fs::read_to_string(dir.path().join("state")).unwrap();
    assert!(state.contains(r#""clean":false"#), "taken back before anything is written: {state}");
}

#[tokio::test]
async fn a_check_that_did_not_end_is_made_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop((fill(&store, 1, 3), store));
    lose_power(dir.path(), false);
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    store.close(Duration::from_secs(60));
    drop(store);
    let store = open(dir.path());
    assert!(store.held().is_empty(), "still suspect");
    while store.check_one() {}
    assert_eq!(store.held().len(), 1);
    drop(store);
    assert_eq!(open(dir.path()).held().len(), 1);
}

#[tokio::test]
async fn a_closed_store_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, task) = new_task(dir.path(), meta(Some(1000), None));
    let writer = begun(&task, 0, &random_bytes(1, 1000));
    store.close(Duration::from_secs(60));
    assert!(writer.finish(None).is_err());
    drop((task, store));
    assert!(open(dir.path()).get(&id()).is_none());
}
