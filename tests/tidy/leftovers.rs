//! Nothing unfinished, nothing silenced without a reason, no address of a package registry.

use crate::files::{FILES, assert_none, rust_files};
use crate::tokens::{attributes, macros};

const UNFINISHED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

#[test]
fn nothing_is_left_unfinished() {
    let calls = rust_files().flat_map(|file| {
        let calls = macros(file).into_iter().filter(|(_, name)| UNFINISHED_MACROS.contains(&name.as_str()));
        calls.map(|(line, name)| format!("{}: {name}!", file.at(line)))
    });
    // Written apart, or this file would find itself.
    let mark = ["FIX", "ME"].concat();
    let marks = FILES.iter().flat_map(|file| {
        file.lines().filter(|(_, line)| line.contains(&mark)).map(|(line, _)| format!("{}: {mark}", file.at(line)))
    });
    assert_none("what is not finished is an issue, not a line of code", calls.chain(marks));
}

#[test]
fn no_test_is_ignored() {
    let ignored = rust_files().flat_map(|file| {
        let attributes = attributes(file).into_iter().map(|(line, tokens)| (line, tokens.to_string()));
        attributes.filter(|(_, text)| text.split([' ', '=']).next() == Some("ignore")).map(|(line, _)| file.at(line))
    });
    assert_none("a test that cannot run says why with df_testkit::skip, and fails in CI", ignored);
}

#[test]
fn a_lint_is_silenced_only_with_a_reason() {
    let silenced = rust_files().flat_map(|file| {
        let attributes = attributes(file).into_iter().map(|(line, tokens)| (line, tokens.to_string()));
        let mute = |text: &str| text.contains("allow (") || text.contains("allow(") || text.starts_with("expect");
        attributes
            .filter(move |(_, text)| mute(text) && !text.contains("reason"))
            .map(|(line, text)| format!("{}: {text}", file.at(line)))
    });
    assert_none("`#[expect(lint, reason = \"…\")]`", silenced);
}

/// Which registry serves a package is the business of the machine's configuration.
#[test]
fn no_package_registry_is_named() {
    let hosts = [
        ["crates", "io"],
        ["npmjs", "org"],
        ["npmjs", "com"],
        ["yarnpkg", "com"],
        ["pypi", "org"],
        ["pythonhosted", "org"],
        ["rubygems", "org"],
        ["proxy.golang", "org"],
        ["sum.golang", "org"],
    ];
    let hosts = hosts.map(|parts| parts.join("."));
    // Cargo's lock file calls its registry by this name wherever the packages come from.
    let named = FILES.iter().filter(|file| file.extension() != "lock").flat_map(|file| {
        let lines = file.lines().filter(|(_, line)| hosts.iter().any(|host| line.contains(host.as_str())));
        lines.map(|(line, text)| format!("{}: {}", file.at(line), text.trim()))
    });
    assert_none("no file names the host of a package registry", named);
}
