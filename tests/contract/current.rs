//! The documents in `openapi/` are those the programs serve. `UPDATE_OPENAPI=1` (`just openapi`) writes them instead.

use crate::document::{Document, documents};

#[test]
fn the_committed_documents_are_what_the_programs_serve() {
    let update = std::env::var_os("UPDATE_OPENAPI").is_some_and(|value| !value.is_empty());
    let differences: Vec<String> = documents().iter().filter_map(|document| difference(document, update)).collect();
    assert!(differences.is_empty(), "\n{}\nrun `just openapi` and commit what it wrote", differences.join("\n"));
}

fn difference(document: &Document, update: bool) -> Option<String> {
    let path = document.path();
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed == document.text {
        return None;
    }
    if update {
        std::fs::write(&path, &document.text).unwrap();
        println!("wrote {}", path.display());
        return None;
    }
    let (number, committed, served) = first_difference(&committed, &document.text);
    Some(format!("openapi/{}.json:{number}: has {committed:?}, the program has {served:?}", document.program))
}

/// The first line that differs, counted from one; past the end of a text, its lines are empty.
fn first_difference<'a>(one: &'a str, other: &'a str) -> (usize, &'a str, &'a str) {
    let end = || std::iter::repeat("");
    let pairs = one.lines().chain(end()).zip(other.lines().chain(end()));
    let longest = 1 + one.lines().count().max(other.lines().count());
    let mut numbered = (1..=longest).zip(pairs).map(|(number, (one, other))| (number, one, other));
    numbered.find(|(_, one, other)| one != other).unwrap_or((longest, "", ""))
}

#[test]
fn a_difference_is_named_by_its_first_line() {
    assert_eq!(first_difference("a\nb\nc", "a\nx\nc"), (2, "b", "x"));
    assert_eq!(first_difference("a", "a\nb"), (2, "", "b"));
    assert_eq!(first_difference("", "a"), (1, "", "a"));
}
