//! One file per address.

pub mod clusters;
pub mod not_found;
pub mod sign_in;
