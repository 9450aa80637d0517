//! A small file system of its own: full when a test wants it, read-only when a test wants it, gone with the test.

use std::path::Path;
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use crate::skip::skip;

/// A tmpfs, or a file that is an XFS; unmounted when dropped, also when the test fails.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
    _image: Option<NamedTempFile>,
}

/// XFS is not made any smaller. The file has holes where nothing is.
const XFS_BYTES: u64 = 320 << 20;

// === impl SmallDisk ===

impl SmallDisk {
    /// `None`, and the test skipped, where nothing may be mounted.
    pub fn mount(bytes: u64) -> anyhow::Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={bytes},mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output()?;
        if mounted.status.success() {
            return Ok(Some(Self { dir, _image: None }));
        }
        skip(&format!("a tmpfs cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr)));
        Ok(None)
    }

    /// Files of this one can share their blocks. `None`, and the test skipped, where it cannot be made or mounted.
    pub fn mount_xfs() -> anyhow::Result<Option<Self>> {
        let (dir, image) = (tempfile::tempdir()?, NamedTempFile::new()?);
        image.as_file().set_len(XFS_BYTES)?;
        let (mut make, mut mount) = (Command::new("mkfs.xfs"), Command::new("mount"));
        let make = make.args(["-q", "-m", "reflink=1"]).arg(image.path());
        let mount = mount.args(["-t", "xfs", "-o", "loop"]).args([image.path(), dir.path()]);
        for command in [make, mount] {
            let why = match command.output() {
                Ok(done) if done.status.success() => continue,
                Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            skip(&format!("no XFS: {command:?}: {why}"));
            return Ok(None);
        }
        Ok(Some(Self { dir, _image: Some(image) }))
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
