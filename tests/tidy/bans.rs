//! What deny.toml forbids is not in the programs.

use std::collections::BTreeMap;

use regex::Regex;

use crate::files::assert_none;
use crate::manifests::cargo;

/// Crate → what to do instead.
fn bans() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(tests::root().join("deny.toml")).unwrap();
    let line = Regex::new(r#"\{ crate = "([^"]+)", reason = "([^"]+)" \}"#).unwrap();
    let bans: BTreeMap<String, String> =
        line.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert_eq!(
        bans.len(),
        text.matches("crate = ").count(),
        "deny.toml: a ban is `{{ crate = …, reason = … }}` on one line"
    );
    bans
}

#[test]
fn no_banned_crate_is_in_a_program() {
    let bans = bans();
    let target = "x86_64-unknown-linux-gnu";
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--locked",
        "-e",
        "normal,build",
        "--target",
        target,
        "--prefix",
        "none",
        "-f",
        "{p}",
    ]);
    let names: BTreeMap<&str, &str> = tree.lines().filter_map(|line| Some((line.split(' ').next()?, line))).collect();
    assert!(names.contains_key("tokio"), "cargo tree shows no tokio: {tree}");
    let found = names.iter().filter_map(|(name, line)| Some(format!("{line}: {}", bans.get(*name)?)));
    assert_none("deny.toml; `cargo tree -i CRATE` says who brings it in", found);
}
