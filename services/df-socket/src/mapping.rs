//! A file's address: a mapping that is never read, and the table in which a stream finds what an address stands for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::RwLock;

/// All live mappings of the process, by their first address.
static LIVE: RwLock<BTreeMap<usize, Live>> = RwLock::new(BTreeMap::new());

/// An open file, and whatever its owner needs to know of its being used.
pub(crate) type OpenFile = Arc<dyn AsFd + Send + Sync>;

struct Live {
    len: usize,
    file: OpenFile,
}

/// The first bytes of a file, as addresses. It and its file live until the last slice is gone.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
}

/// What keeps a mapping for its slices.
struct Owner(Arc<Mapping>);

// === impl Mapping ===

impl Mapping {
    /// The file may still be shorter than `len`, which is not 0; what it does not have yet must not be sliced.
    pub fn new<F: AsFd + Send + Sync + 'static>(file: Arc<F>, len: usize) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(len).map_raw_read_only(file.as_fd().as_raw_fd())?;
        let live = Live { len, file };
        LIVE.write().insert(raw.as_ptr().addr(), live);
        Ok(Arc::new(Self { raw }))
    }

    /// All of it, to cut slices from.
    pub fn bytes(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Owner(self.clone()))
    }
}

impl Drop for Mapping {
    /// Before the addresses are free for others.
    fn drop(&mut self) {
        let live = LIVE.write().remove(&self.raw.as_ptr().addr());
        // Not under the lock: closing the last handle of a large file that was deleted takes its time.
        drop(live);
    }
}

// === impl Owner ===

impl AsRef<[u8]> for Owner {
    #[allow(unsafe_code, reason = "a mapping has no safe view: another process could truncate its file")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the addresses are mapped, readable and initialised (by the kernel) for as long as `self.0` lives, which
        // outlives the slice. The files are this process's own and never truncated while mapped, so that a page which
        // has landed can be read. Landed bytes do not change, but for a piece whose bytes turn out wrong: then a copying
        // reader sees old or new bytes, as it would with `pread`, and checks them.
        unsafe { std::slice::from_raw_parts(self.0.raw.as_ptr(), self.0.raw.len()) }
    }
}

/// The file these bytes are mapped from, and where in it they begin.
#[cfg(target_os = "linux")]
pub(crate) fn find(bytes: &[u8]) -> Option<(OpenFile, u64)> {
    let at = bytes.as_ptr().addr();
    let live = LIVE.read();
    let (base, mapping) = live.range(..=at).next_back()?;
    let offset = at - base;
    let inside = !bytes.is_empty() && offset < mapping.len && bytes.len() <= mapping.len - offset;
    inside.then(|| (mapping.file.clone(), offset as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn an_address_is_found_as_long_as_a_slice_lives() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let mapping = Mapping::new(Arc::new(file), 10_000).unwrap();
        let slice = mapping.bytes().slice(5_000..6_000);
        drop(mapping);
        assert_eq!(find(&slice).unwrap().1, 5_000);
        assert_eq!(find(&slice.slice(999..)).unwrap().1, 5_999);
        assert!(find(&slice[..0]).is_none() && find(&[1, 2, 3]).is_none());
        assert_eq!(slice[..], [7; 1_000]);
        let address = slice.as_ptr().addr() - 5_000;
        drop(slice);
        assert!(!LIVE.read().contains_key(&address));
    }
}
