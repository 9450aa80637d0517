//! Operations of dfdaemon, one file per resource.

pub mod local_tasks;
pub mod objects;
pub mod signed;
pub mod tags;
pub mod tasks;
