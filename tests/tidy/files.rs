//! The files of the repository, and how a rule says where it is broken.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// A text file.
pub(crate) struct File {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What git has, or would take with `git add .`.
pub(crate) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    // In a container the checkout often belongs to somebody else, which git takes amiss.
    let list = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(tests::root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| {
        // Deleted and not yet committed, or no text.
        let text = std::fs::read_to_string(tests::root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> = names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect();
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "git lists no Cargo.toml");
    files
});

pub(crate) fn rust_files() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|file| file.extension() == "rs")
}

/// Fails when a rule is broken, with every place.
pub(crate) fn assert_none(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n{}\nrule: {rule}\n", broken.join("\n"));
}

// === impl File ===

impl File {
    pub(crate) fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// Written by a program: nobody reads it line by line.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.ends_with(".lock") || self.path.ends_with("package-lock.json") || self.path.starts_with("openapi/")
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// `path:line`, as editors and terminals understand it.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// Every line with its number, from one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}
