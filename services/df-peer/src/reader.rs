//! The one reader: the runtime, other peers and dfget all read a task through it, while it arrives.
//!
//! **Invariant.** [`Task::open`] answers only when the first byte is certain (or there is none), so that a caller can
//! still fall back; after that an error ends the stream, and the caller resumes by range.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::range::Requested;
use df_api::{ByteRange, Digest, RangeSpec};
use df_http::respond::Slice;
use df_store::{Available, ContentFile, Mapped, Meta, Trust};
use futures_util::stream::try_unfold;
use futures_util::{FutureExt as _, Stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::from_origin;
use crate::peer::Peer;
use crate::readers::Reading;
use crate::task::{Failure, Task};
use crate::unstored::Unstored;
use crate::uploads::Upload;

/// Bytes per read: large enough to be fast, small enough for many readers.
const READ_BYTES: usize = 256 * 1024;

/// Bytes per mapped slice: they take no memory, and the socket takes what it can.
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// A shorter content is copied: that costs less than a mapping.
const MAPPED_BYTES_MIN: u64 = 64 * 1024;

/// A first piece that is arriving slowly is waited for this many times as long: 20 s by default, which every runtime
/// bears.
const PATIENCE_WITH_PROGRESS: u32 = 2;

/// An answer whose first byte is there.
pub struct Content {
    /// Status, length and range headers; `None` while the content's length is not known.
    pub slice: Option<Slice>,
    pub content_type: Option<String>,
    pub digest: Option<Digest>,
    source: Source,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// RFC 9110: 416 with the total.
    #[error("the range lies outside the content's {total} bytes")]
    Unsatisfiable { total: u64 },
    #[error(transparent)]
    Failed(Arc<Failure>),
    #[error("no byte has arrived within {0:?}")]
    Timeout(Duration),
    /// What was asked for is not here, and will not come.
    #[error("nobody is fetching the rest of this task")]
    Idle,
}

/// How the bytes of an answer leave.
#[derive(Default)]
pub struct Delivery {
    /// As addresses of a mapping, for a connection that lets the kernel send what they stand for.
    pub sendfile: bool,
    /// Within the limits of uploads.
    pub upload: Option<Upload>,
}

enum Source {
    Stored(Reader),
    Unstored(Box<Unstored>),
}

struct Reader {
    reading: Reading,
    /// May read around a disk that takes nothing.
    around: Option<Arc<Peer>>,
    changes: watch::Receiver<u64>,
    /// From the first byte on: what is open is not evicted.
    content: Option<Arc<ContentFile>>,
    trust: Trust,
    at: u64,
    /// `None`: to the end, wherever that will be.
    end: Option<u64>,
    mapped: Option<Mapped>,
    upload: Option<Upload>,
}

// === impl ReadError ===

impl ReadError {
    fn is_not_storing(&self) -> bool {
        matches!(self, Self::Failed(failure) if matches!(&**failure, Failure::Storage(error) if error.is_not_storing()))
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Arc::new(failure))
    }
}

// === impl Task ===

impl Task {
    /// Waits `patience` for the first byte of `requested`; longer, but not for ever, while bytes land that are not
    /// checked yet.
    pub async fn open(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        requested: Requested,
        trust: Trust,
        patience: Duration,
    ) -> Result<Content, ReadError> {
        let mut opening = std::pin::pin!(self.clone().open_somehow(peer.clone(), requested, trust));
        if let Some(opened) = opening.as_mut().now_or_never() {
            return opened;
        }
        let landed = || self.stored().snapshot().landed_bytes;
        let (started, mut seen) = (Instant::now(), landed());
        let last = started + patience * PATIENCE_WITH_PROGRESS;
        let mut deadline = started + patience;
        loop {
            if let Ok(opened) = tokio::time::timeout_at(deadline, &mut opening).await {
                return opened;
            }
            if landed() == seen || Instant::now() >= last {
                return Err(ReadError::Timeout(patience));
            }
            seen = landed();
            deadline = (deadline + patience / 2).min(last);
        }
    }

