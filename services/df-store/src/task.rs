//! One task in use: which pieces are marked, how far the others have landed, who waits, and its two files.
//!
//! **Invariant.** Whoever changes the record holds `record`, and takes `state` only to say so in memory: readers wait for
//! no disk. Bytes, check, record, memory: in this order.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use df_api::dfdaemon::Piece;
use df_api::{ByteRange, Digest, TaskId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::content::ContentFile;
use crate::entry::{Brief, Entry, Pin};
use crate::fault::StoreError;
use crate::home::Home;
use crate::label::Label;
use crate::marks::PieceHash;
use crate::meta::{Meta, MetaConflict};
use crate::piece::PieceWriter;
use crate::record::{Line, Record, Recovered};
use crate::state::{Available, Snapshot, State, Trust};

/// A task's pieces, its files, and its waiters. Shared by its one writer and all its readers.
#[derive(Debug)]
pub struct StoredTask {
    pub(crate) entry: Arc<Entry>,
    pub(crate) home: Weak<Home>,
    dir: PathBuf,
    content: Mutex<Handle>,
    pub(crate) record: Mutex<Record>,
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

/// The open content, if somebody has it open.
#[derive(Debug)]
enum Handle {
    Shared(Weak<ContentFile>),
    /// The task has been removed: its file has no name any more. `None` when it never had one.
    Removed(Option<Arc<ContentFile>>),
}

// === impl StoredTask ===

impl StoredTask {
    pub(crate) fn new(entry: Arc<Entry>, home: Weak<Home>, dir: PathBuf, recovered: Recovered) -> Self {
        let record = Record::new(dir.join("record"), recovered.trusted_bytes);
        let state = State::new(recovered, entry.is_suspect());
        Self {
            entry,
            home,
            dir,
            content: Mutex::new(Handle::Shared(Weak::new())),
            record: Mutex::new(record),
            state: Mutex::new(state),
            version: watch::Sender::new(0),
        }
    }

    pub fn id(&self) -> &TaskId {
        &self.entry.id
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // --- waiting and looking ---

    /// Makes every waiter look again: its owner knows something that the store does not.
    pub fn wake(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes whenever a piece begins, is marked or given up, the description grows, or the task ends; not when bytes
    /// land within a piece. Subscribe before looking, look, then wait.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }

    pub fn meta(&self) -> Option<Meta> {
        self.state().meta.clone()
    }

    pub fn is_complete(&self) -> bool {
        self.state().complete
    }

    /// It is no longer in the store, though its holders read on. Whoever begins anew gets another one.
    pub fn is_removed(&self) -> bool {
        self.entry.is_removed()
    }

    pub fn available(&self, from: u64, trust: Trust) -> Available {
        self.state().available(from, trust)
    }

    /// How far the piece has landed in which the available bytes from `from` on end: changes with every byte of it, and
    /// is closed when it is marked or given up. `None` while nobody writes it.
    pub fn landing_after(&self, from: u64) -> Option<watch::Receiver<u64>> {
        self.state().landing_after(from)
    }

    pub fn piece_range(&self, index: u32) -> Option<ByteRange> {
        self.state().meta.as_ref()?.piece_range(index)
    }

    /// The digest of the marked piece that `range` lies in.
    pub fn piece_digest_around(&self, range: ByteRange) -> Option<Digest> {
        let state = self.state();
        let meta = state.meta.as_ref()?;
        let index = u32::try_from(range.start / meta.piece_length).ok()?;
        let inside = meta.piece_range(index).is_some_and(|piece| range.end <= piece.end);
        state.marks.digest(index).filter(|_| inside)
    }

    /// What has happened since event `since`, and what to ask with next time. Event 0 is the description, the others are
    /// marks; so `(…, 0)` means that nothing is known yet.
    pub fn events_since(&self, since: u64) -> (Vec<Piece>, u64) {
        self.state().events_since(since)
    }

    /// Every piece of a known length is marked.
    pub fn has_all_pieces(&self) -> bool {
        self.state().has_all_pieces()
    }

    // --- what the content is ---

    /// The first source to describe the content decides, also on how it is cut; a later one with another length is
    /// refused. A length may come later.
    pub fn describe(&self, given: Meta) -> Result<Result<(), MetaConflict>, StoreError> {
        let given = given.without_long_texts();
        if !given.is_sound() {
            return Ok(Err(MetaConflict::Impossible { given: Box::new(given) }));
        }
        let known = self.meta();
        match (known, given.length) {
            (None, _) => {}
            (Some(known), length) if known.length == length || length.is_none() => {
                self.state().learn_content_type(given.content_type);
                return Ok(Ok(()));
            }
            (Some(known), Some(length)) if known.length.is_none() => return self.set_length(length),
            (Some(known), _) => {
                return Ok(Err(MetaConflict::Differs { known: Box::new(known), given: Box::new(given) }));
            }
        }
        self.write_line(
            &Line::Task { meta: given.clone() },
            |state| state.meta.is_none(),
            |state| state.meta = Some(given.clone()),
        )?;
        self.record_label();
        self.wake();
        // Somebody else may have been first.
        if self.meta().is_some_and(|known| known.length != given.length) { self.describe(given) } else { Ok(Ok(())) }
    }

    pub fn label(&self) -> Option<Label> {
        self.state().label.clone()
    }

    /// The first one stays. Blocks when something of the content is stored already; a disk that does not take it costs
    /// the label at the next start.
    pub fn set_label(&self, label: Label) {
        {
            let mut state = self.state();
            if state.label.is_some() || !label.is_sound() {
                return;
            }
            state.label = Some(label);
            self.tell_brief(&state);
        }
        self.record_label();
    }

    /// Not before what it is the label of.
    fn record_label(&self) {
        let Some(label) = self.label() else { return };
        let unrecorded = |state: &State| state.meta.is_some() && !state.label_recorded;
        if !unrecorded(&self.state()) {
            return;
        }
        let written = self.write_line(&Line::Label { label }, unrecorded, |state| state.label_recorded = true);
        if let Err(error) = written {
            tracing::warn!(task = %self.id(), %error, "what a task is called is not stored");
        }
        if self.is_complete() {
            self.record.lock().close();
        }
    }

    /// The end of a content whose length nobody had told. One that cannot be is refused.
    pub fn set_length(&self, length: u64) -> Result<Result<(), MetaConflict>, StoreError> {
        self.write_line(&Line::Length { length }, |state| state.may_end_at(length), |state| state.set_length(length))?;
        self.wake();
        Ok(match self.meta() {
            Some(known) if known.length != Some(length) => {
                let given = Meta { length: Some(length), ..known.clone() };
                Err(MetaConflict::Differs { known: Box::new(known), given: Box::new(given) })
            }
            _ => Ok(()),
        })
    }

    /// The caller has seen that the whole matches its digest, or that it has none.
    pub fn mark_complete(&self) -> Result<(), StoreError> {
        self.write_line(&Line::Complete, |state| !state.complete, |state| state.complete = true)?;
        self.record.lock().close();
        self.wake();
        Ok(())
    }

    // --- its bytes ---

    /// The open content: what readers hold while they read. Opened by the first, closed with the last.
    pub fn content(self: &Arc<Self>) -> io::Result<Arc<ContentFile>> {
        self.open_content(false)
    }

    pub(crate) fn content_to_write(&self) -> io::Result<Arc<ContentFile>> {
        self.open_content(true)
    }

    fn open_content(&self, to_write: bool) -> io::Result<Arc<ContentFile>> {
        let mut handle = self.content.lock();
        let shared = match &*handle {
            Handle::Removed(content) => return content.clone().ok_or_else(|| io::ErrorKind::NotFound.into()),
            Handle::Shared(shared) => shared.upgrade(),
        };
        if let Some(content) = shared.filter(|content| content.is_writable() || !to_write) {
            return Ok(content);
        }
        if to_write {
            std::fs::create_dir_all(&self.dir)?;
        }
        let content = Arc::new(ContentFile::open(&self.dir.join("content"), to_write, self.entry.clone())?);
        *handle = Handle::Shared(Arc::downgrade(&content));
        drop(handle);
        self.save_last_read();
        Ok(content)
    }

    /// For a download, which has nothing open at times. Who reads is safe while it holds [`StoredTask::content`].
    pub fn pin(&self) -> Pin {
        Pin::new(self.entry.clone())
    }

    /// Nothing more will be written soon: gives the record's descriptor back.
    pub fn pause(&self) {
        self.record.lock().close();
    }

    /// Up to `max` bytes from `offset`, which must be available. Who reads more than once holds [`StoredTask::content`].
    pub async fn read(self: &Arc<Self>, offset: u64, max: usize) -> io::Result<Bytes> {
        self.content()?.read(offset, max).await
    }

    /// As the record's time of change, for the next start.
    fn save_last_read(&self) {
        if self.entry.read_to_save() {
            self.write_last_read();
        }
    }

    pub(crate) fn write_last_read(&self) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
        let now = Timespec { tv_sec: self.entry.last_read_s().cast_signed(), tv_nsec: 0 };
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: now };
        // Not worth an error: the next reader tries again.
        let _ = utimensat(CWD, self.dir.join("record"), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// `None` when the piece is marked, lies outside, or has a writer already.
    pub fn begin_piece(self: &Arc<Self>, index: u32) -> Option<PieceWriter> {
        let mut state = self.state();
        let meta = state.meta.as_ref()?;
        let range = meta.piece_range(index).filter(|_| index < meta.pieces_at_most())?;
        if !state.may_be_written(index) {
            return None;
        }
        state.landed.insert(index, watch::Sender::new(0));
        drop(state);
        // Who waits for its bytes can now wait for nothing else.
        self.wake();
        Some(PieceWriter::new(self.clone(), index, range))
    }

    /// Resolves when no piece has a writer: whoever goes on may begin any of them.
    pub async fn without_writers(&self) {
        let mut changes = self.subscribe();
        loop {
            changes.borrow_and_update();
            if self.state().landed.is_empty() {
                return;
            }
            // Fails only when the task is gone, and with it every writer.
            let _ = changes.changed().await;
        }
    }

    // --- for the piece writer ---

    pub(crate) fn set_landed(&self, index: u32, bytes: u64) {
        if let Some(landed) = self.state().landed.get(&index) {
            landed.send_replace(bytes);
        }
    }

    pub(crate) fn mark(&self, index: u32, hash: PieceHash) -> Result<(), StoreError> {
        self.write_line(&Line::piece(index, &hash), |state| !state.pieces.has(index), |state| state.mark(index, hash))?;
        self.wake();
        if let (Some(home), Some(range)) = (self.home.upgrade(), self.piece_range(index)) {
            home.grew(range.length());
        }
        Ok(())
    }

    pub(crate) fn abandon(&self, index: u32) {
        if self.state().landed.remove(&index).is_some() {
            self.wake();
        }
    }

    /// Does something that needs room on the disk; when there is none, makes some and does it again.
    pub(crate) fn with_room<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> Result<T, StoreError> {
        let home = self.home.upgrade();
        let seen = home.as_ref().map_or(0, |home| home.evictions());
        let mut result = write().map_err(StoreError::from);
        if let (Some(home), Err(StoreError::NoSpace(_))) = (&home, &result)
            && home.make_room(seen)
        {
            result = write().map_err(StoreError::from);
        }
        if let (Some(home), Err(error)) = (&home, &result) {
            home.saw(error);
        }
        result
    }

    // --- the record ---

    /// On disk first, then in memory; neither when `wanted` says no.
    fn write_line(
        &self,
        line: &Line,
        wanted: impl Fn(&State) -> bool,
        apply: impl FnOnce(&mut State),
    ) -> Result<(), StoreError> {
        let mut apply = Some(apply);
        self.with_room(|| {
            let mut record = self.record.lock();
            if !wanted(&self.state()) {
                return Ok(());
            }
            if !self.is_removed() {
                self.append(&mut record, line)?;
            }
            let mut state = self.state();
            if let Some(apply) = apply.take() {
                apply(&mut state);
            }
            self.tell_brief(&state);
            Ok(())
        })
    }

    fn append(&self, record: &mut Record, line: &Line) -> io::Result<()> {
        let home = self.home.upgrade();
        // A store that has been closed said that all is on disk: nothing may follow.
        let _open = match &home {
            Some(home) => Some(home.begin_write()?),
            None => None,
        };
        if record.trusted_bytes() == 0 {
            std::fs::create_dir_all(&self.dir)?;
        }
        record.append(line)
    }

    pub(crate) fn tell_brief(&self, state: &State) {
        let length = state.meta.as_ref().and_then(|meta| Some((meta.length?, meta.piece_length)));
        let whole = length.filter(|_| state.complete);
        let held_bytes = state.held_bytes + state.doubted.bytes;
        let (labelled, imported) =
            (state.label.is_some(), state.label.as_ref().is_some_and(|label| label.url.is_none()));
        *self.entry.brief() = Brief { known: true, held_bytes, whole, labelled, imported };
    }

    /// After its removal: nobody will read it any more, and its room is free.
    pub fn let_go(&self) {
        let mut handle = self.content.lock();
        if let Handle::Removed(content) = &mut *handle {
            *content = None;
        }
    }

    /// Its folder is about to lose its name: who holds the task keeps what is in it.
    pub(crate) fn detach(&self) {
        let _record = self.record.lock();
        let mut handle = self.content.lock();
        if let Handle::Shared(shared) = &*handle {
            // A download goes on into the file without a name.
            let to_write = !self.is_complete();
            let path = self.dir.join("content");
            let open = || ContentFile::open(&path, to_write, self.entry.clone()).ok().map(Arc::new);
            *handle = Handle::Removed(shared.upgrade().or_else(open));
        }
        self.entry.set_removed();
    }
}
