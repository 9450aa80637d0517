//! A peer without its listeners: everything between "somebody of this node wants bytes" and the bytes.
//!
//! `Task → download → plan → parent or origin → store → reader`, one way. Shared by dfdaemon, which puts listeners around
//! it, and by dfget, which runs one in-process where there is no daemon.
//!
//! **Invariants.** One download per task and host, shared by all its readers. One reader serves the runtime, other peers
//! and dfget. `plan` is pure. A scheduler that is silent costs latency, never the content: every wait has a bound and
//! ends at the origin.

pub mod announce;
pub mod download;
mod from_origin;
mod from_parents;
mod origin;
mod parent;
pub mod peer;
mod plan;
pub mod reader;
mod readers;
mod schedulers;
mod small;
mod sync;
pub mod task;
pub mod upstream;

pub use peer::{Peer, PeerConfig};
pub use reader::{Content, ReadError};
pub use task::{Failure, Task};
pub use upstream::{Upstream, UpstreamConfig, UpstreamRefused};
