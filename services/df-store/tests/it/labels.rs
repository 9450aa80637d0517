//! What programs call a task, over restarts and evictions.

use df_store::Label;

use crate::folder::{fill, folder_of, meta, new_task, numbered, open};

fn label(tag: &str) -> Label {
    Label { url: Some("https://f/x".to_owned()), tag: Some(tag.to_owned()), ..Label::default() }
}

fn listed(store: &df_store::Store, after: Option<usize>, limit: usize) -> Vec<Option<String>> {
    let after = after.map(numbered);
    store.labelled(after.as_ref(), limit).iter().map(|task| task.label().and_then(|label| label.tag)).collect()
}

#[test]
fn labels_survive_and_are_listed_by_id_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..6 {
        let task = fill(&store, number, 2);
        if number != 3 {
            task.set_label(label(&number.to_string()));
            task.set_label(label("the first one stays"));
        }
    }
    let tags = |numbers: &[usize]| numbers.iter().map(|number| Some(number.to_string())).collect::<Vec<_>>();
    let check = |store: &df_store::Store| {
        assert_eq!(listed(store, None, 100), tags(&[0, 1, 2, 4, 5]));
        assert_eq!(listed(store, None, 2), tags(&[0, 1]));
        assert_eq!(listed(store, Some(1), 2), tags(&[2, 4]));
        assert!(listed(store, Some(5), 2).is_empty());
    };
    check(&store);
    drop(store);
    check(&open(dir.path()));
}

#[test]
fn a_label_given_before_anything_is_stored_is_stored_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let task = store.get_or_create(&numbered(1)).unwrap();
    task.set_label(label("early"));
    assert!(!folder_of(dir.path(), &numbered(1)).exists(), "nothing is written before there is something to write");
    assert_eq!(listed(&store, None, 9).len(), 1);
    drop(fill(&store, 1, 1));
    drop((task, store));
    assert_eq!(listed(&open(dir.path()), None, 9), [Some("early".to_owned())]);
}

/// Correcting a record must not lose its label, nor tell it twice.
#[test]
fn a_record_that_is_written_anew_keeps_its_label() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let task = fill(&store, 1, 3);
    task.set_label(label("kept"));
    drop((task, store));
    let content = folder_of(dir.path(), &numbered(1)).join("content");
    std::fs::File::options().write(true).open(content).unwrap().set_len(1500).unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        let task = store.get(&numbered(1)).unwrap();
        assert_eq!(task.label(), Some(label("kept")));
        assert_eq!(task.snapshot().pieces.count(), 1, "all that follows the label is believed");
    }
}

#[test]
fn what_is_removed_is_no_longer_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, task) = new_task(dir.path(), meta(Some(1000), None));
    task.set_label(label("gone"));
    store.remove(&task).unwrap();
    assert!(listed(&store, None, 9).is_empty());
    assert_eq!(task.label(), Some(label("gone")), "who holds it knows it");
}
