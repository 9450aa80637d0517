//! One task on disk and in memory: what it is, which pieces are marked, how far the others have landed, who waits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::{Bytes, BytesMut};
use df_api::dfdaemon::Piece;
use df_api::task::piece_count;
use df_api::{Bitmap, ByteRange, Digest, TaskId};
use df_sendfile::Mapping;
use rustix::io::{IoSliceMut, ReadWriteFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::piece::PieceWriter;
use crate::record::{Line, Record, Recovered};

/// What a content is, known once its origin, or a parent, has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `None` while an origin that does not tell is still sending.
    pub length: Option<u64>,
    pub piece_length: u64,
    pub content_type: Option<String>,
    pub digest: Option<Digest>,
}

/// Two sources describe the same task differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a source says {given:?}, but the task is known as {known:?}")]
pub struct MetaConflict {
    pub known: Box<Meta>,
    pub given: Box<Meta>,
}

/// Whose bytes count as available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All that have landed, also inside unmarked pieces: for peers, who check for themselves.
    Landed,
    /// Marked pieces only, and the last piece of a digest-addressed content only when the whole has matched: a runtime
    /// must never be given a complete wrong body.
    HoldLast,
    /// Marked pieces only.
    Checked,
}

/// How far a reader can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// This many bytes are there, at least one.
    Bytes(u64),
    /// None yet.
    Pending,
    /// The content ends here.
    End,
}

/// What a task amounts to at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub meta: Option<Meta>,
    pub pieces: Bitmap,
    /// Marked bytes.
    pub held_bytes: u64,
    /// Marked bytes and those landed in unmarked pieces.
    pub landed_bytes: u64,
    pub complete: bool,
}

/// A task's file, its record, and its waiters. Shared by its one writer and all its readers.
#[derive(Debug)]
pub struct StoredTask {
    id: TaskId,
    pub(crate) content: Arc<File>,
    pub(crate) mapping: Mutex<Weak<Mapping>>,
    /// Until the task is complete: then nothing is added any more.
    record: Mutex<Option<Record>>,
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    meta: Option<Meta>,
    pieces: Bitmap,
    marks: Vec<(u32, Digest)>,
    /// Unmarked pieces with a writer: how many of their first bytes have landed.
    landed: BTreeMap<u32, u64>,
    complete: bool,
}

// === impl State ===

impl State {
    fn piece_range(&self, index: u32) -> Option<ByteRange> {
        let meta = self.meta.as_ref()?;
        let start = u64::from(index) * meta.piece_length;
        let end = start + meta.piece_length;
        ByteRange::new(start, meta.length.map_or(end, |length| end.min(length)))
    }

    /// Contiguous bytes from `from` on.
    fn contiguous(&self, from: u64, checked_only: bool) -> u64 {
        let Some(meta) = &self.meta else { return 0 };
        if let (true, Some(length)) = (self.complete, meta.length) {
            return length.saturating_sub(from);
        }
        let mut at = from;
        loop {
            let Ok(index) = u32::try_from(at / meta.piece_length) else { return at - from };
            let Some(range) = self.piece_range(index).filter(|range| range.start <= at && at < range.end) else {
                return at - from;
            };
            if self.pieces.has(index) {
                at = range.end;
                continue;
            }
            let landed = if checked_only { 0 } else { self.landed.get(&index).copied().unwrap_or(0) };
            return at.max((range.start + landed).min(range.end)) - from;
        }
    }

    fn available(&self, from: u64, trust: Trust) -> Available {
        let unverified =
            trust == Trust::HoldLast && !self.complete && self.meta.as_ref().is_some_and(|m| m.digest.is_some());
        let length = self.meta.as_ref().and_then(|meta| meta.length);
        if length.is_some_and(|length| from >= length) {
            // The end is what makes a body complete: it must not be seen before the whole has matched.
            return if unverified { Available::Pending } else { Available::End };
        }
        let mut bytes = self.contiguous(from, trust != Trust::Landed);
        if unverified && let (Some(length), Some(meta)) = (length, &self.meta) {
            let held_from = length.saturating_sub(1) / meta.piece_length * meta.piece_length;
            bytes = bytes.min(held_from.saturating_sub(from));
        }
        if bytes == 0 { Available::Pending } else { Available::Bytes(bytes) }
    }

    fn held_bytes(&self) -> u64 {
        self.pieces.iter().filter_map(|index| self.piece_range(index)).map(ByteRange::length).sum()
    }
}

// === impl StoredTask ===

