//! The bytes of one task: a file that is open only while somebody reads or writes it, shared by all who do.
//!
//! **Invariant.** While a handle lives its task is in use, and is not evicted. A handle outlives its folder: who holds
//! one reads on whatever happens to the name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use df_socket::Mapping;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::{IoSliceMut, ReadWriteFlags};

use crate::entry::{Entry, Pin};

/// An open content.
#[derive(Debug)]
pub struct ContentFile {
    file: File,
    writable: bool,
    pub(crate) mapping: Mutex<Weak<Mapping>>,
    _pin: Pin,
}

// === impl ContentFile ===

impl ContentFile {
    pub(crate) fn open(path: &Path, writable: bool, entry: Arc<Entry>) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true);
        if writable {
            options.write(true).create(true).truncate(false);
        }
        let file = open_plain(path, &mut options)?;
        Ok(Self { file, writable, mapping: Mutex::default(), _pin: Pin::new(entry) })
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// For calls this type has no method for; the file is never truncated.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Up to `max` bytes from `offset`, which must be available. From the page cache without leaving the caller's
    /// thread; from the disk on a blocking one.
    pub async fn read(self: &Arc<Self>, offset: u64, max: usize) -> io::Result<Bytes> {
        let mut buffer = BytesMut::zeroed(max);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        match rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
            // Not in the page cache, or a file system without NOWAIT.
            Err(_) => {
                let content = self.clone();
                let read = move || -> io::Result<Bytes> {
                    let read = content.read_now(&mut buffer, offset)?;
                    buffer.truncate(read);
                    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(buffer.freeze()) }
                };
                tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
            }
        }
    }

    /// Blocks.
    pub fn read_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Makes `file` have the same bytes without copying them; what is written to one later is not in the other. Blocks for
    /// a moment. An error where the file system cannot, or `file` is on another one.
    pub fn share_with(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::ioctl_ficlone(file, &self.file)?)
    }

    /// Blocks.
    pub(crate) fn write_now(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

impl AsFd for ContentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// An empty file, whatever was there before: what is there is not opened, followed or waited for.
pub(crate) fn create_anew(path: &Path) -> io::Result<File> {
    if let Err(error) = crate::aside::remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    File::options().write(true).create_new(true).open(path)
}

/// A regular file and nothing else: no link is followed, and no pipe is waited for.
pub(crate) fn open_plain(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")),
    }
}
