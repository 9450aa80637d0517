//! A content as addresses: for those who send it by `sendfile`, and read nothing of it themselves.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use df_socket::Mapping;
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};

use crate::content::ContentFile;

/// Read into when a range is to be in the page cache.
const WARM_BYTES: usize = 256 * 1024;

/// The whole content; what has not landed must not be sliced.
#[derive(Clone, Debug)]
pub struct Mapped {
    content: Arc<ContentFile>,
    whole: Bytes,
}

// === impl ContentFile ===

impl ContentFile {
    /// `length` is the whole content's, not 0. Those who read at the same time share one mapping.
    pub fn map(self: &Arc<Self>, length: usize) -> io::Result<Mapped> {
        let mut shared = self.mapping.lock();
        let mapping = match shared.upgrade() {
            Some(mapping) => mapping,
            None => {
                let mapping = Mapping::new(self.clone(), length)?;
                *shared = Arc::downgrade(&mapping);
                mapping
            }
        };
        Ok(Mapped { content: self.clone(), whole: mapping.bytes() })
    }
}

// === impl Mapped ===

impl Mapped {
    /// `length` bytes from `offset`, which must be available. Not copied; read from the disk first, on a blocking thread,
    /// when they are not in the page cache: whoever sends them must not wait for a disk.
    pub async fn slice(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(length).filter(|end| *end <= self.whole.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if length > 0 && !self.is_resident(end as u64 - 1) {
            let content = self.content.clone();
            let read = move || warm(&content, offset, length);
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        }
        Ok(self.whole.slice(start..end))
    }

    /// Pages are read ahead in order, so that the last byte of a range stands for all of it.
    fn is_resident(&self, offset: u64) -> bool {
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        let read = rustix::io::preadv2(self.content.file(), &mut slices, offset, ReadWriteFlags::NOWAIT);
        // What cannot say (tmpfs of older kernels) is memory.
        !matches!(read, Err(Errno::AGAIN))
    }
}

/// Blocks until the range is in the page cache.
fn warm(content: &ContentFile, offset: u64, length: usize) -> io::Result<()> {
    let mut buffer = vec![0; length.min(WARM_BYTES)];
    let end = offset + length as u64;
    let mut at = offset;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(WARM_BYTES).min(buffer.len());
        match content.read_now(&mut buffer[..wanted], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => at += read as u64,
        }
    }
    Ok(())
}
