//! Settings that documents show are understood by the program they are for. Shell that documents show is run by
//! tests/readme.

use std::process::Command;

use regex::Regex;

use crate::documents::{code, documents};
use crate::files::{FILES, File, assert_none};

/// Blocks that open with ```` ```yaml PROGRAM ````: the program, the line they start in, and their text.
fn yaml_blocks(document: &File) -> Vec<(String, usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some((number, line)) = lines.next() {
        let Some(program) = line.trim().strip_prefix("```yaml ") else { continue };
        let text: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        blocks.push((program.to_owned(), number, text.join("\n")));
    }
    blocks
}

fn load(program: &str, yaml: Option<&str>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = yaml.map(|text| {
        let path = folder.path().join(format!("{program}.yaml"));
        std::fs::write(&path, text).unwrap();
        path
    });
    let path = path.as_deref();
    match program {
        "manager" => manager::Config::load(path).map(|_| ()).map_err(|error| format!("{error:#}")),
        "scheduler" => scheduler::Config::load(path).map(|_| ()).map_err(|error| error.to_string()),
        "dfdaemon" => {
            df_http::config::load::<dfdaemon::Config>("dfdaemon", path).map(|_| ()).map_err(|error| error.to_string())
        }
        other => Err(format!("there is no program {other}")),
    }
}

#[test]
fn every_configuration_in_a_document_is_understood() {
    let mut shown = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for (program, number, text) in yaml_blocks(document) {
            shown += 1;
            wrong.extend(load(&program, Some(&text)).err().map(|error| format!("{}: {error}", document.at(number))));
        }
    }
    assert_none("a block ```yaml PROGRAM is a configuration of PROGRAM", wrong);
    assert!(shown > 0, "no document shows a configuration");
}

/// An environment cannot be changed within a process, so this asks itself in one that has it.
#[test]
fn every_setting_of_the_environment_in_a_document_is_understood() {
    let setting = Regex::new(r"\b(DF_(?:DFDAEMON|MANAGER|SCHEDULER)__[A-Z0-9_]+)=([^\s`]+)").unwrap();
    let mut wrong = Vec::new();
    for document in documents() {
        for (number, text) in code(document) {
            for found in setting.captures_iter(text) {
                let mut child = Command::new(std::env::current_exe().unwrap());
                child.args(["--exact", "examples::the_environment_of_this_process_is_understood"]);
                let output = child.env(&found[1], &found[2]).output().unwrap();
                if !output.status.success() {
                    wrong.push(format!(
                        "{}: {}\n{}",
                        document.at(number),
                        &found[0],
                        String::from_utf8_lossy(&output.stdout)
                    ));
                }
            }
        }
    }
    assert_none("a program has the key", wrong);
}

#[test]
fn the_environment_of_this_process_is_understood() {
    for program in ["manager", "scheduler", "dfdaemon"] {
        assert_eq!(load(program, None), Ok(()));
    }
}

/// Blocks with a name: the tests with real clients read them out of the document.
#[test]
fn every_configuration_of_a_client_is_used_by_a_test() {
    let clients = documents().find(|file| file.path == "docs/clients.md").unwrap();
    let named: Vec<(usize, &str)> = clients
        .lines()
        .filter_map(|(number, line)| Some((number, line.trim().strip_prefix("```")?.split_once(' ')?)))
        // Settings of a program of ours are checked above.
        .filter_map(|(number, (language, name))| (language != "yaml").then_some((number, name)))
        .collect();
    assert!(!named.is_empty(), "docs/clients.md shows no configuration");
    let places = ["tests/e2e/", "services/dfdaemon/tests/", "services/dfget/tests/"];
    let is_test = |file: &&File| places.iter().any(|place| file.path.starts_with(place));
    let tests: Vec<&File> = FILES.iter().filter(is_test).collect();
    let used = |name: &str| tests.iter().any(|file| file.text.contains(&format!("\"{name}\"")));
    let unused = named.iter().filter(|(_, name)| !used(name));
    assert_none("a test uses the block", unused.map(|(number, name)| format!("{}: {name}", clients.at(*number))));
}

/// The snippets of README use the ports that nobody has to set.
#[test]
fn the_readme_names_the_ports_that_programs_choose() {
    let readme = documents().find(|file| file.path == "README.md").unwrap();
    let dfdaemon = dfdaemon::Config::default();
    let chosen = [
        ("manager", manager::Config::default().listen),
        ("scheduler", scheduler::Config::default().listen),
        ("dfdaemon's mirror", dfdaemon.proxy.listen),
        ("dfdaemon's pieces", dfdaemon.upload.listen),
    ];
    let absent = chosen.iter().filter(|(_, address)| !readme.text.contains(&address.to_string()));
    assert_none("README.md has the default address", absent.map(|(what, address)| format!("{what}: {address}")));
}
