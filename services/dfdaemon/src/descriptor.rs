//! A file that a program of this node has open, by the number the program knows it by: so no path is ever looked up for
//! somebody else.
//!
//! **Invariant.** What is opened is an empty regular file that belongs to whoever asks: it could have written there itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use df_http::serve::Process;
use rustix::fs::{Mode, OFlags};

/// Users of other user namespaces all look like this one.
const NOBODY: u32 = 65_534;

#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    #[error("descriptor {0} is no empty file of the caller's own")]
    Unfit(u32),
    /// Another namespace of processes, or a daemon without the right to look there.
    #[error("descriptor {0} of the caller cannot be seen from here")]
    Unseen(u32, #[source] io::Error),
}

/// To write to it. Blocks for a moment.
pub fn open(caller: Process, descriptor: u32) -> Result<File, DescriptorError> {
    let unseen = |error: rustix::io::Errno| DescriptorError::Unseen(descriptor, error.into());
    let theirs = format!("/proc/{}/fd/{descriptor}", caller.pid);
    // Nothing is opened yet, only held: a device would notice.
    let held = rustix::fs::open(theirs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(unseen)?;
    let held = File::from(held);
    let found = held.metadata().map_err(|error| DescriptorError::Unseen(descriptor, error))?;
    let own = caller.uid != NOBODY && (caller.uid == 0 || found.uid() == caller.uid);
    if !found.is_file() || found.len() != 0 || !own {
        return Err(DescriptorError::Unfit(descriptor));
    }
    let ours = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    let file = rustix::fs::open(ours, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
    file.map(File::from).map_err(unseen)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn opened(file: &impl std::os::fd::AsRawFd, uid: u32) -> Result<File, DescriptorError> {
        open(Process { pid: std::process::id().cast_signed(), uid }, file.as_raw_fd().cast_unsigned())
    }

    #[test]
    fn an_empty_file_of_the_callers_own_is_opened_and_nothing_else() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        let uid = file.metadata().unwrap().uid();
        opened(&file, uid).unwrap().write_all(b"through it").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"through it");
        let unfit = |result: Result<File, _>| matches!(result, Err(DescriptorError::Unfit(_)));
        assert!(unfit(opened(&file, uid)), "not empty any more");
        let empty = File::create(dir.path().join("empty")).unwrap();
        assert!(unfit(opened(&empty, 12_345)), "somebody else's");
        assert!(unfit(opened(&empty, NOBODY)));
        assert!(unfit(opened(&File::open("/dev/null").unwrap(), uid)));
        assert!(unfit(opened(&File::open(dir.path()).unwrap(), uid)), "a folder");
        let number = empty.as_raw_fd().cast_unsigned();
        drop(empty);
        let gone = open(Process { pid: std::process::id().cast_signed(), uid }, number + 10_000);
        assert!(matches!(gone, Err(DescriptorError::Unseen(..))));
    }
}
