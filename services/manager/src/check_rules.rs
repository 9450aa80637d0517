//! What may be ruled about downloads: pure checks of weights, block lists and applications.
//! **Invariant:** what passes compiles at the scheduler, which bounds its patterns alike.

use std::time::Duration;

use df_api::manager::{Application, Config, CreateApplicationRequest, CreateConfigRequest};
use df_api::rules::{ApplicationPriority, BlockList, Blocked, InvalidWeights, LIST_ENTRIES_MAX, Weights};

use crate::check_cluster::{Refused, at_most, check_pattern, ensure, quoted};
use crate::db::configs::{GC, Kept};

/// Of a pattern, a tag or an application; a tag may be so long in a request.
const ENTRY_CHARS_MAX: usize = 1024;
const BIO_CHARS_MAX: usize = 400;
const CONFIG_NAME_CHARS_MAX: usize = 100;
/// So that nobody erases with a setting what cannot be erased otherwise.
const AUDITS_KEPT_MIN: Duration = Duration::from_secs(24 * 3600);
const CONFIG_VALUE_CHARS_MAX: usize = 1024;

pub fn check_weights(field: &str, weights: &Weights) -> Result<(), Refused> {
    weights.check().map_err(|invalid| match invalid {
        InvalidWeights::Value { field: part, value } => {
            Refused::new(&format!("{field}.{part}"), value, "must be a finite number, 0 or more".to_owned())
        }
        InvalidWeights::Nothing => Refused::new(field, "(all 0)", "one must count".to_owned()),
    })
}

pub fn check_block_list(field: &str, list: &BlockList) -> Result<(), Refused> {
    check_blocked(&format!("{field}.task.download"), &list.task.download)?;
    check_blocked(&format!("{field}.task.upload"), &list.task.upload)
}

pub fn check_new_application(new: &CreateApplicationRequest) -> Result<(), Refused> {
    check_parts([&new.name, &new.url, &new.bio], &new.priority)
}

pub fn check_application(application: &Application) -> Result<(), Refused> {
    check_parts([&application.name, &application.url, &application.bio], &application.priority)
}

pub fn check_new_config(new: &CreateConfigRequest) -> Result<(), Refused> {
    check_config_parts(&new.name, &new.value, &new.bio)
}

pub fn check_config(config: &Config) -> Result<(), Refused> {
    check_config_parts(&config.name, &config.value, &config.bio)
}

fn check_config_parts(name: &str, value: &str, bio: &str) -> Result<(), Refused> {
    ensure(!name.trim().is_empty(), "name", quoted(name), || "say what it is".to_owned())?;
    at_most("name", name, CONFIG_NAME_CHARS_MAX)?;
    ensure(!value.is_empty(), "value", "\"\"", || "say what it is; delete the config to have none".to_owned())?;
    at_most("value", value, CONFIG_VALUE_CHARS_MAX)?;
    at_most("bio", bio, BIO_CHARS_MAX)?;
    ensure(
        name != GC || Kept::parse(value).is_ok_and(|kept| kept.audits >= AUDITS_KEPT_MIN),
        "value",
        quoted(value),
        || r#"of gc: {"audit":{"ttl":NANOSECONDS},"job":{"ttl":NANOSECONDS}}, audits at least a day"#.to_owned(),
    )
}

fn check_parts([name, url, bio]: [&str; 3], priority: &ApplicationPriority) -> Result<(), Refused> {
    ensure(!name.trim().is_empty(), "name", quoted(name), || "say what requests call it".to_owned())?;
    at_most("name", name, ENTRY_CHARS_MAX)?;
    at_most("url", url, ENTRY_CHARS_MAX)?;
    at_most("bio", bio, BIO_CHARS_MAX)?;
    let (field, urls) = ("priority.urls", &priority.urls);
    at_most_entries(field, urls.len())?;
    for rule in urls {
        ensure(!rule.regex.is_empty(), field, "\"\"", || "an empty one would fit everything; set value".to_owned())?;
        at_most(field, &rule.regex, ENTRY_CHARS_MAX)?;
        check_pattern(field, &rule.regex)?;
    }
    Ok(())
}

fn check_blocked(field: &str, blocked: &Blocked) -> Result<(), Refused> {
    let Blocked { applications, urls, tags, priorities } = blocked;
    at_most_entries(&format!("{field}.priorities"), priorities.len())?;
    for (name, entries) in [("applications", applications), ("urls", urls), ("tags", tags)] {
        let field = format!("{field}.{name}");
        at_most_entries(&field, entries.len())?;
        for entry in entries {
            let empty = "an empty one would block everything, or nothing; remove it";
            ensure(!entry.trim().is_empty(), &field, quoted(entry), || empty.to_owned())?;
            at_most(&field, entry, ENTRY_CHARS_MAX)?;
        }
    }
    urls.iter().try_for_each(|pattern| check_pattern(&format!("{field}.urls"), pattern))
}

fn at_most_entries(field: &str, entries: usize) -> Result<(), Refused> {
    ensure(entries <= LIST_ENTRIES_MAX, field, format!("({entries})"), || format!("at most {LIST_ENTRIES_MAX}"))
}

#[cfg(test)]
mod tests {
    use df_api::rules::TaskBlockList;

    use super::*;

    fn refusal(download: Blocked) -> String {
        let list = BlockList { task: TaskBlockList { download, upload: Blocked::default() } };
        check_block_list("peer_cluster_config.block_list", &list).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_list_and_the_entry() {
        let urls = |pattern: &str| Blocked { urls: vec![pattern.to_owned()], ..Blocked::default() };
        let said = refusal(urls("https://["));
        let field = "peer_cluster_config.block_list.task.download";
        assert!(said.starts_with(&format!("{field}.urls \"https://[\": is not a regular expression")), "{said}");
        assert!(refusal(urls(" ")).contains("block everything"));
        assert!(refusal(urls(&"x".repeat(1025))).ends_with("at most 1024 characters, this has 1025"));
        let tags = Blocked { tags: vec!["t".to_owned(); 101], ..Blocked::default() };
        assert_eq!(refusal(tags), format!("{field}.tags (101): at most 100"));
        assert_eq!(check_block_list("x", &BlockList::default()), Ok(()));
    }

    #[test]
    fn weights_are_refused_by_name() {
        let said = |weights: Weights| check_weights("w", &weights).unwrap_err().to_string();
        assert_eq!(said(Weights { idc: -1.0, ..Weights::default() }), "w.idc -1: must be a finite number, 0 or more");
        let nothing = Weights { load: 0.0, idc: 0.0, location: 0.0, host_type: 0.0 };
        assert_eq!(said(nothing), "w (all 0): one must count");
        assert_eq!(check_weights("w", &Weights::default()), Ok(()));
    }
}
