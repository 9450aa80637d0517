//! The limits of CONTRIBUTING.md, for every file that is in the repository or about to be. There is no list of
//! exceptions: what a rule does not reach, the rule itself says.
//!
//! Rust is read as tokens, not as syntax: that sees into macros, where clippy does not look.

#![allow(clippy::unwrap_used, reason = "what fails in a helper of these tests is a failed test")]

mod bans;
mod documents;
mod examples;
mod files;
mod leftovers;
mod manifests;
mod names;
mod routes;
mod size;
mod tokens;
