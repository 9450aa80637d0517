//! One manager for all clusters: accounts, clusters and their scopes, leases of schedulers and seed peers, discovery,
//! and the console. REST over one SQL database; [`App::open`], [`router`], [`serve`] run it in any process.
//!
//! **Invariants.** The manager only answers: it never opens a connection to a component. All state is in the database.
//! Every operation is in the OpenAPI document, because the router is made from it.

mod access;
mod api;
mod app;
mod backup;
mod board;
mod check_cluster;
mod check_job;
mod check_place;
mod check_rules;
mod check_user;
mod config;
mod console;
mod db;
mod headers;
mod joiner;
mod key_ring;
mod keys;
mod lookout;
mod match_clusters;
mod object_storage;
mod operations;
mod paging;
mod password;
mod provider;
mod roll;
mod seal;
mod secret;
mod sweep;

pub use api::{openapi, router};
pub use app::{App, serve};
pub use backup::{backup, restore};
pub use config::{Config, Database, Join, ObjectStorage};
