//! A peer without its listeners: everything between "somebody of this node wants bytes" and the bytes.
//!
//! `Task → download → plan → parent or origin → store → reader`, one way. Shared by dfdaemon, which puts listeners around
//! it, and by dfget, which runs one in-process where there is no daemon.
//!
//! **Invariants.** One download per task and host, shared by all its readers. One reader serves the runtime, other peers
//! and dfget. `plan` is pure. A scheduler that is silent costs latency, never the content: every wait has a bound and
//! ends at the origin.

mod alone;
pub mod announce;
mod connections;
mod discovery;
pub mod download;
mod duties;
mod from_origin;
mod from_parents;
mod hashing;
pub mod housekeeping;
mod import;
mod intake;
mod known;
mod limits;
mod local;
mod numbers;
mod origin;
mod others;
mod parent;
pub mod peer;
mod peer_tls;
mod plan;
pub mod reader;
mod readers;
mod reporter;
mod schedulers;
mod small;
mod stillness;
mod sync;
pub mod tags;
pub mod task;
mod unstored;
pub mod uploads;
pub mod upstream;
mod wanted;

/// What is decided here without a network, a disk or a clock: `tests/sim` runs it in virtual time.
pub mod decisions {
    pub use crate::alone::{Found as FoundAlone, Heard, LOOK_MAX, LOOK_MIN, Order, arranged, choose, row_of};
    pub use crate::download::FIRST_ADVICE;
    pub use crate::from_origin::{AHEAD, RUN_BYTES, View as OriginView, plan_origin};
    pub use crate::from_parents::*;
    pub use crate::plan::{Flying, Key, Stalled, Step, View, hedge, plan};
    pub use crate::schedulers::SILENT_FOR;
    pub use crate::sync::{LAST_ANSWERED_WITHIN, RETRY, hold_after, pause_after};
}

pub use duties::JobDuty;
pub use import::{ImportError, import};
pub use limits::DownloadConfig;
pub use local::{CloneError, RemoveError};
pub use origin::retry_after;
pub use peer::{Peer, PeerConfig};
pub use peer_tls::PeerTlsConfig;
pub use reader::{Content, Delivery, ReadError};
pub use task::{Failure, NoOrigin, Task};
pub use uploads::{Busy, Meter, UploadLimits, Uploads};
pub use upstream::{ConnectError, RegistryConfig, S3Config, S3Error, Upstream, UpstreamConfig, UpstreamRefused};
