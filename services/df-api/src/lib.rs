//! What travels between the components, and nothing else: no async, no I/O, builds for wasm.
//!
//! **Invariants.** Wire types use neither `untagged` nor `flatten`. Ids and digests are newtypes that parse or fail,
//! so a handler never sees a malformed one. Sizes end in `_bytes` or are named `length`, durations end in `_ms`,
//! times are RFC 3339. Ranges are half-open inside and inclusive only in headers.

#[macro_use]
mod schema;

pub mod bitmap;
pub mod cluster;
pub mod dfdaemon;
pub mod digest;
pub mod error;
pub mod ids;
pub mod manager;
pub mod range;
pub mod rendezvous;
pub mod rows;
pub mod rules;
pub mod scheduler;
pub mod task;

pub use bitmap::Bitmap;
pub use digest::{Algorithm, Digest};
pub use error::{Code, Problem};
pub use ids::{HostId, PeerId, TaskId};
pub use range::{ByteRange, ContentRange, RangeSpec};
