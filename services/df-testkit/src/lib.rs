//! For tests and the demo only: known bytes, a fake origin and registry that misbehave on request, a proxy that breaks
//! connections, container images made on the spot, and real programs started and ended with the test.
//!
//! Fakes exist for the faults the real thing does not produce. Where a fault is not the point, use the real thing.

pub mod bytes;
pub mod content;
pub mod databases;
pub mod disk;
pub mod docker_registry;
pub mod fault_proxy;
pub mod image;
pub mod load_balancer;
pub mod mariadb;
pub mod moto;
pub mod origin;
pub mod postgres;
pub mod process;
pub mod push;
pub mod registry;
pub mod root;
pub mod s3;
pub mod skip;
pub mod snippet;
pub mod socks;
pub mod tls;
pub mod tls_front;
pub mod token_server;
pub mod wait;

mod answer;
mod pace;
mod wire;

pub use bytes::{random_bytes, sha256_hex};
pub use content::{Content, ContentStats};
pub use databases::{DatabaseKind, DatabaseServer, TestDatabase};
pub use disk::SmallDisk;
pub use docker_registry::{DockerRegistry, RegistryOptions};
pub use fault_proxy::{FaultProxy, Faults};
pub use image::{Blob, Image, Layer};
pub use load_balancer::LoadBalancer;
pub use mariadb::MariaDb;
pub use moto::MotoServer;
pub use origin::FakeOrigin;
pub use postgres::Postgres;
pub use process::{Program, command_in, free_port};
pub use push::push_image;
pub use registry::{FakeRegistry, RegistryAccess};
pub use root::root;
pub use s3::S3Server;
pub use skip::skip;
pub use snippet::snippet;
pub use socks::SocksProxy;
pub use tls_front::TlsFront;
pub use token_server::{TokenServer, User};
pub use wait::{STANDSTILL, read_whole, until};
pub use wire::Cut;
