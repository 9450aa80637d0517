//! Operations of dfdaemon, one file per resource.

pub mod tags;
pub mod tasks;