    async fn open_somehow(
        self: Arc<Self>,
        peer: Arc<Peer>,
        requested: Requested,
        trust: Trust,
    ) -> Result<Content, ReadError> {
        // Children go to somebody who has it.
        let around = (trust == Trust::HoldLast).then_some(peer);
        match self.clone().open_stored(around.clone(), requested, trust).await {
            Err(error) if let Some(peer) = around.filter(|_| error.is_not_storing()) => {
                let (meta, slice, unstored) = Unstored::open(peer, self, requested).await?;
                let source = Source::Unstored(Box::new(unstored));
                Ok(Content { slice, content_type: meta.content_type, digest: meta.digest, source })
            }
            opened => opened,
        }
    }

    async fn open_stored(
        self: Arc<Self>,
        around: Option<Arc<Peer>>,
        requested: Requested,
        trust: Trust,
    ) -> Result<Content, ReadError> {
        let mut changes = self.stored().subscribe();
        let from = match requested {
            Requested::One(RangeSpec::Bounded { start, .. } | RangeSpec::From { start }) => start,
            Requested::One(_) | Requested::Whole => 0,
        };
        let reading = Reading::start(&self, from, trust == Trust::HoldLast);
        let (meta, slice) = loop {
            changes.borrow_and_update();
            let landing = self.stored().landing_after(from);
            if let Some(meta) = self.stored().meta()
                && let Some(slice) = self.slice(requested, meta.length)?
            {
                break (meta, slice);
            }
            self.still_coming()?;
            changed(&mut changes, landing).await;
        };
        let (at, end) = bounds(slice);
        reading.moved_to(at);
        let trust = if trust == Trust::HoldLast && is_end_only(at, &meta) { Trust::Checked } else { trust };
        let mut reader = Reader { reading, around, changes, content: None, trust, at, end, mapped: None, upload: None };
        if reader.ready().await? > 0 {
            reader.content().map_err(from_origin::storage)?;
        }
        let source = Source::Stored(reader);
        Ok(Content { slice, content_type: meta.content_type, digest: meta.digest, source })
    }

    /// An error when no more bytes will come.
    fn still_coming(&self) -> Result<(), ReadError> {
        match self.failure() {
            Some(failure) => Err(ReadError::Failed(failure)),
            None if self.is_running() || self.stored().is_complete() => Ok(()),
            None => Err(ReadError::Idle),
        }
    }

    /// What to answer: `None` when that cannot be said yet, `Some(None)` for a whole content of unknown length.
    fn slice(&self, requested: Requested, length: Option<u64>) -> Result<Option<Option<Slice>>, ReadError> {
        if let Some(total) = length {
            let slice = Slice::of(requested, total).map_err(|_| ReadError::Unsatisfiable { total })?;
            return Ok(Some(Some(slice)));
        }
        // An origin may tell the length only by ending; what has landed before that can be given all the same.
        match requested {
            Requested::Whole => Ok(Some(None)),
            Requested::One(RangeSpec::Bounded { start, last }) => {
                let range = ByteRange::new(start, last.saturating_add(1));
                let landed = match self.stored().available(start, Trust::Landed) {
                    Available::Bytes(bytes) => bytes,
                    Available::Pending | Available::End => 0,
                };
                let range = range.filter(|range| landed >= range.length());
                Ok(range.map(|range| Some(Slice::of_unknown_length(range))))
            }
            Requested::One(_) => Ok(None),
        }
    }
}

// === impl Content ===

impl Content {
    pub fn range(&self) -> Option<ByteRange> {
        self.slice.and_then(|slice| slice.range)
    }

    pub fn stream(self, delivery: Delivery) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let mut source = self.source;
        if let Source::Stored(reader) = &mut source {
            reader.upload = delivery.upload;
            if delivery.sendfile {
                reader.map();
            }
        }
        try_unfold(source, |mut source| async move {
            let bytes = source.next().await.map_err(io::Error::other)?;
            Ok(bytes.map(|bytes| (bytes, source)))
        })
    }
}

// === impl Source ===

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            match self {
                Self::Unstored(unstored) => return Ok(unstored.next().await?),
                Self::Stored(reader) => match reader.next().await {
                    Err(error) if let Some(peer) = reader.around.take().filter(|_| error.is_not_storing()) => {
                        let (task, at, end) = (reader.task().clone(), reader.at, reader.end);
                        *self = Self::Unstored(Box::new(Unstored::go_on(peer, task, at, end).await?));
                    }
                    read => return read,
                },
            }
        }
    }
}

