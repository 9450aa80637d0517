//! A folder is a crate, a file is a noun or a verb. A name that says nothing collects everything.

use std::path::Path;

use crate::files::{FILES, assert_none, rust_files};
use crate::tokens::items;

const EMPTY_NAMES: [&str; 9] = ["util", "utils", "utilities", "common", "helper", "helpers", "misc", "core", "shared"];

#[test]
fn no_file_or_folder_has_an_empty_name() {
    let named = FILES.iter().filter_map(|file| {
        let path = Path::new(&file.path);
        let folders = path.parent().into_iter().flat_map(Path::iter).filter_map(|name| name.to_str());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let bad = folders.chain(stem).find(|name| EMPTY_NAMES.contains(name))?;
        Some(format!("{}: {bad}", file.at(1)))
    });
    assert_none("a file is called after what it holds or does", named);
}

#[test]
fn no_module_has_an_empty_name() {
    let named = rust_files().flat_map(|file| {
        let modules = items(file, "mod").into_iter();
        modules
            .filter(|(_, name)| EMPTY_NAMES.contains(&name.as_str()))
            .map(|(line, name)| format!("{}: {name}", file.at(line)))
    });
    assert_none("a module is called after what it holds or does", named);
}

#[test]
fn a_module_is_a_file_of_its_name() {
    let files = rust_files().filter(|file| file.path.ends_with("/mod.rs")).map(|file| file.at(1));
    assert_none("`x.rs` beside `x/`, not `x/mod.rs`", files);
}
