//! What the whole-system tests and the bench share: where things are, a network of namespaces, Dragonfly as programs in it.

pub mod cluster;
pub mod netns;

use std::path::{Path, PathBuf};

use anyhow::ensure;

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// A program of this workspace among those that Cargo put into `folder`.
pub fn program(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not built: `just test` and `just bench` build it first", path.display());
    Ok(path)
}