// === impl Reader ===

impl Reader {
    fn task(&self) -> &Arc<Task> {
        self.reading.task()
    }

    /// How many bytes can be read now; 0 at the end.
    async fn ready(&mut self) -> Result<u64, ReadError> {
        let mut landing = None;
        loop {
            self.changes.borrow_and_update();
            let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.at));
            // The end of the whole content is not shown before it is known to be right, even if nothing came before it.
            if left == 0 && self.task().stored().meta().and_then(|meta| meta.length) != Some(self.at) {
                return Ok(0);
            }
            match self.task().stored().available(self.at, self.trust) {
                Available::Bytes(bytes) => return Ok(bytes.min(left)),
                Available::End => return Ok(0),
                Available::Pending => {}
            }
            if landing.is_none() {
                landing = self.landing();
                // Something may have come between the two looks.
                if landing.is_some() {
                    continue;
                }
            }
            self.task().still_coming()?;
            if let Some(upload) = &mut self.upload {
                upload.pause();
            }
            changed(&mut self.changes, landing.take()).await;
        }
    }

    /// Only who may see bytes that are not checked yet is woken by them.
    fn landing(&self) -> Option<watch::Receiver<u64>> {
        let unchecked = self.trust == Trust::Landed;
        unchecked.then(|| self.task().stored().landing_after(self.at)).flatten()
    }

    fn content(&mut self) -> io::Result<Arc<ContentFile>> {
        let content = match self.content.take() {
            Some(content) => content,
            None => self.task().stored().content()?,
        };
        Ok(self.content.insert(content).clone())
    }

    fn map(&mut self) {
        let length = self.end.map_or(0, |end| end.saturating_sub(self.at));
        let total = self.task().stored().meta().and_then(|meta| usize::try_from(meta.length?).ok());
        let Some(total) = total.filter(|_| length >= MAPPED_BYTES_MIN) else { return };
        match self.content().and_then(|content| content.map(total)) {
            Ok(mapped) => self.mapped = Some(mapped),
            // Out of addresses, or a file system without mappings.
            Err(error) => tracing::debug!(%error, task = %self.task().id(), "a content cannot be mapped; it is copied"),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let ready = self.ready().await?;
        if ready == 0 {
            return Ok(None);
        }
        let most = if self.mapped.is_some() { SLICE_BYTES } else { READ_BYTES };
        let most = self.upload.as_ref().map_or(most, |upload| upload.quantum_bytes().min(most));
        let wanted = usize::try_from(ready).unwrap_or(most).min(most);
        if let Some(upload) = &mut self.upload {
            upload.proceed(wanted).await;
        }
        let bytes = self.read(wanted).await.map_err(from_origin::storage)?;
        self.at += bytes.len() as u64;
        self.reading.moved_to(self.at);
        Ok(Some(bytes))
    }

    async fn read(&mut self, wanted: usize) -> io::Result<Bytes> {
        match &self.mapped {
            Some(mapped) => mapped.slice(self.at, wanted).await,
            None => self.content()?.read(self.at, wanted).await,
        }
    }
}

/// Whether a reader that begins there gets the last piece and not the first byte. It can make no complete body of that,
/// and checks what it has put together itself; the whole may be more time away than it waits for an answer.
fn is_end_only(at: u64, meta: &Meta) -> bool {
    let last_piece = meta.length.map(|length| length.saturating_sub(1) / meta.piece_length * meta.piece_length);
    at > 0 && last_piece.is_some_and(|last_piece| at >= last_piece)
}

/// From which byte to which: `None` to the end, wherever that will be.
pub(crate) fn bounds(slice: Option<Slice>) -> (u64, Option<u64>) {
    match slice {
        Some(slice) => slice.range.map_or((0, Some(0)), |range| (range.start, Some(range.end))),
        None => (0, None),
    }
}

/// Whatever comes first.
async fn changed(changes: &mut watch::Receiver<u64>, landing: Option<watch::Receiver<u64>>) {
    let landed = async {
        match landing {
            // An error when the piece is done with: that is a change, too.
            Some(mut landing) => drop(landing.changed().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = changes.changed() => {}
        () = landed => {}
    }
}
