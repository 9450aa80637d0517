//! Pieces as they land, are marked, and are found again.

use std::collections::BTreeMap;

use df_api::{ByteRange, Digest};
use df_store::{Available, ContentHasher, Meta, OpenError, PieceError, Trust};
use df_testkit::random_bytes;
use proptest::prelude::*;

use crate::folder::{begun, id, meta, new_task, open, write_piece};

#[tokio::test]
async fn mapped_slices_are_the_bytes_also_when_the_page_cache_has_lost_them() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(1, 2500);
    let (_store, task) = new_task(dir.path(), meta(Some(2500), None));
    write_piece(&task, 0, &content);
    let mapped = task.content().unwrap().map(2500).unwrap();
    assert_eq!(mapped.slice(300, 700).await.unwrap(), content.slice(300..1000));
    // The mapping is older than these.
    write_piece(&task, 1, &content);
    write_piece(&task, 2, &content);
    let name = id();
    let file = std::fs::File::open(dir.path().join(format!("tasks/ab/{name}/content"))).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(mapped.slice(0, 2500).await.unwrap(), content);
    assert!(mapped.slice(2000, 501).await.is_err(), "beyond the end");
}

#[tokio::test]
async fn bytes_can_be_read_while_their_piece_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(1, 2500);
    let (_store, task) = new_task(dir.path(), meta(Some(2500), None));
    assert_eq!(task.available(0, Trust::Landed), Available::Pending);

    let mut writer = begun(&task, 0, &content[..300]);
    writer.write(&content[300..400]).unwrap();
    assert_eq!(task.available(0, Trust::Landed), Available::Bytes(400));
    assert_eq!(task.available(0, Trust::Checked), Available::Pending);
    assert_eq!(task.read(100, 300).await.unwrap(), content.slice(100..400));
    assert!(task.begin_piece(0).is_none(), "a piece has one writer");

    writer.write(&content[400..1000]).unwrap();
    writer.finish(None).unwrap();
    assert_eq!(task.available(999, Trust::Checked), Available::Bytes(1));
    write_piece(&task, 2, &content);
    assert_eq!(task.available(0, Trust::Landed), Available::Bytes(1000), "piece 1 is missing");
    write_piece(&task, 1, &content);
    assert_eq!(task.available(0, Trust::Landed), Available::Bytes(2500));
    assert_eq!(task.available(2500, Trust::Landed), Available::End);
}

/// A piece that turns out wrong has landed before: a runtime must not have seen it.
#[tokio::test]
async fn a_runtime_sees_marked_pieces_only() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, task) = new_task(dir.path(), meta(Some(2500), None));
    let writer = begun(&task, 0, &random_bytes(4, 400));
    assert_eq!(task.available(0, Trust::Landed), Available::Bytes(400));
    assert_eq!(task.available(0, Trust::HoldLast), Available::Pending);
    drop(writer);
    assert_eq!(task.available(0, Trust::Landed), Available::Pending);
}

#[tokio::test]
async fn a_content_that_lost_its_bytes_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, task) = new_task(dir.path(), meta(Some(1000), None));
    write_piece(&task, 0, &random_bytes(7, 1000));
    task.mark_complete().unwrap();
    drop((store, task));
    let content = dir.path().join("tasks/ab").join(id().as_str()).join("content");
    std::fs::File::options().write(true).open(content).unwrap().set_len(10).unwrap();
    assert!(open(dir.path()).get(&id()).is_none());
}

/// An origin that tells no length at first, breaks, and tells it when resumed.
#[tokio::test]
async fn a_length_told_late_may_end_a_piece_that_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(6, 700);
    let (_store, task) = new_task(dir.path(), meta(None, None));
    let writer = begun(&task, 0, &content);
    task.describe(Meta { piece_length: 64, ..meta(Some(700), None) }).unwrap().unwrap();
    assert_eq!(task.meta().unwrap(), meta(Some(700), None));
    assert_eq!(writer.rest(), None);
    writer.finish(None).unwrap();
    assert!(task.has_all_pieces());
}

#[tokio::test]
async fn the_last_piece_is_held_back_until_the_whole_has_matched() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(2, 2500);
    let digest = Digest::from_bytes(df_api::Algorithm::Sha256, &[7; 32]);
    let (_store, task) = new_task(dir.path(), meta(Some(2500), Some(digest)));
    for piece in 0..3 {
        write_piece(&task, piece, &content);
    }
    assert_eq!(task.available(0, Trust::HoldLast), Available::Bytes(2000));
    assert_eq!(task.available(2100, Trust::HoldLast), Available::Pending);
    assert_eq!(task.available(2100, Trust::Landed), Available::Bytes(400));
    task.mark_complete().unwrap();
    assert_eq!(task.available(2100, Trust::HoldLast), Available::Bytes(400));
}

#[tokio::test]
async fn the_end_of_a_content_of_unknown_length_is_held_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(9, 1000);
    let digest = Digest::from_bytes(df_api::Algorithm::Sha256, &[7; 32]);
    let (_store, task) = new_task(dir.path(), meta(None, Some(digest)));
    write_piece(&task, 0, &content);
    task.set_length(1000).unwrap().unwrap();
    assert_eq!(task.available(1000, Trust::HoldLast), Available::Pending);
    assert_eq!(task.available(1000, Trust::Landed), Available::End);
    task.mark_complete().unwrap();
    assert_eq!(task.available(1000, Trust::HoldLast), Available::End);
}

