//! Whether what the records say reached the disk: a file that tells in which boot of the machine the store was written
//! last, and whether it was ended cleanly.
//!
//! **Invariant.** `clean` is on disk only while nothing is written after it: it is taken back before the first write.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::content::{create_anew, open_plain};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BootState {
    boot_id: String,
    clean: bool,
}

const FILE: &str = "state";
const NEW_FILE: &str = "state.new";
const BYTES_MAX: u64 = 4096;

/// Marks are believed after a clean stop, and within one boot: the page cache survives a process, not a power loss.
pub(crate) fn is_believed(dir: &Path) -> bool {
    read(dir).is_some_and(|state| state.clean || current().is_some_and(|current| current == state.boot_id))
}

/// On disk when this returns.
pub(crate) fn save(dir: &Path, clean: bool) -> io::Result<()> {
    // A machine that does not tell its boot can be believed only after a clean stop.
    let state = BootState { boot_id: current().unwrap_or_default(), clean };
    let new = dir.join(NEW_FILE);
    let mut file = create_anew(&new)?;
    file.write_all(&serde_json::to_vec(&state)?)?;
    file.sync_all()?;
    std::fs::rename(new, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

fn read(dir: &Path) -> Option<BootState> {
    let mut text = Vec::new();
    let file = open_plain(&dir.join(FILE), File::options().read(true)).ok()?;
    file.take(BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn current() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_boot_is_believed_only_after_a_clean_stop() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_believed(dir.path()));
        save(dir.path(), false).unwrap();
        assert!(is_believed(dir.path()), "the same boot");
        let write = |text: &str| std::fs::write(dir.path().join(FILE), text).unwrap();
        write(r#"{"boot_id":"another","clean":true}"#);
        assert!(is_believed(dir.path()));
        write(r#"{"boot_id":"another","clean":false}"#);
        assert!(!is_believed(dir.path()));
        write("rubbish");
        assert!(!is_believed(dir.path()));
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/random/boot_id", dir.path().join(FILE)).unwrap();
        assert!(!is_believed(dir.path()));
    }
}
