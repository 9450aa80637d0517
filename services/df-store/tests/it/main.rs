//! The store as its users see it: cut-through, marks, recovery, locks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod boot;
mod cut_through;
mod evicting;
mod folder;
mod foreign;
mod full_disk;
mod labels;
mod scale;
