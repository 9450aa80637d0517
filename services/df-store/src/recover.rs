//! What is found on disk: the listing at the start, and one task's folder when it is first used.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use df_api::TaskId;

use crate::aside::Aside;
use crate::entry::Entry;
use crate::record::Recovered;

/// What a folder amounts to.
pub(crate) enum Folder {
    /// Something to go on with.
    Sound {
        recovered: Recovered,
        /// Its record says more than the content has, and has to be corrected.
        cut: bool,
        /// Something was written to its content after all that the record knows of.
        altered: bool,
        /// Unix seconds.
        changed_s: u64,
    },
    /// No task, and nothing of value: to be deleted.
    Empty,
    Missing,
    /// Not what this store writes: to be set aside.
    Foreign(&'static str),
}

enum Place {
    Nothing,
    File(Metadata),
    Other,
}

/// Names only: a record is read when its task is first used.
pub(crate) fn list_tasks(dir: &Path, aside: &Aside, suspect: bool) -> io::Result<HashMap<TaskId, Arc<Entry>>> {
    let mut tasks = HashMap::new();
    for shelf in std::fs::read_dir(dir)? {
        let shelf = shelf?;
        let name = shelf.file_name();
        let Some(name) = name.to_str().filter(|name| name.len() == 2 && is_folder(&shelf)) else {
            aside.put(&shelf.path(), "no shelf of tasks");
            continue;
        };
        let entries = match std::fs::read_dir(shelf.path()) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, shelf = name, "a shelf of tasks cannot be read; it is left out");
                continue;
            }
        };
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok());
            match id.filter(|id| id.as_str().starts_with(name) && is_folder(&entry)) {
                Some(id) => drop(tasks.insert(id.clone(), Arc::new(Entry::new(id, false, suspect)))),
                None => aside.put(&entry.path(), "no folder of a task"),
            }
        }
    }
    Ok(tasks)
}

fn is_folder(entry: &std::fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// An error is the disk's, not the folder's.
pub(crate) fn read_folder(dir: &Path) -> io::Result<Folder> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Folder::Missing),
        Err(error) => return Err(error),
        Ok(meta) if !meta.is_dir() => return Ok(Folder::Foreign("not a folder")),
        Ok(_) => {}
    }
    let record = dir.join("record");
    let (record_meta, content_meta) = match (place(&record)?, place(&dir.join("content"))?) {
        (Place::Other, _) | (_, Place::Other) => return Ok(Folder::Foreign("its record or content is no file")),
        (Place::Nothing, Place::Nothing) => return Ok(Folder::Empty),
        // Bytes landed, and the first line did not.
        (Place::Nothing, Place::File(_)) => return Ok(Folder::Foreign("its record is gone")),
        (Place::File(record), Place::Nothing) => (record, None),
        (Place::File(record), Place::File(content)) => (record, Some(content)),
    };
    let mut recovered = Recovered::read(&record)?;
    if recovered.meta.is_none() {
        let empty = recovered.trusted_bytes == 0 && !recovered.has_rest;
        return Ok(if empty { Folder::Empty } else { Folder::Foreign("its record makes no sense") });
    }
    if recovered.has_rest {
        tracing::info!(record = %record.display(), "the end of a record is torn, and not believed");
    }
    let content_bytes = content_meta.as_ref().map_or(0, Metadata::len);
    let cut = recovered.cut_to(content_bytes);
    if cut {
        tracing::warn!(record = %record.display(), content_bytes, "a content is shorter than its record says");
    }
    if recovered.piece_count() == 0 && !recovered.is_complete() {
        return Ok(if cut { Folder::Foreign("its content has lost its bytes") } else { Folder::Empty });
    }
    let changed_s = modified_s(&record_meta)?;
    // Into one that is not complete, bytes may have landed after its last mark.
    let content_s = content_meta.map(|content| modified_s(&content)).transpose()?;
    let altered = recovered.is_complete() && content_s.is_some_and(|content_s| content_s > changed_s);
    Ok(Folder::Sound { recovered, cut, altered, changed_s })
}

fn modified_s(meta: &Metadata) -> io::Result<u64> {
    Ok(meta.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn place(path: &Path) -> io::Result<Place> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => Ok(Place::File(meta)),
        Ok(_) => Ok(Place::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Nothing),
        Err(error) => Err(error),
    }
}
