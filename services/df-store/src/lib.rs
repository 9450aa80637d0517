//! Pieces on disk. Knows no HTTP and no scheduler.
//!
//! A directory has `tasks/<aa>/<id>/{content,record}`, `trash/` (to be deleted), `aside/` (foreign or broken, to be looked
//! at), `state` (which boot wrote last, and whether it ended cleanly) and `lock`.
//!
//! **Invariants.**
//! 1. Bytes are written, checked, then marked: a mark never precedes its bytes, in memory or on disk.
//! 2. What has landed may be read at once, also inside a piece that is not marked yet: that is cut-through. Whoever must
//!    not see unchecked bytes asks [`StoredTask::available`] with [`Trust::Checked`].
//! 3. Files are never truncated while a task lives; a removed task stays readable for those who hold it.
//! 4. One process per directory: [`Store::open`] takes a lock.
//! 5. A task that nobody uses costs a few numbers: no open file, no digests. A content is open while a [`ContentFile`]
//!    lives, and what is open is not evicted.
//! 6. After `kill -9` marks are believed; after a power loss they are *suspect*: checked against the bytes before the task
//!    is served or announced.
//! 7. Whatever lies in the directory, nothing crashes and memory is bounded: what is sound is kept, the rest is set aside.

mod aside;
mod boot;
mod check;
mod content;
mod entry;
pub mod evict;
mod fault;
mod hash;
mod home;
mod label;
mod mapped;
mod marks;
mod meta;
mod piece;
mod policy;
mod record;
mod recover;
mod state;
mod store;
mod task;

pub use content::ContentFile;
pub use entry::Pin;
pub use fault::StoreError;
pub use hash::ContentHasher;
pub use label::Label;
pub use mapped::Mapped;
pub use meta::{Meta, MetaConflict};
pub use piece::{PieceError, PieceWriter};
pub use policy::{InvalidQuota, Policy, Quota};
pub use record::Recovered;
pub use state::{Available, Snapshot, Trust};
pub use store::{OpenError, Store, Usage};
pub use task::StoredTask;
