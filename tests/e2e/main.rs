//! End to end with the real parts: containerd pulls through crictl, on nodes that are network namespaces, from Debian's
//! docker-registry. Nothing outside these namespaces is contacted: they have no route to anywhere.
//!
//! Each test builds its own [`lab::Lab`] and takes it down again, also when it fails. Labs take turns within this
//! program, so that `--test-threads=1` only saves waiting threads. What a test run that was killed left behind, the next
//! one removes. `E2E_KEEP=1` keeps the folder with all logs and names it.

mod containerd;
mod crictl;
mod direct_pull;
mod files;
mod lab;
mod node;
mod outage;
mod peer_pull;
mod requirements;
mod traffic;
