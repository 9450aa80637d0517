//! One method per operation of the OpenAPI documents, with the types of `df-api`. Services, dfget and the console (wasm)
//! call each other through this crate only; a contract test fails when an operation has no method here.

mod dfdaemon;
mod manager;
mod scheduler;
mod transport;

pub use dfdaemon::DfdaemonClient;
pub use manager::ManagerClient;
pub use scheduler::SchedulerClient;
pub use transport::{ClientError, InvalidUrl, Transport, http_client};
#[cfg(not(target_family = "wasm"))]
pub use transport::{client_builder, trace_headers};
