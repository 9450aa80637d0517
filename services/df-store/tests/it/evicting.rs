//! What goes when there is too much, and what must not.

use std::task::{Context, Waker};

use df_store::{Available, Policy, Store, Trust};
use df_testkit::random_bytes;

use crate::folder::{fill, folder_of, names, numbered, set_last_read, with_quota};

/// Ten tasks of 10,000 bytes, number 9 read last, in a store that keeps less.
async fn ten_tasks(quota: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    for number in 0..10 {
        drop(fill(&store, number, 10));
    }
    drop(store);
    for number in 0..10 {
        set_last_read(dir.path(), &numbered(number), 1000 - 100 * number as u64);
    }
    let store = Store::open(dir.path(), with_quota(quota)).unwrap();
    store.survey();
    (dir, store)
}

#[tokio::test]
async fn the_least_recently_read_go_down_to_the_low_mark_also_after_a_restart() {
    let (dir, store) = ten_tasks(100_000).await;
    assert_eq!(store.usage().held_bytes, 100_000);
    let before = *store.changes().borrow();
    assert_eq!(store.keep_house(), 3);
    assert_eq!(store.usage().held_bytes, 70_000);
    let left: Vec<bool> = (0..10).map(|number| store.get(&numbered(number)).is_some()).collect();
    assert_eq!(left, [[false; 3].as_slice(), &[true; 7]].concat());
    assert!(!folder_of(dir.path(), &numbered(0)).exists());
    assert_eq!(names(&dir.path().join("trash")), Vec::<String>::new());
    assert_ne!(*store.changes().borrow(), before, "schedulers are told");
    assert_eq!(store.held().len(), 7);
    assert_eq!(store.keep_house(), 0, "no more than needed");
}

#[tokio::test]
async fn it_is_said_when_more_has_been_written_than_may_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), with_quota(100_000)).unwrap();
    assert_eq!(store.keep_house(), 0);
    let mut crowded = std::pin::pin!(store.crowded());
    let mut said = || std::future::Future::poll(crowded.as_mut(), &mut Context::from_waker(Waker::noop())).is_ready();
    for number in 0..9 {
        drop(fill(&store, number, 10));
        assert!(!said(), "{number}");
    }
    drop(fill(&store, 9, 10));
    assert!(said());
    assert!(store.keep_house() > 0);
}

#[tokio::test]
async fn what_is_being_read_stays_and_what_was_just_read_goes_last() {
    let (_dir, store) = ten_tasks(100_000).await;
    let first = store.get(&numbered(0)).unwrap();
    let reading = first.content().unwrap();
    store.get(&numbered(1)).unwrap().read(0, 10).await.unwrap();
    let pin = store.get(&numbered(2)).unwrap().pin();
    assert_eq!(store.keep_house(), 3);
    let gone: Vec<usize> = (0..10).filter(|number| store.get(&numbered(*number)).is_none()).collect();
    assert_eq!(gone, [3, 4, 5]);
    drop((reading, pin));
}

#[tokio::test]
async fn a_task_nobody_reads_goes_at_its_age_whatever_the_room() {
    let (dir, store) = ten_tasks(1_000_000).await;
    assert_eq!(store.keep_house(), 0);
    drop(store);
    let ttl = std::time::Duration::from_secs(450);
    let store = Store::open(dir.path(), Policy { ttl, ..Policy::default() }).unwrap();
    store.survey();
    assert_eq!(store.keep_house(), 6);
}

#[tokio::test]
async fn a_reader_in_the_middle_reads_to_the_end_of_what_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    let task = fill(&store, 1, 10);
    let content = random_bytes(1, 10_000);
    let reading = task.content().unwrap();
    assert_eq!(reading.read(0, 4000).await.unwrap(), content.slice(..4000));
    // As an operator does: by id, whoever reads.
    std::fs::remove_dir_all(store.remove(&task).unwrap().unwrap()).unwrap();
    assert!(task.is_removed() && store.get(&numbered(1)).is_none());
    assert_eq!(reading.read(4000, 6000).await.unwrap(), content.slice(4000..));

    // Who comes between the removal and the first read has it too, and does not meet the new task of the same id.
    drop(reading);
    let anew = store.get_or_create(&numbered(1)).unwrap();
    assert!(anew.meta().is_none() && anew.available(0, Trust::Landed) == Available::Pending);
    drop(fill(&store, 1, 2));
    assert_eq!(task.content().unwrap().read(9000, 1000).await.unwrap(), content.slice(9000..));
    assert!(store.remove(&task).unwrap().is_none(), "the new one is not the old one's to remove");
    assert!(store.get(&numbered(1)).unwrap().is_complete());
}

#[tokio::test]
async fn a_download_that_was_removed_goes_on_for_its_readers_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    let task = store.get_or_create(&numbered(1)).unwrap();
    task.describe(crate::folder::meta(Some(2000), None)).unwrap().unwrap();
    let content = random_bytes(1, 2000);
    crate::folder::write_piece(&task, 0, &content);
    std::fs::remove_dir_all(store.remove(&task).unwrap().unwrap()).unwrap();
    crate::folder::write_piece(&task, 1, &content);
    task.mark_complete().unwrap();
    assert_eq!(task.read(0, 2000).await.unwrap(), content);
    assert!(!folder_of(dir.path(), &numbered(1)).exists());
    task.let_go();
    assert!(task.content().is_err(), "its room is free");
    drop((task, store));
    assert!(Store::open(dir.path(), Policy::default()).unwrap().get(&numbered(1)).is_none());
}
