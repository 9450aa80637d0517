//! What does not belong into the store, or is broken, is moved to `aside/`, for somebody to look at; bounded in number
//! and size, the oldest goes first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(crate) struct Aside {
    dir: PathBuf,
    moved: AtomicU64,
}

const ENTRIES_MAX: usize = 64;
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A folder with more in it counts as too large.
const FILES_COUNTED: usize = 10_000;
const NAME_CHARS_MAX: usize = 140;

// === impl Aside ===

impl Aside {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, moved: AtomicU64::new(0) }
    }

    /// Whatever it is: a file, a folder, a link. `why` goes to the log.
    pub fn put(&self, path: &Path, why: &str) {
        match self.try_put(path) {
            Ok(to) => tracing::warn!(what = %path.display(), why, to = %to.display(), "set aside"),
            Err(error) => tracing::warn!(what = %path.display(), why, %error, "left where it is, and out of use"),
        }
    }

    fn try_put(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(&self.dir)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // Names sort by age.
        let number = self.moved.fetch_add(1, Ordering::Relaxed);
        let to = self.dir.join(format!("{at_ms:015}-{number:06}-{name}"));
        std::fs::rename(path, &to)?;
        self.trim()?;
        Ok(to)
    }

    fn trim(&self) -> io::Result<()> {
        let mut kept: Vec<PathBuf> =
            std::fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        kept.sort_unstable();
        let mut bytes = 0u64;
        for (newer, path) in kept.iter().rev().enumerate() {
            bytes = bytes.saturating_add(size(path));
            if newer >= ENTRIES_MAX || bytes > BYTES_MAX {
                remove(path)?;
            }
        }
        Ok(())
    }
}

/// Of a file, or of all in a folder; links are not followed.
fn size(path: &Path) -> u64 {
    let (mut bytes, mut files) = (0u64, 0);
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        files += 1;
        if files > FILES_COUNTED {
            return u64::MAX;
        }
        let Ok(meta) = path.symlink_metadata() else { continue };
        match std::fs::read_dir(&path).ok().filter(|_| meta.is_dir()) {
            Some(entries) => open.extend(entries.take(FILES_COUNTED).filter_map(|entry| Some(entry.ok()?.path()))),
            None => bytes = bytes.saturating_add(meta.len()),
        }
    }
    bytes
}

/// Whatever it is.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let aside = Aside::new(dir.path().join("aside"));
        for number in 0..ENTRIES_MAX + 6 {
            let path = dir.path().join(format!("foreign-{number}"));
            std::fs::write(&path, "x").unwrap();
            aside.put(&path, "a test");
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path().join("aside"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names.len(), ENTRIES_MAX);
        assert!(names[0].ends_with("foreign-6"), "{names:?}");

        let large = dir.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(BYTES_MAX + 1).unwrap();
        aside.put(&large, "a test");
        assert_eq!(std::fs::read_dir(dir.path().join("aside")).unwrap().count(), 0);
    }
}
