//! Bytes of a file that leave by `sendfile`, under hyper.
//!
//! A body is made of slices of a file's [`Mapping`]. hyper hands their addresses down to the [`SendfileStream`] below it,
//! which knows what file they stand for and lets the kernel send that: nothing is copied, no page is touched. Everything
//! in between (axum, tower, ranges, keep-alive) sees ordinary `Bytes`, and a stream that does not know mappings (TLS, or
//! another system than Linux) writes them as such.
//!
//! **Invariants.** An address in the table of mappings belongs to a live mapping: whoever writes it holds a slice, and
//! slices keep their mapping. Files are never truncated while they are mapped; unlinked they may be. A file may still
//! grow: only what has landed may be sliced.

mod mapping;
mod stream;

pub use mapping::Mapping;
pub use stream::SendfileStream;

/// Whether [`SendfileStream`] does more than an ordinary one.
pub const SUPPORTED: bool = cfg!(target_os = "linux");
