//! What is known of a task, as lines appended beside its content: a checksum, a space, JSON. A torn or flipped line, and
//! all behind it, is not believed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use df_api::{Bitmap, Digest};
use serde::{Deserialize, Serialize};

use crate::content::{create_anew, open_plain};
use crate::label::Label;
use crate::marks::{Marks, PieceHash, piece_digest, piece_hash};
use crate::meta::Meta;

/// One line. A later `Length` completes an earlier `Task`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    Task {
        meta: Meta,
    },
    Piece {
        index: u32,
        digest: Digest,
    },
    Length {
        length: u64,
    },
    /// Whenever a program first asks for it, also of one that is complete.
    Label {
        label: Label,
    },
    /// Every piece is marked, and the whole matches its digest if it has one.
    Complete,
}

/// What the lines add up to. Whatever the bytes were, it is consistent: pieces lie within the content, and a complete
/// task has them all.
#[derive(Debug, Default)]
pub struct Recovered {
    pub(crate) meta: Option<Meta>,
    pub(crate) marks: Marks,
    pub(crate) complete: bool,
    pub(crate) label: Option<Box<Label>>,
    /// How much of the file that is.
    pub(crate) trusted_bytes: u64,
    /// There was more, which is not believed.
    pub(crate) has_rest: bool,
}

/// The file, for appending; open only between the first line and [`Record::close`].
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: Option<File>,
    /// What is behind this is cut off before the next line, which would be lost with it otherwise.
    trusted_bytes: u64,
}

/// A description with a content type of the longest kind fits well, and a label of the longest.
const LINE_BYTES_MAX: u64 = 32 * 1024;
const CHECKSUM_DIGITS: usize = 16;

// === impl Line ===

impl Line {
    pub fn piece(index: u32, hash: &PieceHash) -> Self {
        Self::Piece { index, digest: piece_digest(hash) }
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut line = checksum(&json).into_bytes();
        line.push(b' ');
        line.extend(json);
        line.push(b'\n');
        Ok(line)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n")?;
        let (sum, rest) = line.split_at_checked(CHECKSUM_DIGITS)?;
        let json = rest.strip_prefix(b" ")?;
        if checksum(json).as_bytes() != sum {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// Against accidents, not against forgers: those are bounded by what a line may say.
fn checksum(json: &[u8]) -> String {
    blake3::hash(json).to_hex()[..CHECKSUM_DIGITS].to_owned()
}

// === impl Recovered ===

impl Recovered {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match open_plain(path, File::options().read(true)) {
            Ok(file) => Self::parse(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Believes every line up to the first that is torn, flipped, or says what cannot be. Pure but for reading; its
    /// memory is bounded by the most pieces a task may have.
    pub fn parse(mut input: impl BufRead) -> io::Result<Self> {
        let mut found = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(found);
            }
            if !Line::parse(&line).is_some_and(|line| found.take(line)) {
                found.has_rest = true;
                return Ok(found);
            }
            found.trusted_bytes += read as u64;
        }
    }

    pub fn piece_count(&self) -> usize {
        self.marks.len()
    }

    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Bytes of marked pieces.
    pub fn held_bytes(&self) -> u64 {
        let Some(meta) = &self.meta else { return 0 };
        self.marks.since(0).filter_map(|(index, _)| meta.piece_range(index)).map(|range| range.length()).sum()
    }

    /// Drops what lies beyond the content's file.
    pub(crate) fn cut_to(&mut self, content_bytes: u64) -> bool {
        let Some(meta) = self.meta.clone() else { return false };
        let before = self.marks.len();
        self.marks.retain(|index| meta.piece_range(index).is_some_and(|range| range.end <= content_bytes));
        let cut = self.marks.len() < before;
        self.complete &= !cut;
        cut
    }

    /// `false` when the line cannot follow what was there.
    fn take(&mut self, line: Line) -> bool {
        match (line, &mut self.meta) {
            (Line::Label { label }, Some(_)) if self.label.is_none() && label.is_sound() => {
                self.label = Some(Box::new(label));
                true
            }
            _ if self.complete => false,
            (Line::Task { meta: told }, known @ None) => {
                let sound = told.is_sound();
                *known = Some(told).filter(|_| sound);
                sound
            }
            (Line::Length { length }, Some(meta)) => {
                meta.ending_at(length, &self.marks).map(|told| *meta = told).is_some()
            }
            (Line::Piece { index, digest }, Some(meta)) => {
                let hash = piece_hash(&digest).filter(|_| index < meta.pieces_at_most());
                hash.is_some_and(|hash| self.marks.add(index, hash))
            }
            (Line::Complete, Some(meta)) => {
                self.complete = meta.length.is_some() && self.marks.len() == meta.pieces_at_most() as usize;
                self.complete
            }
            (Line::Task { .. } | Line::Length { .. } | Line::Piece { .. } | Line::Label { .. } | Line::Complete, _) => {
                false
            }
        }
    }

    pub(crate) fn pieces(&self) -> Bitmap {
        let mut pieces = Bitmap::default();
        self.marks.since(0).for_each(|(index, _)| pieces.set(index));
        pieces
    }
}

// === impl Record ===

impl Record {
    pub fn new(path: PathBuf, trusted_bytes: u64) -> Self {
        Self { path, file: None, trusted_bytes }
    }

    pub fn trusted_bytes(&self) -> u64 {
        self.trusted_bytes
    }

    /// One `write`; when it fails, nothing of the line counts.
    pub fn append(&mut self, line: &Line) -> io::Result<()> {
        let bytes = line.to_bytes()?;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = open_plain(&self.path, File::options().create(true).append(true))?;
                file.set_len(self.trusted_bytes)?;
                file
            }
        };
        // On failure the file is closed: the next line begins by cutting off the torn one.
        file.write_all(&bytes)?;
        self.trusted_bytes += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    pub fn close(&mut self) {
        self.file = None;
    }

    /// Replaces all lines at once.
    pub fn rewrite(&mut self, lines: impl Iterator<Item = Line>) -> io::Result<()> {
        self.close();
        let new = self.path.with_extension("new");
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend(line.to_bytes()?);
        }
        create_anew(&new)?.write_all(&bytes)?;
        std::fs::rename(&new, &self.path)?;
        self.trusted_bytes = bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
