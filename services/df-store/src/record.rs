//! What is known of a task, as lines of JSON appended beside its content. A torn last line is a piece that was not marked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use df_api::{Bitmap, Digest};
use serde::{Deserialize, Serialize};

use crate::task::Meta;

/// One line. A later `Length` completes an earlier `Task`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
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
    /// Every piece is marked, and the whole matches its digest if it has one.
    Complete,
}

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
}

/// What the lines add up to.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub meta: Option<Meta>,
    pub pieces: Bitmap,
    /// In the order they were marked.
    pub marks: Vec<(u32, Digest)>,
    pub complete: bool,
    /// How much of the file that is.
    pub trusted_bytes: u64,
}

// === impl Record ===

impl Record {
    /// Cuts off what is not trusted: a line after a torn one would be lost with it at the next start.
    pub fn open(path: &Path, trusted_bytes: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        file.set_len(trusted_bytes)?;
        Ok(Self { file })
    }

    /// One `write`, so that a crash leaves the line whole or torn, never interleaved.
    pub fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

// === impl Recovered ===

impl Recovered {
    /// Trusts every whole line up to the first that is not one.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            match serde_json::from_slice(&line) {
                Ok(Line::Task { meta }) if meta.piece_length == 0 => break,
                Ok(line) => found.take(line),
                Err(_) => break,
            }
            found.trusted_bytes += line.len() as u64;
            line.clear();
        }
        Ok(found)
    }

    /// The content must be at least this long.
    pub fn marked_end(&self) -> u64 {
        let Some(meta) = &self.meta else { return 0 };
        let end = |index: u32| ((u64::from(index) + 1) * meta.piece_length).min(meta.length.unwrap_or(u64::MAX));
        self.pieces.iter().map(end).max().unwrap_or(0)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Task { meta } => self.meta = Some(meta),
            Line::Length { length } => {
                if let Some(meta) = &mut self.meta {
                    meta.length = Some(length);
                }
            }
            Line::Piece { index, digest } => {
                if !self.pieces.has(index) {
                    self.pieces.set(index);
                    self.marks.push((index, digest));
                }
            }
            Line::Complete => self.complete = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::open(&path, 0).unwrap();
        let meta = Meta { length: Some(10), piece_length: 4, content_type: None, digest: None, validator: None };
        record.append(&Line::Task { meta: meta.clone() }).unwrap();
        let digest: Digest = format!("blake3:{}", "ab".repeat(32)).parse().unwrap();
        record.append(&Line::Piece { index: 1, digest: digest.clone() }).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(br#"{"kind":"piece","index":2,"dig"#).unwrap();

        let found = Recovered::read(&path).unwrap();
        assert_eq!(found.meta, Some(meta));
        assert_eq!(found.marks, [(1, digest)]);
        assert!(!found.complete && !found.pieces.has(2));

        // What is written after the torn line counts.
        Record::open(&path, found.trusted_bytes).unwrap().append(&Line::Length { length: 11 }).unwrap();
        assert_eq!(Recovered::read(&path).unwrap().meta.unwrap().length, Some(11));
    }

    #[test]
    fn nothing_on_disk_is_nothing_known() {
        let found = Recovered::read(Path::new("/nonexistent/record")).unwrap();
        assert!(found.meta.is_none() && found.marks.is_empty());
    }
}
