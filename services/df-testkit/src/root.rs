//! Where the repository is, asked when a test runs: checkouts that share a target folder share its programs too.

use std::path::PathBuf;

/// The folder of the workspace that the running test belongs to.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = package.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    let root = start.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(&start).to_owned()
}