#[tokio::test]
async fn wrong_or_short_bytes_are_never_marked() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(3, 1000);
    let (store, task) = new_task(dir.path(), meta(Some(1000), None));
    let mut right = ContentHasher::new(df_api::Algorithm::Blake3);
    right.update(&content);
    let right = right.finish();

    let writer = begun(&task, 0, &content[..999]);
    assert!(matches!(writer.finish(Some(&right)), Err(PieceError::Short { landed: 999, .. })));
    let wrong = begun(&task, 0, &random_bytes(4, 1000));
    assert!(matches!(wrong.finish(Some(&right)), Err(PieceError::Wrong { index: 0, .. })));
    assert_eq!(task.available(0, Trust::Landed), Available::Pending);

    let writer = begun(&task, 0, &content);
    writer.finish(Some(&right)).unwrap();
    drop((store, task));
    let store = open(dir.path());
    assert_eq!(store.get(&id()).unwrap().piece_digest_around(ByteRange { start: 10, end: 20 }), Some(right));
}

#[tokio::test]
async fn a_restart_believes_marked_pieces_only() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(5, 3000);
    let (store, task) = new_task(dir.path(), meta(Some(3000), None));
    write_piece(&task, 1, &content);
    let unfinished = begun(&task, 2, &content[2000..2900]);
    drop((unfinished, task, store));

    let store = open(dir.path());
    let task = store.get(&id()).unwrap();
    assert_eq!(task.snapshot().pieces.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(task.meta(), Some(meta(Some(3000), None)));
    assert!(store.held().is_empty());
    write_piece(&task, 0, &content);
    write_piece(&task, 2, &content);
    assert!(task.has_all_pieces());
    task.mark_complete().unwrap();
    drop((store, task));
    let store = open(dir.path());
    assert_eq!(store.held().len(), 1);
    assert_eq!(store.get(&id()).unwrap().read(0, 3000).await.unwrap(), content);
}

#[tokio::test]
async fn a_length_may_become_known_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(6, 1200);
    let (store, task) = new_task(dir.path(), meta(None, None));
    write_piece(&task, 0, &content);
    let mut writer = begun(&task, 1, &content[1000..]);
    assert!(!task.has_all_pieces());
    assert_eq!(writer.end_here(), 1200);
    task.set_length(1200).unwrap().unwrap();
    writer.finish(None).unwrap();
    assert!(task.has_all_pieces());
    assert_eq!(task.available(1200, Trust::Landed), Available::End);
    drop((store, task));
    let store = open(dir.path());
    assert_eq!(store.get(&id()).unwrap().meta().unwrap().length, Some(1200));
}

/// A stream without a length that breaks looks as if it had ended there.
#[tokio::test]
async fn an_end_within_a_marked_piece_or_before_the_known_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(6, 2500);
    let (_store, task) = new_task(dir.path(), meta(None, None));
    write_piece(&task, 0, &content);
    write_piece(&task, 1, &content);
    for wrong in [0, 900, 1500, 1999] {
        assert!(task.set_length(wrong).unwrap().is_err(), "{wrong}");
        assert!(task.describe(meta(Some(wrong), None)).unwrap().is_err(), "{wrong}");
    }
    assert_eq!(task.meta().unwrap().length, None);
    task.set_length(2500).unwrap().unwrap();
    assert!(task.set_length(2400).unwrap().is_err());
    assert!(task.set_length(2500).unwrap().is_ok());
}

#[tokio::test]
async fn sources_that_disagree_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, task) = new_task(dir.path(), meta(Some(3000), None));
    assert!(task.describe(meta(Some(3000), None)).unwrap().is_ok());
    let conflict = task.describe(meta(Some(3001), None)).unwrap().unwrap_err().to_string();
    assert!(conflict.contains("3001") && conflict.contains("3000"), "{conflict}");
}

#[tokio::test]
async fn a_removed_task_stays_readable_for_its_holders() {
    let dir = tempfile::tempdir().unwrap();
    let content = random_bytes(7, 1000);
    let (store, task) = new_task(dir.path(), meta(Some(1000), None));
    write_piece(&task, 0, &content);
    std::fs::remove_dir_all(store.remove(&task).unwrap().unwrap()).unwrap();
    assert!(store.get(&id()).is_none());
    assert_eq!(task.read(0, 1000).await.unwrap(), content);
}

#[test]
fn a_second_process_is_refused_and_told_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let refused = df_store::Store::open(dir.path(), df_store::Policy::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert!(refused.to_string().contains(&dir.path().join("lock").display().to_string()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Pieces in any order, each in any cuts: what a reader sees is always a prefix of the truth.
    #[test]
    fn readers_see_only_what_was_written(length in 1..6000u64, order in Just(()).prop_perturb(|(), mut rng| {
        let mut order: Vec<u32> = (0..6).collect();
        for i in (1..order.len()).rev() { order.swap(i, rng.next_u32() as usize % (i + 1)); }
        order
    }), cut in 1..1000usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let content = random_bytes(8, length as usize);
            let (_store, task) = new_task(dir.path(), meta(Some(length), None));
            let mut written = BTreeMap::new();
            for index in order {
                let Some(mut writer) = task.begin_piece(index) else { continue };
                let range = writer.rest().unwrap();
                let part = content.slice(range.start as usize..range.end as usize);
                for chunk in part.chunks(cut) {
                    writer.write(chunk).unwrap();
                    if let Available::Bytes(bytes) = task.available(0, Trust::Landed) {
                        let seen = task.read(0, bytes as usize).await.unwrap();
                        assert_eq!(seen, content.slice(..seen.len()));
                    }
                }
                writer.finish(None).unwrap();
                written.insert(index, ());
            }
            assert!(task.has_all_pieces());
            assert_eq!(task.snapshot().held_bytes, length);
        });
    }
}
