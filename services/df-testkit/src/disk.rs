//! A small file system of its own: full when a test wants it, read-only when a test wants it, gone with the test.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::skip::skip;

/// A tmpfs; unmounted when dropped, also when the test fails.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

// === impl SmallDisk ===

impl SmallDisk {
    /// `None`, and the test skipped, where nothing may be mounted.
    pub fn mount(bytes: u64) -> anyhow::Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={bytes},mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output()?;
        if mounted.status.success() {
            return Ok(Some(Self { dir }));
        }
        skip(&format!("a tmpfs cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr)));
        Ok(None)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fails while somebody has a file open for writing.
    pub fn set_read_only(&self, read_only: bool) -> anyhow::Result<()> {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        let done = Command::new("mount").args(["-o", option]).arg(self.path()).output()?;
        anyhow::ensure!(done.status.success(), "{option}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails may still have files open in it.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).output();
    }
}
