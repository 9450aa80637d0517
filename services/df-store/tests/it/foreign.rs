//! Directories in which others, or a broken disk, have been at work.

use std::fs;
use std::os::unix::fs::symlink;

use df_store::{OpenError, Policy, Store};
use df_testkit::random_bytes;
use proptest::prelude::*;

use crate::folder::{damage, fill, folder_of, names, numbered, open, set_last_read};

#[tokio::test]
async fn what_is_sound_is_kept_and_the_rest_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let store = open(root);
    for number in 0..9 {
        drop(fill(&store, number, 3));
    }
    drop(store);
    let at = |number: usize| folder_of(root, &numbered(number));
    fs::write(root.join("tasks/notes.txt"), "hello").unwrap();
    fs::create_dir(root.join("tasks/zzz")).unwrap();
    symlink("/etc", root.join("tasks/ff")).unwrap();
    fs::create_dir_all(root.join("tasks/00/not-a-task")).unwrap();
    fs::rename(at(1), root.join("tasks/00").join(numbered(1).as_str())).unwrap();
    fs::write(at(2).join("record"), "rubbish\n").unwrap();
    fs::write(at(3).join("record"), [0xff; 5000]).unwrap();
    fs::remove_file(at(4).join("content")).unwrap();
    fs::create_dir(at(4).join("content")).unwrap();
    fs::remove_file(at(5).join("record")).unwrap();
    symlink("/dev/zero", at(5).join("record")).unwrap();
    fs::remove_dir_all(at(6)).unwrap();
    fs::write(at(6), "a file").unwrap();
    let content = fs::File::options().write(true).open(at(7).join("content")).unwrap();
    content.set_len(1500).unwrap();
    // Beside the one whose record will be written anew.
    let fifo = std::process::Command::new("mkfifo").arg(at(7).join("record.new")).status().unwrap();
    assert!(fifo.success());
    symlink("/etc/passwd", root.join("state.new")).unwrap();

    let store = open(root);
    let held: Vec<_> = (0..9).filter(|number| store.get(&numbered(*number)).is_some()).collect();
    assert_eq!(held, [0, 7, 8]);
    assert_eq!(store.held().len(), 2);
    let cut = store.get(&numbered(7)).unwrap();
    assert_eq!(cut.snapshot().pieces.iter().collect::<Vec<_>>(), [0]);
    for (piece, content) in [(1, random_bytes(7, 3000)), (2, random_bytes(7, 3000))] {
        crate::folder::write_piece(&cut, piece, &content);
    }
    cut.mark_complete().unwrap();
    assert_eq!(names(&root.join("aside")).len(), 10, "{:?}", names(&root.join("aside")));
    drop((cut, store));
    let store = open(root);
    assert_eq!(store.held().len(), 3);
    assert_eq!(store.get(&numbered(7)).unwrap().read(0, 3000).await.unwrap(), random_bytes(7, 3000));
    assert!(fs::metadata("/etc/passwd").is_ok(), "no link is followed");
}

/// After a clean stop and in the same boot: only the time of the change gives it away.
#[tokio::test]
async fn a_content_that_somebody_has_changed_is_checked_before_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..3 {
        drop(fill(&store, number, 3));
    }
    store.close(std::time::Duration::from_secs(60));
    drop(store);
    for number in 0..3 {
        set_last_read(dir.path(), &numbered(number), 100);
    }
    damage(dir.path(), &numbered(1), 1500);

    let store = open(dir.path());
    assert_eq!(store.held().len(), 2, "it is not announced");
    let task = store.get(&numbered(1)).unwrap();
    assert!(!task.is_complete());
    task.settle().await.unwrap();
    assert_eq!(task.snapshot().pieces.iter().collect::<Vec<_>>(), [0, 2]);
    crate::folder::write_piece(&task, 1, &random_bytes(1, 3000));
    task.mark_complete().unwrap();
    drop((task, store));
    assert_eq!(open(dir.path()).held().len(), 3);
}

#[tokio::test]
async fn folders_that_are_something_else_are_named_or_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("trash"), "a file").unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    let store = open(dir.path());
    drop(fill(&store, 1, 1));
    assert!(store.is_storing());
    assert_eq!(names(&dir.path().join("aside")).len(), 2);

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("tasks"), "a file").unwrap();
    let error = Store::open(other.path(), Policy::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::Unusable { .. }) && error.to_string().contains(&*other.path().to_string_lossy())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever a disk did to a record: what is offered of it is true, and the task can be completed again.
    #[test]
    fn a_damaged_record_offers_nothing_that_was_not_marked(at in any::<u16>(), flip in 1..=255u8, keep in any::<u16>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            drop((fill(&store, 1, 3), store));
            let record = folder_of(dir.path(), &numbered(1)).join("record");
            let mut bytes = fs::read(&record).unwrap();
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= flip;
            bytes.truncate(bytes.len().min(usize::from(keep)));
            fs::write(&record, bytes).unwrap();

            let store = open(dir.path());
            let content = random_bytes(1, 3000);
            if let Some(task) = store.get(&numbered(1)) {
                for piece in task.snapshot().pieces.iter() {
                    let range = task.piece_range(piece).unwrap();
                    assert_eq!(task.read(range.start, 1000).await.unwrap(), content.slice(range.start as usize..range.end as usize));
                }
            }
            let task = store.get_or_create(&numbered(1)).unwrap();
            task.describe(crate::folder::meta(Some(3000), None)).unwrap().unwrap();
            for piece in 0..3 {
                if task.begin_piece(piece).is_some() {
                    crate::folder::write_piece(&task, piece, &content);
                }
            }
            task.mark_complete().unwrap();
            drop((task, store));
            assert_eq!(open(dir.path()).held().len(), 1);
        });
    }
}
