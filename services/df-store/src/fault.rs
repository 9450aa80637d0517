//! What a disk can refuse, in the kinds that callers act on differently.

use std::io;

/// Why something is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system, or a quota on it, is full, and nothing more can be evicted.
    #[error("no space is left for content")]
    NoSpace(#[source] io::Error),
    #[error("the storage cannot be written to")]
    ReadOnly(#[source] io::Error),
    #[error("the storage failed")]
    Failed(#[source] io::Error),
}

// === impl StoreError ===

impl StoreError {
    /// The content is not at fault, and can be had without being stored.
    pub fn is_not_storing(&self) -> bool {
        matches!(self, Self::NoSpace(_) | Self::ReadOnly(_))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(error),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly(error),
            _ => Self::Failed(error),
        }
    }
}
