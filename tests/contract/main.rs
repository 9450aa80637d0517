//! The committed OpenAPI documents: they are what the programs serve, they keep the laws of this API, and every operation
//! has its client method.

#![allow(clippy::unwrap_used, reason = "what fails in a helper of these tests is a failed test")]

mod clients;
mod current;
mod document;
mod laws;
