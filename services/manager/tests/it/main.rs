//! The real manager on a free port, with a database in a temporary folder, driven by the client that everybody uses.

#![allow(clippy::unwrap_used, reason = "what fails in a helper of these tests is a failed test")]

mod accounts;
mod advisories;
mod applications;
mod audits;
mod backup;
mod buckets;
mod clusters;
mod components;
mod configs;
mod discovery;
mod fleet;
mod jobs;
mod laws;
mod logs;
mod oauth;
mod outage;
mod pages;
mod parts;
mod roles;
mod running;
mod tokens;
mod users;
