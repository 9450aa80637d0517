//! A real dfdaemon on real ports, before registries that misbehave. Whole clusters are tested in `standalone`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod full_disk;
mod jobs;
mod lies;
mod local_tasks;
mod login;
mod mirror;
mod mirror_wishes;
mod moto;
mod namespaces;
mod negotiation;
mod node;
mod origin_access;
mod origin_faults;
mod origins;
mod outage;
mod parts;
mod proxied;
mod proxy;
mod proxy_clients;
mod proxy_content;
mod proxy_tunnel;
mod proxy_upgrade;
mod real_registry;
mod realms;
mod refusals;
mod restart;
mod s3;
mod s3_environment;
mod tasks;
mod trace;
mod turns;
mod uploads;
mod way_out;
mod wire;
