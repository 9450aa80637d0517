//! The real manager on a free port, with a database in a temporary folder, driven by the client that everybody uses.

#![allow(clippy::unwrap_used, reason = "what fails in a helper of these tests is a failed test")]

mod accounts;
mod applications;
mod audits;
mod backup;
mod clusters;
mod components;
mod discovery;
mod laws;
mod logs;
mod outage;
mod pages;
mod roles;
mod running;
mod tokens;
mod users;
