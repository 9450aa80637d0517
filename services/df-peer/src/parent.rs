//! A parent: somebody of the cluster to read pieces from, and what it has told of itself.
//!
//! **Invariant.** Nothing it says is believed that cannot be: pieces outside the content, a digest of another kind, a word
//! taken back. Whoever says such a thing is a liar, and what is kept of it is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use df_api::dfdaemon::PieceList;
use df_api::scheduler::Parent;
use df_api::task::piece_count;
use df_api::{Algorithm, ByteRange, Digest};
use df_client::{ClientError, DfdaemonClient};
use df_store::Meta;
use parking_lot::Mutex;

use crate::origin::is_same_version;
use crate::plan::Key;
use crate::task::{Source, Task};

/// Pieces of a content whose length nobody has told.
const UNTOLD_PIECES_MAX: u32 = 1 << 16;

/// One parent in one download.
pub(crate) struct ParentLink {
    pub key: Key,
    pub parent: Parent,
    pub client: DfdaemonClient,
    book: Mutex<Book>,
    must_check: AtomicBool,
}

/// What this parent has told so far.
#[derive(Default)]
struct Book {
    digests: HashMap<u32, Digest>,
    next: u64,
    length: Option<u64>,
    piece_length: Option<u64>,
}

/// What is asked of a parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub range: ByteRange,
    /// Only what it has checked; otherwise it sends bytes as they arrive.
    pub checked: bool,
}

/// Why an answer of a parent is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(transparent)]
    Refused(#[from] ClientError),
    #[error("{0}")]
    Lie(String),
    #[error("it has version {0} of the content")]
    OtherVersion(String),
    /// As after an eviction: what it told before counts no more.
    #[error("it has begun the content anew")]
    BeganAnew,
}

// === impl ParentLink ===

impl ParentLink {
    pub fn new(key: Key, parent: Parent, client: DfdaemonClient) -> Self {
        Self { key, parent, client, book: Mutex::default(), must_check: AtomicBool::default() }
    }

    pub fn source(&self) -> Source {
        if self.parent.seed { Source::Seed } else { Source::Peer }
    }

    /// What it has from the last answer on, or from the start; remembers the digests.
    pub async fn list(&self, task: &Task, wait: Duration) -> Result<PieceList, ListError> {
        let since = self.book.lock().next;
        let list = self.client.list_pieces(task.id(), since, wait).await?;
        self.book.lock().take(since, &list, task.stored().meta().as_ref())?;
        Ok(list)
    }

    pub fn told(&self, index: u32) -> Option<Digest> {
        self.book.lock().digests.get(&index).cloned()
    }

    /// What it passed on unchecked was wrong once. That may be the fault of one above it, but from now on it is asked only
    /// for what it has checked, and answers for it.
    pub fn must_check(&self) -> bool {
        self.must_check.load(Ordering::Relaxed)
    }

    pub fn set_must_check(&self) {
        self.must_check.store(true, Ordering::Relaxed);
    }

    /// Of the whole content.
    pub fn told_length(&self) -> Option<u64> {
        self.book.lock().length
    }

    pub fn has_told(&self, index: u32) -> bool {
        self.book.lock().digests.contains_key(&index)
    }

    /// A digest that came with the bytes.
    pub fn tell(&self, index: u32, digest: Digest) -> Result<(), ListError> {
        self.book.lock().enter(index, digest)
    }
}

// === impl Book ===

impl Book {
    fn take(&mut self, since: u64, list: &PieceList, known: Option<&Meta>) -> Result<(), ListError> {
        let told = list.pieces.len() as u64;
        if list.next < since && told == 0 {
            return Err(ListError::BeganAnew);
        }
        // Of the first event nothing is listed: it is the description.
        if list.next < since + told || list.next > since + told + 1 {
            return Err(ListError::Lie(format!(
                "after event {since} come {told} pieces, and then event {}",
                list.next
            )));
        }
        self.describe(list, known)?;
        let pieces = match (self.length, self.piece_length) {
            (Some(length), Some(piece_length)) => piece_count(length, piece_length),
            // Before the length is told, no content is long.
            _ => UNTOLD_PIECES_MAX,
        };
        if list.next > u64::from(pieces) + 1 {
            return Err(ListError::Lie(format!("{} events of {pieces} pieces", list.next)));
        }
        for piece in &list.pieces {
            if piece.index >= pieces {
                return Err(ListError::Lie(format!("piece {} of {pieces}", piece.index)));
            }
            self.enter(piece.index, piece.digest.clone())?;
        }
        self.next = self.next.max(list.next);
        // In another order than before, or it would have told of them all.
        if list.complete && self.digests.len() < pieces as usize && self.length.is_some() {
            return Err(ListError::BeganAnew);
        }
        Ok(())
    }

