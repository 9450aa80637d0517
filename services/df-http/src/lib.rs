//! What every server of the platform shares, so that all of them fail, log, drain and measure alike.
//!
//! **Invariants.** Every failure leaves as [`ApiError`] (problem+json; `/v2/…` of the mirror speaks OCI instead). One
//! tower stack, [`layers::apply`]. Nothing here knows tasks, schedulers or disks.

pub mod base;
pub mod config;
pub mod credential;
pub mod error;
pub mod extract;
pub mod layers;
pub mod own_address;
pub mod pem;
pub mod rate_limit;
pub mod respond;
pub mod serve;
pub mod telemetry;
pub mod worker;

pub use error::{ApiError, Problems};
pub use rate_limit::RateLimit;
