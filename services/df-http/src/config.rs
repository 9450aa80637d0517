//! YAML, then environment, then types: unknown keys are errors that name the key, and every key has an environment name.
//!
//! `scheduler.manager.seedPeer.clusterID` of dfdaemon is `DF_DFDAEMON__SCHEDULER__MANAGER__SEED_PEER__CLUSTER_ID`:
//! levels joined by two underscores, words by one. Values of the environment are read as YAML.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{place} is not YAML: {error}")]
    Syntax { place: String, error: String },
    #[error("in {place}, key {key:?}: {error}")]
    Key { place: String, key: String, error: String },
}

/// Reads `path` (all defaults when `None`) and lays the process's environment over it.
pub fn load<T: DeserializeOwned>(program: &str, path: Option<&Path>) -> Result<T, ConfigError> {
    let (place, text) = match path {
        None => ("the environment".to_owned(), String::new()),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
            (path.display().to_string(), text)
        }
    };
    parse(program, &place, &text, std::env::vars())
}

/// `place` is what errors call `text`.
pub fn parse<T: DeserializeOwned>(
    program: &str,
    place: &str,
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut tree = yaml(place, text)?;
    if tree.is_null() {
        tree = Value::Object(Map::new());
    }
    let prefix = format!("DF_{}__", program.to_uppercase().replace('-', "_"));
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(&prefix) {
            let value = yaml(&name, &value).unwrap_or(Value::String(value));
            overlay(&mut tree, path, value);
        }
    }
    serde_path_to_error::deserialize(tree).map_err(|error| ConfigError::Key {
        place: place.to_owned(),
        key: error.path().to_string(),
        error: error.inner().to_string(),
    })
}

fn yaml(place: &str, text: &str) -> Result<Value, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text)
        .map_err(|error| ConfigError::Syntax { place: place.to_owned(), error: error.to_string() })
}

/// `SEED_PEER__CLUSTER_ID` → `seedPeer.clusterId`, or the spelling that is there already.
fn overlay(tree: &mut Value, path: &str, value: Value) {
    let (head, rest) = path.split_once("__").map_or((path, None), |(head, rest)| (head, Some(rest)));
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    let Value::Object(object) = tree else { return };
    let plain = head.replace('_', "").to_lowercase();
    let present = object.keys().find(|key| key.to_lowercase() == plain).cloned();
    let slot = object.entry(present.unwrap_or_else(|| camel_case(head))).or_insert(Value::Null);
    match rest {
        None => *slot = value,
        Some(rest) => overlay(slot, rest, value),
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_').map(str::to_lowercase);
    let first = words.next().unwrap_or_default();
    words.fold(first, |mut key, word| {
        let mut letters = word.chars();
        key.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        key.push_str(letters.as_str());
        key
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Config {
        verbose: bool,
        seed_peer: SeedPeer,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct SeedPeer {
        #[serde(rename = "clusterID", alias = "clusterId")]
        cluster_id: i64,
        idc: String,
    }

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse("dfdaemon", "dfdaemon.yaml", text, environment)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = read(
            "verbose: false\nseedPeer: {clusterID: 1, idc: a}",
            &[
                ("DF_DFDAEMON__SEED_PEER__CLUSTER_ID", "2"),
                ("DF_DFDAEMON__VERBOSE", "true"),
                ("DF_MANAGER__VERBOSE", "nonsense"),
            ],
        );
        let seed_peer = SeedPeer { cluster_id: 2, idc: "a".to_owned() };
        assert_eq!(config.unwrap(), Config { verbose: true, seed_peer });
    }

    #[test]
    fn nothing_at_all_is_the_default() {
        assert_eq!(read("", &[]).unwrap(), Config::default());
        assert_eq!(read("", &[("DF_DFDAEMON__SEED_PEER__CLUSTER_ID", "7")]).unwrap().seed_peer.cluster_id, 7);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_path() {
        let error = read("seedPeer: {clusterIdd: 1}", &[]).unwrap_err().to_string();
        assert!(
            error.contains("seedPeer") && error.contains("clusterIdd") && error.contains("dfdaemon.yaml"),
            "{error}"
        );
        let error = read("", &[("DF_DFDAEMON__SEED_PIER__X", "1")]).unwrap_err().to_string();
        assert!(error.contains("seedPier"), "{error}");
    }
}
