//! The crates: one table of versions, one set of lints, and one direction of dependencies.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::files::{FILES, assert_none};

/// A crate sees only crates of the rows above its own: so programs never see each other, and the store sees no HTTP.
const ROWS: [&[&str]; 7] = [
    &["df-api"],
    &["df-socket"],
    &["df-client", "df-http", "df-store", "df-testkit"],
    &["df-peer"],
    &["manager", "scheduler", "dfdaemon", "dfget"],
    &["standalone"],
    &["tests", "fuzz"],
];

/// Fakes and images for tests: in programs only of those who make an image for the demo.
const TESTKIT: &str = "df-testkit";
const TESTKIT_USERS: [&str; 2] = ["standalone", "tests"];

/// What the console shares with the servers.
const CONSOLE_SEES: [&str; 2] = ["df-api", "df-client"];

struct Dependency {
    from: String,
    to: String,
    dev: bool,
}

/// Those between crates of this repository.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--manifest-path", manifest]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let all = packages.iter().flat_map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap();
        dependencies.iter().filter(|one| one["path"].is_string()).map(|one| Dependency {
            from: package["name"].as_str().unwrap().to_owned(),
            to: one["name"].as_str().unwrap().to_owned(),
            dev: one["kind"] == "dev",
        })
    });
    all.collect()
}

pub(crate) fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from);
    let output = Command::new(program).args(arguments).current_dir(tests::root()).output().unwrap();
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn row(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&name))
}

#[test]
fn crates_see_only_what_lies_above_them() {
    let wrong =
        dependencies("Cargo.toml").into_iter().filter(|one| !(one.dev && one.to == TESTKIT)).filter_map(|one| {
            let (Some(from), Some(to)) = (row(&one.from), row(&one.to)) else {
                return Some(format!("{} or {} is in no row of tests/tidy/manifests.rs", one.from, one.to));
            };
            (from <= to).then(|| format!("services/{}/Cargo.toml: depends on {}", one.from, one.to))
        });
    assert_none("df-api ← df-socket ← df-client, df-http, df-store ← df-peer ← programs ← standalone", wrong);
}

#[test]
fn fakes_are_for_tests_and_the_demo() {
    let wrong = dependencies("Cargo.toml").into_iter().filter(|one| one.to == TESTKIT && !one.dev);
    let wrong = wrong.filter(|one| !TESTKIT_USERS.contains(&one.from.as_str())).map(|one| one.from);
    assert_none("df-testkit only under [dev-dependencies], except in standalone and tests", wrong);
}

#[test]
fn the_console_sees_the_wire_and_the_client() {
    let wrong = dependencies("web-console/Cargo.toml").into_iter();
    let wrong =
        wrong.filter(|one| !CONSOLE_SEES.contains(&one.to.as_str())).map(|one| format!("{} → {}", one.from, one.to));
    assert_none("web-console depends on df-api and df-client only", wrong);
}

#[test]
fn every_crate_takes_lints_and_versions_from_its_workspace() {
    let manifests = FILES.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let mut wrong = Vec::new();
    for file in manifests {
        if !file.text.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{}: no [lints] workspace = true", file.at(1)));
        }
        // The console's two crates have nothing in common to share versions of.
        if file.path.starts_with("web-console/") {
            continue;
        }
        let mut in_dependencies = false;
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                wrong.push(format!("{}: {line}", file.at(number)));
            }
        }
    }
    assert_none("lints and dependencies come from the workspace", wrong);
}

/// By name: a crate that only switches a feature on is named in a comment of the code that needs it.
#[test]
fn every_dependency_is_used() {
    let manifests =
        FILES.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("web-console/"));
    let mut wrong = Vec::new();
    for file in manifests {
        let folder = file.path.trim_end_matches("Cargo.toml");
        let names = |crate_name: &str| {
            let mut sources = FILES.iter().filter(|one| one.path.starts_with(folder) && one.extension() == "rs");
            sources.any(|source| source.text.contains(&crate_name.replace('-', "_")))
        };
        let mut in_dependencies = false;
        for (number, line) in file.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && !name.is_empty() && !line.starts_with('#') && !names(name) {
                wrong.push(format!("{}: {name} is not used", file.at(number)));
            }
        }
    }
    assert_none("no dependency that nobody uses", wrong);
}
