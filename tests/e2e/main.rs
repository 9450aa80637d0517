//! End to end with the real parts: containerd pulls through crictl, on nodes that are network namespaces, from Debian's
//! docker-registry. Nothing outside these namespaces is contacted: they have no route to anywhere.
//!
//! Each test builds its own [`lab::Lab`] and takes it down again, also when it fails. Labs take turns within this
//! program, so that `--test-threads=1` only saves waiting threads. What a test run that was killed left behind, the next
//! one removes. `E2E_KEEP=1` keeps the folder with all logs and names it.

mod block_lists;
mod broken_mirror;
mod challenges;
mod command;
mod conformance;
mod containerd;
mod containerd_releases;
mod crictl;
mod direct_pull;
mod docker;
mod dying_sources;
mod faults;
mod files;
mod forward_proxy;
mod huge_blob;
mod idle;
mod image_tools;
mod lab;
mod liars;
mod long_digests;
mod memory;
mod mirror;
mod mirror_faults;
mod node;
mod outage;
mod pairs;
mod parallel_ranges;
mod peer_pull;
mod private_pull;
mod private_tools;
mod pull_sequence;
mod recorder;
mod requirements;
mod shared_layer;
mod traffic;
mod two_clusters;
mod upstreams;
mod wire;
