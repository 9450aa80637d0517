//! Paths of the API are registered with `routes!`, which writes them into the OpenAPI document as well.

use crate::files::{File, assert_none, rust_files};
use crate::tokens::methods;

/// Where a path is not part of a document, and why.
const UNDOCUMENTED: [(&str, &str); 3] = [
    ("services/df-http/src/base.rs", "health, metrics, and the document itself"),
    ("services/dfdaemon/src/mirror.rs", "/v2/… is OCI's"),
    ("services/manager/src/console.rs", "files, for every path that nothing else answers"),
];

#[test]
fn every_path_of_the_api_is_in_its_document() {
    let free = |file: &File| {
        file.is_test()
            || file.path.starts_with("services/df-testkit/")
            || UNDOCUMENTED.iter().any(|(path, _)| file.path == *path)
    };
    let raw = rust_files().filter(|file| !free(file)).flat_map(|file| {
        let calls = methods(file).into_iter().filter(|(_, name)| name == "route");
        calls.map(|(line, _)| file.at(line))
    });
    let places = UNDOCUMENTED.map(|(path, why)| format!("{path} ({why})")).join(", ");
    assert_none(&format!("`.route(` only in {places} and in tests; elsewhere `routes!`"), raw);
}

#[test]
fn the_documented_few_use_it() {
    let unused = UNDOCUMENTED.iter().filter(|(path, _)| {
        !rust_files().any(|file| file.path == *path && methods(file).iter().any(|(_, name)| name == "route"))
    });
    assert_none("the list names only files that need it", unused.map(|(path, _)| (*path).to_owned()));
}
