//! Operations of dfdaemon, one file per resource.

pub mod tasks;
