//! What sockets do here besides reading and writing: send slices of a file by `sendfile`, under hyper, and wait until so
//! much has come that reading it is worth waking up for.
//!
//! A body is made of slices of a file's [`Mapping`]. hyper hands their addresses down to the [`SendfileStream`] below it,
//! which knows what file they stand for and lets the kernel send that: nothing is copied, no page is touched. Everything
//! in between (axum, tower, ranges, keep-alive) sees ordinary `Bytes`, and a stream that does not know mappings (TLS, or
//! another system than Linux) writes them as such.
//!
//! A [`PatientStream`] is the other end: the kernel gathers what comes, up to the [`Worth`] of a wake-up.
//!
//! **Invariants.** The only `unsafe` of the platform is here. An address in the table of mappings belongs to a live
//! mapping: whoever writes it holds a slice, and slices keep their mapping. Files are never truncated while they are
//! mapped; unlinked they may be. A file may still grow: only what has landed may be sliced.

mod mapping;
mod patient;
mod sendfile;

pub use mapping::Mapping;
pub use patient::{PatientStream, Worth};
pub use sendfile::SendfileStream;

/// Whether [`SendfileStream`] does more than an ordinary one.
pub const SUPPORTED: bool = cfg!(target_os = "linux");