    /// What it says of the whole has to stay, and to be what everybody says.
    fn describe(&mut self, list: &PieceList, known: Option<&Meta>) -> Result<(), ListError> {
        let validator = known.and_then(|meta| meta.validator.as_deref());
        let differs = |told: &&String| validator.is_some_and(|known| !is_same_version(known, told));
        if let Some(other) = list.validator.as_ref().filter(differs) {
            return Err(ListError::OtherVersion(other.clone()));
        }
        if list.length.is_some() && list.piece_length.is_none() {
            return Err(ListError::Lie("its content has an end and no pieces".to_owned()));
        }
        let (length, piece_length) = known.map_or((None, None), |meta| (meta.length, Some(meta.piece_length)));
        let differs = |told: Option<u64>, known: Option<u64>| told.is_some() && known.is_some() && told != known;
        for known in [self.length, length] {
            if differs(list.length, known) {
                return Err(ListError::Lie(format!("its content has {:?} bytes, not {known:?}", list.length)));
            }
        }
        for known in [self.piece_length, piece_length] {
            if differs(list.piece_length, known) || list.piece_length == Some(0) {
                return Err(ListError::Lie(format!("its pieces have {:?} bytes, not {known:?}", list.piece_length)));
            }
        }
        self.length = self.length.or(list.length);
        self.piece_length = self.piece_length.or(list.piece_length);
        Ok(())
    }

    fn enter(&mut self, index: u32, digest: Digest) -> Result<(), ListError> {
        if digest.algorithm() != Algorithm::Blake3 {
            return Err(ListError::Lie(format!("piece {index} is {digest}, which is not blake3")));
        }
        match self.digests.insert(index, digest.clone()) {
            Some(before) if before != digest => {
                Err(ListError::Lie(format!("piece {index} is {digest}, and was {before} before")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use df_api::dfdaemon::Piece;

    use super::*;

    fn blake3(byte: &str) -> Digest {
        format!("blake3:{}", byte.repeat(32)).parse().unwrap()
    }

    fn list(pieces: &[(u32, Digest)], next: u64) -> PieceList {
        PieceList {
            length: Some(1000),
            piece_length: Some(100),
            content_type: None,
            digest: None,
            validator: None,
            pieces: pieces.iter().map(|(index, digest)| Piece { index: *index, digest: digest.clone() }).collect(),
            next,
            complete: false,
            running: true,
            at_origin: false,
        }
    }

    fn meta(length: u64) -> Meta {
        let validator = Some("\"v1\"".to_owned());
        Meta { length: Some(length), piece_length: 100, content_type: None, digest: None, validator }
    }

    #[test]
    fn another_version_is_no_lie_and_is_not_taken() {
        let version = |validator: &str| PieceList { validator: Some(validator.to_owned()), ..list(&[], 1) };
        let known = meta(1000);
        Book::default().take(0, &version("\"v1\""), Some(&known)).unwrap();
        let other = Book::default().take(0, &version("\"v2\""), Some(&known));
        assert!(matches!(other, Err(ListError::OtherVersion(_))));
    }

    #[test]
    fn an_honest_parent_is_believed_also_when_it_repeats_itself() {
        let mut book = Book::default();
        book.take(0, &list(&[(3, blake3("aa"))], 2), None).unwrap();
        book.take(2, &list(&[(9, blake3("bb"))], 3), Some(&meta(1000))).unwrap();
        book.take(2, &list(&[(9, blake3("bb"))], 3), None).unwrap();
        assert_eq!((book.digests.len(), book.next), (2, 3));
    }

    #[test]
    fn whoever_has_begun_anew_is_no_liar() {
        for list in [list(&[], 1), PieceList { complete: true, ..list(&[], 2) }] {
            let mut book = Book::default();
            book.take(0, &self::list(&[(3, blake3("aa"))], 2), None).unwrap();
            assert!(matches!(book.take(2, &list, None), Err(ListError::BeganAnew)), "{list:?}");
        }
    }

    #[test]
    fn there_are_no_more_events_than_pieces() {
        let mut book = Book::default();
        book.take(0, &list(&[(3, blake3("aa"))], 2), None).unwrap();
        let repeated = (2..11).try_for_each(|since| book.take(since, &list(&[(3, blake3("aa"))], since + 1), None));
        repeated.unwrap();
        assert!(matches!(book.take(11, &list(&[(3, blake3("aa"))], 12), None), Err(ListError::Lie(_))));
    }

    #[test]
    fn a_lie_is_noticed() {
        let sha = format!("sha256:{}", "aa".repeat(32)).parse().unwrap();
        let lies = [
            list(&[(10, blake3("aa"))], 3),
            list(&[(u32::MAX, blake3("aa"))], 3),
            list(&[(3, blake3("bb"))], 3),
            list(&[(4, sha)], 3),
            list(&[(3, blake3("aa"))], 2),
            list(&[], 1000),
            PieceList { length: Some(999), ..list(&[], 2) },
            PieceList { piece_length: Some(0), ..list(&[], 2) },
            PieceList { piece_length: None, ..list(&[], 2) },
        ];
        for lie in lies {
            let mut book = Book::default();
            book.take(0, &list(&[(3, blake3("aa"))], 2), None).unwrap();
            assert!(matches!(book.take(2, &lie, None), Err(ListError::Lie(_))), "{lie:?}");
        }
        let other = Book::default().take(0, &list(&[], 1), Some(&meta(1001)));
        assert!(matches!(other, Err(ListError::Lie(_))));
    }
}
