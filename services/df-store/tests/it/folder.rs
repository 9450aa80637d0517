//! A store in a folder of its own, and tasks in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use df_api::{Digest, TaskId};
use df_store::{Meta, PieceWriter, Policy, Quota, Store, StoredTask};
use df_testkit::random_bytes;

pub const PIECE: u64 = 1000;

pub fn id() -> TaskId {
    "ab".repeat(32).parse().unwrap()
}

pub fn numbered(number: usize) -> TaskId {
    // Spread over the shelves, as digests are.
    format!("{:02x}{number:062x}", number % 256).parse().unwrap()
}

pub fn meta(length: Option<u64>, digest: Option<Digest>) -> Meta {
    Meta { length, piece_length: PIECE, content_type: Some("text/plain".to_owned()), digest, validator: None }
}

/// Looked at, as a daemon does.
pub fn open(dir: &Path) -> Store {
    let store = Store::open(dir, Policy::default()).unwrap();
    store.survey();
    store
}

/// For more than 90 of a hundred parts of `bytes`, down to 70.
pub fn with_quota(bytes: u64) -> Policy {
    Policy { quota: Quota::Bytes(bytes), ..Policy::default() }
}

pub fn new_task(dir: &Path, meta: Meta) -> (Store, Arc<StoredTask>) {
    let store = open(dir);
    let task = store.get_or_create(&id()).unwrap();
    task.describe(meta).unwrap().unwrap();
    (store, task)
}

/// A piece of which these bytes have landed.
pub fn begun(task: &Arc<StoredTask>, index: u32, bytes: &[u8]) -> PieceWriter {
    let mut writer = task.begin_piece(index).unwrap();
    writer.write(bytes).unwrap();
    writer
}

pub fn write_piece(task: &Arc<StoredTask>, index: u32, content: &Bytes) {
    let range = task.piece_range(index).unwrap();
    let part = content.slice(range.start as usize..range.end as usize);
    let writer = begun(task, index, &part);
    writer.finish(None).unwrap();
}

/// A complete task of `pieces` pieces; its content is that of [`random_bytes`] with the task's number.
pub fn fill(store: &Store, number: usize, pieces: u32) -> Arc<StoredTask> {
    let length = u64::from(pieces) * PIECE;
    let content = random_bytes(number as u64, length as usize);
    let task = store.get_or_create(&numbered(number)).unwrap();
    task.describe(meta(Some(length), None)).unwrap().unwrap();
    for piece in 0..pieces {
        write_piece(&task, piece, &content);
    }
    task.mark_complete().unwrap();
    task
}

pub fn folder_of(dir: &Path, id: &TaskId) -> PathBuf {
    dir.join("tasks").join(&id.as_str()[..2]).join(id.as_str())
}

/// As if `id` had last been read then, at the next start.
pub fn set_last_read(dir: &Path, id: &TaskId, seconds_ago: u64) {
    for name in ["content", "record"] {
        let file = std::fs::File::options().append(true).open(folder_of(dir, id).join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(seconds_ago)).unwrap();
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort_unstable();
    names
}

/// As a disk does, or somebody who has no business there.
pub fn damage(dir: &Path, id: &TaskId, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let content = std::fs::File::options().write(true).open(folder_of(dir, id).join("content")).unwrap();
    content.write_all_at(&[0; 7], at).unwrap();
}
