//! Says where the console's files are. The path has no `..` in it, or rust-embed's check that a file lies in the folder
//! would refuse all of them in a debug build that was made before the console.
//! **Invariant:** the manager builds without the console; release builds look again each time, debug builds when serving.

use std::path::{Path, PathBuf};

fn main() {
    let manager = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let root = manager.ancestors().nth(2).unwrap_or(Path::new("/"));
    let dist = root.join("web-console/dist");
    println!("cargo::rustc-env=DF_CONSOLE_DIST={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed={}", dist.display());
    }
}
