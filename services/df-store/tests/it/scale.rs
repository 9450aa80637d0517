//! Many tasks, of which few are in use.

use df_store::{Policy, Store};

use crate::folder::{fill, folder_of, numbered};

const TASKS: usize = 10_000;

/// Under this folder only: other tests have files open, too.
fn open_files(dir: &std::path::Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|to| to.starts_with(dir))).count()
}

#[tokio::test]
async fn ten_thousand_tasks_are_found_and_cost_no_open_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    drop(fill(&store, 0, 3));
    drop(store);
    let first = folder_of(dir.path(), &numbered(0));
    let record = std::fs::read(first.join("record")).unwrap();
    for number in 1..TASKS {
        let folder = folder_of(dir.path(), &numbered(number));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("record"), &record).unwrap();
        std::fs::hard_link(first.join("content"), folder.join("content")).unwrap();
    }
    let started = std::time::Instant::now();
    let store = Store::open(dir.path(), Policy::default()).unwrap();
    let opened = started.elapsed();
    // Before anything else has been looked at.
    assert!(store.get(&numbered(TASKS - 1)).unwrap().is_complete());
    assert!(!store.is_surveyed());
    store.survey();
    println!("{TASKS} tasks: opened after {opened:?}, surveyed after {:?}", started.elapsed());
    assert_eq!(store.held().len(), TASKS);
    assert_eq!(store.usage().held_bytes, 3000 * TASKS as u64);
    assert_eq!(open_files(dir.path()), 1, "the lock");
    let task = store.get(&numbered(7)).unwrap();
    let reading = task.content().unwrap();
    assert!(std::sync::Arc::ptr_eq(&reading, &task.content().unwrap()), "one file for all its readers");
    assert_eq!(open_files(dir.path()), 2);
    drop(reading);
    assert_eq!(open_files(dir.path()), 1);
}
