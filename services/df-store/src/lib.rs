//! Pieces on disk. Knows no HTTP and no scheduler.
//!
//! **Invariants.**
//! 1. Bytes are written, checked, then marked: a mark never precedes its bytes, in memory or on disk.
//! 2. What has landed may be read at once, also inside a piece that is not marked yet: that is cut-through. Whoever must
//!    not see unchecked bytes asks [`StoredTask::available`] with [`Trust::Checked`].
//! 3. Files are never truncated while a task lives; a deleted task stays readable for those who hold it.
//! 4. One process per directory: [`Store::open`] takes a lock.

mod hash;
mod mapped;
mod piece;
mod record;
mod store;
mod task;

pub use hash::ContentHasher;
pub use mapped::Mapped;
pub use piece::{PieceError, PieceWriter};
pub use store::{OpenError, Store};
pub use task::{Available, Meta, MetaConflict, Snapshot, StoredTask, Trust};
