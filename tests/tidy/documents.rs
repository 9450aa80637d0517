//! What the documents tell people to type, open or call is there.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::files::{FILES, File, assert_none};

/// Recipes of the Justfile, and whether a comment stands above them.
static RECIPES: LazyLock<Vec<(String, bool)>> = LazyLock::new(|| {
    let justfile = FILES.iter().find(|file| file.path == "Justfile").unwrap();
    let head = Regex::new(r"^([a-z0-9]+)( [^:]*)?:($|[^=])").unwrap();
    let lines: Vec<&str> = justfile.text.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| Some((head.captures(pair[1])?[1].to_owned(), pair[0])));
    let public = pairs.filter(|(_, above)| *above != "[private]");
    public.map(|(name, above)| (name, above.starts_with("# "))).collect()
});

/// Code in a document: what stands in backticks, and whole lines of blocks, each with its line number.
pub(crate) fn code(document: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push((number, line));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| (number, span)));
        }
    }
    found
}

pub(crate) fn documents() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|file| file.extension() == "md")
}

/// Every match of `pattern`'s first group in the code of documents for which `wrong` says why.
fn wrong_in_code(pattern: &str, wrong: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut found = Vec::new();
    for document in documents() {
        for (number, text) in code(document) {
            let whys = pattern.captures_iter(text).filter_map(|one| wrong(&one[1]));
            found.extend(whys.map(|why| format!("{}: {why}", document.at(number))));
        }
    }
    found
}

#[test]
fn every_recipe_that_is_named_exists() {
    let recipes: BTreeSet<&str> = RECIPES.iter().map(|(name, _)| name.as_str()).collect();
    assert!(recipes.contains("test") && recipes.contains("demo"), "{recipes:?}");
    let unknown = |name: &str| (!recipes.contains(name)).then(|| format!("just {name}"));
    assert_none("the Justfile has the recipe", wrong_in_code(r"(?:^|&& |\$ )just ([a-z0-9]+)", unknown));
}

#[test]
fn every_recipe_has_a_line_in_the_list() {
    let bare = RECIPES.iter().filter(|(_, documented)| !documented).map(|(name, _)| format!("Justfile: {name}"));
    assert_none("a comment above the recipe says what it does", bare);
}

#[test]
fn every_path_that_is_named_exists() {
    let tops: BTreeSet<&str> = FILES.iter().filter_map(|file| file.path.split('/').next()).collect();
    let missing = |path: &str| {
        let path = path.trim_end_matches(['/', '.']);
        let ours = tops.contains(path.split('/').next().unwrap_or_default());
        (ours && !tests::root().join(path).exists()).then(|| format!("{path} is not there"))
    };
    // Not behind a slash or a letter: those are addresses, or parts of longer paths. Not before a `*` or `{`.
    let path = r"(?:^|[\s`(=])((?:\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*/)+[A-Za-z0-9_.-]*)(?:$|[\s`):,;])";
    let mut wrong = wrong_in_code(path, missing);
    let link = Regex::new(r"\]\(([^)#]+)\)").unwrap();
    for document in documents() {
        for (number, line) in document.lines() {
            let links = link.captures_iter(line).map(|found| found[1].to_owned()).filter(|to| !to.contains("://"));
            let dead = links.filter(|to| !tests::root().join(to).exists());
            wrong.extend(dead.map(|to| format!("{}: {to} is not there", document.at(number))));
        }
    }
    assert_none("a document names files by their path from the root", wrong);
}

/// `/v1/tasks/{task_id}` is that of any `/v1/tasks/…`.
#[test]
fn every_operation_that_is_named_is_in_a_document() {
    let committed = FILES.iter().filter(|file| file.path.starts_with("openapi/"));
    let templates: Vec<String> = committed
        .flat_map(|file| {
            let document: Value = serde_json::from_str(&file.text).unwrap();
            document["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        })
        .collect();
    let known = |path: &str| {
        templates.iter().any(|template| {
            let (one, other) = (path.split('/'), template.split('/'));
            one.clone().count() == other.clone().count() && one.zip(other).all(|(a, b)| a == b || b.starts_with('{'))
        })
    };
    let unknown = |path: &str| (!known(path)).then(|| format!("no operation at {path}"));
    assert_none("openapi/*.json has the path", wrong_in_code(r"(/(?:api/|oapi/)?v1/[A-Za-z0-9_{}/-]+)", unknown));
}

#[test]
fn every_variable_that_is_named_is_read_somewhere() {
    let readers: Vec<&File> = FILES.iter().filter(|file| file.extension() != "md" && !file.is_generated()).collect();
    // Those with two underscores inside are keys of a configuration: see examples.rs.
    let unread = |name: &str| {
        let key = name.trim_start_matches("DF_").contains("__");
        (!key && !readers.iter().any(|file| file.text.contains(name))).then(|| format!("nothing reads {name}"))
    };
    let name = r"\b((?:DF|DFGET|DRAGONFLY|DEMO|E2E|CONSOLE|UPDATE|OTEL)_[A-Z0-9_]+)\b";
    assert_none("a program or script reads the variable", wrong_in_code(name, unread));
}
