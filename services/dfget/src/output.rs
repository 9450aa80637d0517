//! The file: written beside its place, moved there only when it is whole.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::FetchError;

/// Removed again unless [`Output::keep`] is called.
pub struct Output {
    path: PathBuf,
    file: NamedTempFile,
    overwrite: bool,
}

// === impl Output ===

impl Output {
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, FetchError> {
        let failed = |error: std::io::Error| FetchError::Output { path: path.to_owned(), error };
        // Also a link that leads nowhere.
        if path.symlink_metadata().is_ok() && !overwrite {
            return Err(failed(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "it exists; --overwrite replaces it",
            )));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".dfget-").tempfile_in(folder).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, overwrite })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|error| FetchError::Output { path: self.path.clone(), error })
    }

    /// Bytes in it by now.
    pub fn length(&self) -> u64 {
        self.file.as_file().metadata().map_or(0, |meta| meta.len())
    }

    pub fn keep(self) -> Result<(), FetchError> {
        let Self { path, file, overwrite } = self;
        make_readable(file.as_file());
        let kept = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        kept.map(drop).map_err(|error| FetchError::Output { path, error: error.error })
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_file().as_fd()
    }
}

/// Temporary files are private; what people fetch is made as any other program would.
fn make_readable(file: &File) {
    use std::os::unix::fs::PermissionsExt as _;
    // A file system without modes is no reason to fail.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
}