impl StoredTask {
    pub(crate) fn open(id: TaskId, dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut recovered = Recovered::read(&dir.join("record"))?;
        let content = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("content"))?;
        if content.metadata()?.len() < recovered.marked_end() {
            tracing::warn!(task = %id, "the content is shorter than its record says; nothing of it is believed");
            recovered = Recovered::default();
        }
        let Recovered { meta, pieces, marks, complete, trusted_bytes } = recovered;
        let record = if complete { None } else { Some(Record::open(&dir.join("record"), trusted_bytes)?) };
        let state = State { meta, pieces, marks, complete, ..State::default() };
        let content = Arc::new(content);
        let mapping = Mutex::default();
        Ok(Self {
            id,
            content,
            mapping,
            record: Mutex::new(record),
            state: Mutex::new(state),
            version: watch::Sender::new(0),
        })
    }

    pub fn id(&self) -> &TaskId {
        &self.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut record = self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        record.as_mut().map_or(Ok(()), |record| record.append(line))
    }

    /// Makes every waiter look again: its owner knows something that the store does not.
    pub fn wake(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes whenever bytes land, a piece is marked, or the task ends. Subscribe before looking, look, then wait.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let held_bytes = state.held_bytes();
        Snapshot {
            meta: state.meta.clone(),
            pieces: state.pieces.clone(),
            held_bytes,
            landed_bytes: held_bytes + state.landed.values().sum::<u64>(),
            complete: state.complete,
        }
    }

    pub fn meta(&self) -> Option<Meta> {
        self.state().meta.clone()
    }

    pub fn is_complete(&self) -> bool {
        self.state().complete
    }

    pub fn available(&self, from: u64, trust: Trust) -> Available {
        self.state().available(from, trust)
    }

    pub fn piece_range(&self, index: u32) -> Option<ByteRange> {
        self.state().piece_range(index)
    }

    /// The digest of the marked piece that `range` lies in.
    pub fn piece_digest_around(&self, range: ByteRange) -> Option<Digest> {
        let state = self.state();
        let piece_length = state.meta.as_ref()?.piece_length;
        let index = u32::try_from(range.start / piece_length).ok()?;
        let inside = state.piece_range(index).is_some_and(|piece| range.end <= piece.end);
        state.marks.iter().find(|(marked, _)| inside && *marked == index).map(|(_, digest)| digest.clone())
    }

    /// What has happened since event `since`, and what to ask with next time. Event 0 is the description, the others are
    /// marks; so `(…, 0)` means that nothing is known yet.
    pub fn events_since(&self, since: u64) -> (Vec<Piece>, u64) {
        let state = self.state();
        let from = usize::try_from(since.saturating_sub(1)).unwrap_or(usize::MAX).min(state.marks.len());
        let pieces = state.marks[from..].iter().map(|(index, digest)| Piece { index: *index, digest: digest.clone() });
        (pieces.collect(), state.meta.iter().count() as u64 + state.marks.len() as u64)
    }

    /// The first source to describe the content decides, also on how it is cut; a later one with another length is
    /// refused. A length may come later.
    pub fn describe(&self, given: Meta) -> io::Result<Result<(), MetaConflict>> {
        let mut state = self.state();
        match &mut state.meta {
            Some(known) if known.length == given.length => {
                if known.content_type.is_none() {
                    known.content_type = given.content_type;
                }
                return Ok(Ok(()));
            }
            Some(known) if known.length.is_none() => {
                drop(state);
                return given.length.map_or(Ok(()), |length| self.set_length(length)).map(Ok);
            }
            Some(_) if given.length.is_none() => return Ok(Ok(())),
            Some(known) => {
                return Ok(Err(MetaConflict { known: Box::new(known.clone()), given: Box::new(given) }));
            }
            None => {}
        }
        self.append(&Line::Task { meta: given.clone() })?;
        state.meta = Some(given);
        drop(state);
        self.wake();
        Ok(Ok(()))
    }

    /// The end of a content whose length nobody had told.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let Some(meta) = &mut state.meta else { return Ok(()) };
        if meta.length.is_none() {
            self.append(&Line::Length { length })?;
            meta.length = Some(length);
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// `None` when the piece is marked, lies outside, or has a writer already.
    pub fn begin_piece(self: &Arc<Self>, index: u32) -> Option<PieceWriter> {
        let mut state = self.state();
        let range = state.piece_range(index)?;
        if state.pieces.has(index) || state.landed.contains_key(&index) {
            return None;
        }
        state.landed.insert(index, 0);
        drop(state);
        Some(PieceWriter::new(self.clone(), index, range))
    }

    /// Every piece of a known length is marked.
    pub fn has_all_pieces(&self) -> bool {
        let state = self.state();
        let meta = state.meta.as_ref().and_then(|meta| Some((meta.length?, meta.piece_length)));
        meta.is_some_and(|(length, piece_length)| state.pieces.count() == piece_count(length, piece_length))
    }

    /// The caller has seen that the whole matches its digest, or that it has none.
    pub fn mark_complete(&self) -> io::Result<()> {
        let mut state = self.state();
        if !state.complete {
            self.append(&Line::Complete)?;
            state.complete = true;
            *self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// Up to `max` bytes from `offset`, which must be available. From the page cache without leaving the caller's
    /// thread; from the disk on a blocking one.
    pub async fn read(self: &Arc<Self>, offset: u64, max: usize) -> io::Result<Bytes> {
        let mut buffer = BytesMut::zeroed(max);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        match rustix::io::preadv2(&*self.content, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
            // Not in the page cache, or a file system without NOWAIT.
            Err(_) => {
                let task = self.clone();
                let read = move || -> io::Result<Bytes> {
                    let read = task.content.read_at(&mut buffer, offset)?;
                    buffer.truncate(read);
                    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(buffer.freeze()) }
                };
                tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
            }
        }
    }

    // --- for the piece writer ---

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.content.write_all_at(bytes, offset)
    }

    pub(crate) fn set_landed(&self, index: u32, bytes: u64) {
        self.state().landed.insert(index, bytes);
        self.wake();
    }

    pub(crate) fn mark(&self, index: u32, digest: &Digest) -> io::Result<()> {
        let mut state = self.state();
        self.append(&Line::Piece { index, digest: digest.clone() })?;
        state.landed.remove(&index);
        state.pieces.set(index);
        state.marks.push((index, digest.clone()));
        drop(state);
        self.wake();
        Ok(())
    }

    pub(crate) fn abandon(&self, index: u32) {
        self.state().landed.remove(&index);
    }
}
