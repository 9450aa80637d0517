//! What the whole-system tests and the bench share: where things are, a network of namespaces, Dragonfly as programs in it, a
//! manager within the test.

pub mod cluster;
pub mod netns;
pub mod process;
pub mod running_manager;

use std::path::{Path, PathBuf};

use anyhow::ensure;

pub use df_testkit::root;

/// A program of this workspace among those that Cargo put into `folder`.
pub fn program(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not built: `just test` and `just bench` build it first", path.display());
    Ok(path)
}
