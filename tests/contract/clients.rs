//! df-client has a method for every operation, by its name, method and path; and none for what is no operation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;

use crate::document::{Operation, documents};

/// A file, and those in the folder beside it.
fn sources(program: &str) -> Vec<PathBuf> {
    let folder = tests::root().join("services/df-client/src");
    let parts = std::fs::read_dir(folder.join(program)).into_iter().flatten();
    let parts = parts.map(|part| part.unwrap().path());
    parts.chain([folder.join(format!("{program}.rs"))]).collect()
}

/// How a client calls: `GET /v1/tasks/{}/content`.
fn calls(program: &str) -> BTreeMap<String, String> {
    let source: String = sources(program).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let name = Regex::new(r"pub async fn ([a-z_]+)").unwrap();
    let mut bounds: Vec<usize> = name.find_iter(&source).map(|found| found.start()).collect();
    bounds.push(source.len());
    let bodies = bounds.windows(2).map(|bound| &source[bound[0]..bound[1]]);
    bodies.map(|body| (name.captures(body).unwrap()[1].to_owned(), call(body))).collect()
}

/// What a method does: its `Method::…`, or `GET` where it says `.get(`; and the first string that is a path.
fn call(body: &str) -> String {
    let method = Regex::new(r"Method::([A-Z]+)").unwrap();
    let path = Regex::new(r#""(/[^"]*)""#).unwrap();
    let method = method.captures(body).map_or("GET", |found| found.get(1).unwrap().as_str());
    let path = path.captures(body).map_or("", |found| found.get(1).unwrap().as_str());
    format!("{method} {}", without_names(path))
}

/// Parameters are called differently on both sides.
fn without_names(path: &str) -> String {
    Regex::new(r"\{[^}]*\}").unwrap().replace_all(path, "{}").into_owned()
}

/// Under `/oapi/v1` are operations of `/api/v1` once more, for scripts that look for them there; and who is sent elsewhere
/// is a browser.
fn is_for_others(operation: &Operation) -> bool {
    operation.path.starts_with("/oapi/") || operation.value["responses"].get("302").is_some()
}

#[test]
fn every_operation_has_its_client_method_and_every_method_its_operation() {
    for document in documents() {
        let calls = calls(document.program);
        let operations = document.operations().into_iter().filter(|one| !is_for_others(one));
        let wanted: BTreeMap<String, String> = operations
            .map(|one| (one.id().to_owned(), format!("{} {}", one.method, without_names(&one.path))))
            .collect();
        let client = format!("services/df-client/src/{}.rs", document.program);
        let missing: Vec<_> = wanted.keys().filter(|id| !calls.contains_key(*id)).collect();
        assert!(missing.is_empty(), "{client} has no method for {missing:?}");
        let foreign: Vec<_> = calls.keys().filter(|name| !wanted.contains_key(*name)).collect();
        assert!(foreign.is_empty(), "{client} has methods that are no operation: {foreign:?}");
        assert_eq!(calls, wanted, "{client} calls something else than the document says");
    }
}
