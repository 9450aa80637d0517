//! Whole clusters in one process: manager, scheduler, seed peer and peers on real ports, before a registry with faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abandoned;
mod alone;
mod belonging;
mod cluster;
mod credentials;
mod cut_through;
mod faults;
mod fleet;
mod full_disk;
mod ground;
mod imports;
mod ipv6;
mod jobs;
mod lab;
mod liars;
mod one_url;
mod outage;
mod peers_only;
mod rows;
mod rules;
mod s3;
mod schedulers;
mod sharing;
mod tags;
mod tls;
