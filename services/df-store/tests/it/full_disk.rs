//! Disks that are full, or cannot be written to: what is there is served, and storing begins again when it can.

use df_store::{PieceError, Policy, Quota, Store, StoreError};
use df_testkit::{SmallDisk, random_bytes};

use crate::folder::{fill, id, meta, numbered, with_quota, write_piece};

const MIB: u64 = 1024 * 1024;

fn mib_pieces(length: u64) -> df_store::Meta {
    df_store::Meta { piece_length: MIB, ..meta(Some(length), None) }
}

#[tokio::test]
async fn a_full_disk_is_said_and_storing_begins_again_with_room() {
    let Some(disk) = SmallDisk::mount(8 * MIB).unwrap() else { return };
    let store = Store::open(disk.path(), Policy::default()).unwrap();
    store.survey();
    let kept = fill(&store, 1, 3);
    let reading = kept.content().unwrap();
    let hog = disk.path().join("somebody-elses");
    std::fs::write(&hog, vec![1; 7 * MIB as usize]).unwrap();

    let task = store.get_or_create(&id()).unwrap();
    task.describe(mib_pieces(2 * MIB)).unwrap().unwrap();
    let refused = task.begin_piece(0).unwrap().write(&random_bytes(1, MIB as usize));
    let Err(PieceError::Write { source: StoreError::NoSpace(_), .. }) = refused else { panic!("stored") };
    assert!(!store.is_storing());
    assert_eq!(reading.read(0, 3000).await.unwrap(), random_bytes(1, 3000));
    store.keep_house();
    assert!(!store.is_storing(), "there is no room yet");

    std::fs::remove_file(&hog).unwrap();
    store.keep_house();
    assert!(store.is_storing());
    write_piece(&task, 0, &random_bytes(1, 2 * MIB as usize));
}

/// What another takes of the disk is not counted, and yet room is made for what comes.
#[tokio::test]
async fn a_full_disk_makes_what_is_old_go_and_the_write_succeeds() {
    let Some(disk) = SmallDisk::mount(8 * MIB).unwrap() else { return };
    let store = Store::open(disk.path(), Policy { quota: Quota::Bytes(1 << 40), ..Policy::default() }).unwrap();
    for number in 0..6 {
        let task = store.get_or_create(&numbered(number)).unwrap();
        task.describe(mib_pieces(MIB)).unwrap().unwrap();
        write_piece(&task, 0, &random_bytes(number as u64, MIB as usize));
        task.mark_complete().unwrap();
    }
    let new = store.get_or_create(&id()).unwrap();
    let _pin = new.pin();
    new.describe(mib_pieces(4 * MIB)).unwrap().unwrap();
    let content = random_bytes(9, 4 * MIB as usize);
    for piece in 0..4 {
        write_piece(&new, piece, &content);
    }
    new.mark_complete().unwrap();
    assert!(store.is_storing());
    assert!(store.usage().evicted_tasks > 0);
    assert_eq!(new.read(3 * MIB, MIB as usize).await.unwrap(), content.slice(3 * MIB as usize..));
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_served_from() {
    let Some(disk) = SmallDisk::mount(8 * MIB).unwrap() else { return };
    let store = Store::open(disk.path(), with_quota(1)).unwrap();
    drop(fill(&store, 1, 3));
    let task = store.get_or_create(&id()).unwrap();
    task.describe(meta(Some(2000), None)).unwrap().unwrap();
    write_piece(&task, 0, &random_bytes(1, 2000));
    task.pause();
    drop(store);
    disk.set_read_only(true).unwrap();

    // Also at the start.
    let store = {
        drop(task);
        Store::open(disk.path(), with_quota(1)).unwrap()
    };
    store.survey();
    assert!(!store.is_storing());
    assert_eq!(store.keep_house(), 0, "nothing can be evicted");
    assert_eq!(store.get(&numbered(1)).unwrap().read(0, 3000).await.unwrap(), random_bytes(1, 3000));
    let task = store.get(&id()).unwrap();
    let refused = task.begin_piece(1).unwrap().write(&random_bytes(1, 1000));
    let Err(PieceError::Write { source: StoreError::ReadOnly(_), .. }) = refused else { panic!("stored") };
    assert!(matches!(
        store.get_or_create(&numbered(5)).unwrap().describe(meta(None, None)),
        Err(StoreError::ReadOnly(_))
    ));

    disk.set_read_only(false).unwrap();
    store.keep_house();
    assert!(store.is_storing());
}

/// A clean stop must not be believed when it was a start on a full disk that came after it.
#[tokio::test]
async fn nothing_is_marked_while_the_last_stop_still_counts_as_clean() {
    let Some(disk) = SmallDisk::mount(8 * MIB).unwrap() else { return };
    let store = Store::open(disk.path(), Policy::default()).unwrap();
    store.close(std::time::Duration::from_secs(60));
    drop(store);
    disk.set_read_only(true).unwrap();
    let store = Store::open(disk.path(), Policy::default()).unwrap();
    disk.set_read_only(false).unwrap();
    let state = || std::fs::read_to_string(disk.path().join("state")).unwrap();
    assert!(state().contains(r#""clean":true"#));
    let task = store.get_or_create(&id()).unwrap();
    assert!(task.describe(meta(Some(1000), None)).is_err());
    store.keep_house();
    assert!(state().contains(r#""clean":false"#));
    task.describe(meta(Some(1000), None)).unwrap().unwrap();
}
