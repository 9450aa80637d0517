//! The digest of a whole content, computed once, in order, while it comes.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use df_api::Digest;
use df_store::{Available, ContentFile, ContentHasher, StoredTask, Trust};

use crate::from_origin;
use crate::peer::Peer;
use crate::task::Failure;

/// Hashed at a time: stays in the processor's cache between being read and being hashed, which costs half as much.
const VERIFY_BYTES: usize = 256 * 1024;
/// Hashed on one thread before it is others' turn.
const STRETCH_BYTES: u64 = 16 * 1024 * 1024;

/// Hashes the checked bytes as they come, to the end.
pub(crate) async fn verify(peer: Arc<Peer>, stored: Arc<StoredTask>, expected: Digest) -> Result<(), Failure> {
    let mut changes = stored.subscribe();
    let mut hasher = ContentHasher::new(expected.algorithm());
    let mut at = 0;
    loop {
        changes.borrow_and_update();
        match stored.available(at, Trust::Checked) {
            Available::End => break,
            Available::Pending => drop(changes.changed().await),
            Available::Bytes(bytes) => {
                let hashed = hash_range(&peer, &stored, at..at + bytes, hasher).await;
                hasher = hashed.map_err(from_origin::storage)?;
                at += bytes;
            }
        }
    }
    let found = hasher.finish();
    if found == expected { Ok(()) } else { Err(Failure::WrongDigest { found, expected }) }
}

/// Beside the threads that take in what comes next: on one of those the two would wait for each other.
pub(crate) async fn hash_range(
    peer: &Peer,
    stored: &Arc<StoredTask>,
    range: Range<u64>,
    mut hasher: ContentHasher,
) -> io::Result<ContentHasher> {
    let content = stored.content()?;
    let mut at = range.start;
    while at < range.end {
        let stretch = at..range.end.min(at + STRETCH_BYTES);
        at = stretch.end;
        let content = content.clone();
        hasher = peer.intake.compute(move || hash_stretch(&content, stretch, hasher)).await??;
    }
    Ok(hasher)
}

fn hash_stretch(content: &ContentFile, mut left: Range<u64>, mut hasher: ContentHasher) -> io::Result<ContentHasher> {
    let length = usize::try_from(left.end - left.start).unwrap_or(VERIFY_BYTES);
    let mut buffer = vec![0; length.min(VERIFY_BYTES)];
    while left.start < left.end {
        let wanted = usize::try_from(left.end - left.start).unwrap_or(VERIFY_BYTES).min(buffer.len());
        match content.read_now(&mut buffer[..wanted], left.start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hasher.update(&buffer[..read]);
                left.start += read as u64;
            }
        }
    }
    Ok(hasher)
}
