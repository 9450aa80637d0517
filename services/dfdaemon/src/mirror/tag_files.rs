//! What public tags meant last, on disk: a node that starts while the registry is down still knows.
//!
//! **Invariant.** Only what anybody may know is here, and no credential.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use df_api::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tags::Key;

/// A folder with a file per tag; cheap to clone.
#[derive(Clone, Debug)]
pub struct TagFiles {
    dir: PathBuf,
}

/// With what it is about: a file alone says it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: Key,
    meaning: Meant,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    pub digest: Digest,
    pub content_type: String,
    pub length: u64,
}

/// What was not written in this time is forgotten at the next start.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// What is in use is written anew so often.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Of more than these the oldest go.
const FILES_MAX: usize = 20_000;

// === impl TagFiles ===

impl TagFiles {
    /// Makes the folder, and forgets what is old. What cannot be read or removed is left alone: it is only a memory.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let old = SystemTime::now().checked_sub(KEPT);
        for entry in std::fs::read_dir(&dir)?.flatten() {
            let written = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            if written < old {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Self { dir })
    }

    pub async fn read(&self, about: &Key) -> Option<Meant> {
        let (path, about) = (self.path(about), about.clone());
        let read = move || serde_json::from_slice::<File>(&std::fs::read(path).ok()?).ok();
        let file = tokio::task::spawn_blocking(read).await.ok().flatten()?;
        (file.about == about).then_some(file.meaning)
    }

    pub async fn write(&self, about: &Key, meaning: &Meant) {
        let (dir, path) = (self.dir.clone(), self.path(about));
        let file = File { about: about.clone(), meaning: meaning.clone() };
        let written = tokio::task::spawn_blocking(move || write(&dir, &path, &file, FILES_MAX)).await;
        if let Err(error) = written.map_err(io::Error::other).and_then(|written| written) {
            tracing::debug!(%error, "what a tag means is not kept");
        }
    }

    pub async fn remove(&self, about: &Key) {
        let path = self.path(about);
        // It may never have been written.
        let _ = tokio::fs::remove_file(path).await;
    }

    fn path(&self, about: &Key) -> PathBuf {
        let text = serde_json::to_vec(about).unwrap_or_default();
        self.dir.join(hex::encode(Sha256::digest(text)))
    }
}

/// Whole or not at all.
fn write(dir: &Path, path: &Path, file: &File, files_max: usize) -> io::Result<()> {
    if !path.exists() {
        make_room(dir, files_max)?;
    }
    let beside = path.with_extension(format!("{:x}", fastrand::u64(..)));
    std::fs::write(&beside, serde_json::to_vec(file)?)?;
    std::fs::rename(&beside, path)
}

/// Several go at once: looking at all of them takes a while.
fn make_room(dir: &Path, files_max: usize) -> io::Result<()> {
    let files: Vec<_> = std::fs::read_dir(dir)?.flatten().collect();
    if files.len() < files_max {
        return Ok(());
    }
    let written = |file: std::fs::DirEntry| (file.metadata().and_then(|file| file.modified()).ok(), file.path());
    let mut files: Vec<_> = files.into_iter().map(written).collect();
    files.sort_unstable();
    for (_, path) in files.into_iter().take(files_max / 16 + 1) {
        // Another may have removed it.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(tag: &str) -> Key {
        ("https://r".to_owned(), "a/b".to_owned(), tag.to_owned(), "*/*".to_owned())
    }

    fn meant() -> Meant {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        Meant { digest, content_type: "application/x".to_owned(), length: 7 }
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = TagFiles::open(folder.path().join("tags")).unwrap();
        files.write(&about("v1"), &meant()).await;
        assert_eq!(files.read(&about("v1")).await, Some(meant()));
        assert_eq!(files.read(&about("v2")).await, None);
        std::fs::copy(files.path(&about("v1")), files.path(&about("v2"))).unwrap();
        assert_eq!(files.read(&about("v2")).await, None, "it is about another");
        std::fs::write(files.path(&about("v1")), b"{").unwrap();
        assert_eq!(files.read(&about("v1")).await, None);
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let files = TagFiles::open(folder.path().to_owned()).unwrap();
        let put = |tag: &str, age_s: u64| {
            let path = files.path(&about(tag));
            write(&files.dir, &path, &File { about: about(tag), meaning: meant() }, 3).unwrap();
            let written = SystemTime::now() - Duration::from_secs(age_s);
            std::fs::File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
        };
        for (tag, age_s) in [("a", 200), ("b", 300), ("c", 100), ("d", 0), ("c", 100)] {
            put(tag, age_s);
        }
        for (tag, kept) in [("a", true), ("b", false), ("c", true), ("d", true)] {
            assert_eq!(files.read(&about(tag)).await.is_some(), kept, "{tag}");
        }
    }
}
