//! What a cluster may look like: pure checks of name, scopes and limits before anything is written.
//! **Invariant:** a refusal names the field, the value and the rule.

use std::collections::HashSet;
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use df_api::manager::{
    Cluster, CreateClusterRequest, PeerClusterConfig, SchedulerClusterConfig, Scopes, SeedPeerClusterConfig,
};

use crate::check_rules::{check_block_list, check_weights};
use crate::match_clusters::compile_hostname;

const NAME_CHARS_MAX: usize = 40;
const BIO_CHARS_MAX: usize = 400;
const SCOPE_CHARS_MAX: usize = 100;
const LOCATION_ELEMENTS_MAX: usize = 5;
const CIDRS_MAX: usize = 1000;
const HOSTNAMES_MAX: usize = 30;
const HOSTNAME_CHARS_MAX: usize = 253;

/// Which field has which value, and what it should have been.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value}: {rule}")]
pub struct Refused {
    field: String,
    value: String,
    rule: String,
}

/// The parts of a cluster that people write.
struct Parts<'a> {
    name: &'a str,
    bio: &'a str,
    scopes: &'a Scopes,
    scheduler: &'a SchedulerClusterConfig,
    seed_peer: &'a SeedPeerClusterConfig,
    peer: &'a PeerClusterConfig,
}

pub fn check_new_cluster(new: &CreateClusterRequest) -> Result<(), Refused> {
    Parts {
        name: &new.name,
        bio: &new.bio,
        scopes: &new.scopes,
        scheduler: &new.scheduler_cluster_config,
        seed_peer: &new.seed_peer_cluster_config,
        peer: &new.peer_cluster_config,
    }
    .check()
}

pub fn check_cluster(cluster: &Cluster) -> Result<(), Refused> {
    Parts {
        name: &cluster.name,
        bio: &cluster.bio,
        scopes: &cluster.scopes,
        scheduler: &cluster.scheduler_cluster_config,
        seed_peer: &cluster.seed_peer_cluster_config,
        peer: &cluster.peer_cluster_config,
    }
    .check()
}

// === impl Refused ===

impl Refused {
    pub fn new(field: &str, value: impl Display, rule: String) -> Self {
        Self { field: field.to_owned(), value: value.to_string(), rule }
    }
}

// === impl Parts ===

impl Parts<'_> {
    fn check(&self) -> Result<(), Refused> {
        check_name(self.name)?;
        at_most("bio", self.bio, BIO_CHARS_MAX)?;
        check_scopes(self.scopes)?;
        let Self { scheduler, seed_peer, peer, .. } = self;
        within("scheduler_cluster_config.candidate_parent_limit", scheduler.candidate_parent_limit, 1..=20)?;
        within("scheduler_cluster_config.filter_parent_limit", scheduler.filter_parent_limit, 10..=1000)?;
        within("scheduler_cluster_config.job_rate_limit", scheduler.job_rate_limit, 1..=1_000_000)?;
        within("seed_peer_cluster_config.load_limit", seed_peer.load_limit, 1..=50_000)?;
        within("peer_cluster_config.load_limit", peer.load_limit, 1..=2000)?;
        check_weights("scheduler_cluster_config.weights", &scheduler.weights)?;
        check_block_list("seed_peer_cluster_config.block_list", &seed_peer.block_list)?;
        check_block_list("peer_cluster_config.block_list", &peer.block_list)
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let sane = |c: char| c.is_ascii_alphanumeric() || "@$!%*?&._-".contains(c);
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(sane);
    ensure(fits, "name", quoted(name), || format!("1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 @ $ ! % * ? & . _ -"))
}

pub fn check_scopes(scopes: &Scopes) -> Result<(), Refused> {
    at_most("scopes.idc", &scopes.idc, SCOPE_CHARS_MAX)?;
    check_location("scopes.location", &scopes.location)?;
    let Scopes { cidrs, hostnames, .. } = scopes;
    ensure(cidrs.len() <= CIDRS_MAX, "scopes.cidrs", format!("({})", cidrs.len()), || format!("at most {CIDRS_MAX}"))?;
    let mut seen = HashSet::new();
    for cidr in cidrs {
        ensure(seen.insert(cidr), "scopes.cidrs", cidr, || "is listed twice".to_owned())?;
    }
    ensure(hostnames.len() <= HOSTNAMES_MAX, "scopes.hostnames", format!("({})", hostnames.len()), || {
        format!("at most {HOSTNAMES_MAX}")
    })?;
    hostnames.iter().try_for_each(|pattern| check_hostname(pattern))
}

/// At most five elements: more would never be compared.
pub fn check_location(field: &'static str, location: &str) -> Result<(), Refused> {
    at_most(field, location, SCOPE_CHARS_MAX)?;
    ensure(location.split('|').count() <= LOCATION_ELEMENTS_MAX, field, quoted(location), || {
        format!("at most {LOCATION_ELEMENTS_MAX} elements separated by |")
    })
}

fn check_hostname(pattern: &str) -> Result<(), Refused> {
    let field = "scopes.hostnames";
    ensure(!pattern.trim().is_empty(), field, quoted(pattern), || {
        "an empty pattern would match every host; remove it".to_owned()
    })?;
    at_most(field, pattern, HOSTNAME_CHARS_MAX)?;
    check_pattern(field, pattern)
}

pub fn check_pattern(field: &str, pattern: &str) -> Result<(), Refused> {
    compile_hostname(pattern).map(drop).map_err(|error| {
        // The engine draws a picture over several lines; its last one says what is wrong.
        let said = error.to_string();
        let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Refused::new(field, quoted(pattern), format!("is not a regular expression: {last}"))
    })
}

pub fn at_most(field: &str, text: &str, max: usize) -> Result<(), Refused> {
    let chars = text.chars().count();
    ensure(chars <= max, field, quoted(text), || format!("at most {max} characters, this has {chars}"))
}

fn within(field: &str, value: u32, limits: RangeInclusive<u32>) -> Result<(), Refused> {
    ensure(limits.contains(&value), field, value, || format!("must be {} to {}", limits.start(), limits.end()))
}

pub fn ensure(fits: bool, field: &str, value: impl Display, rule: impl FnOnce() -> String) -> Result<(), Refused> {
    if fits { Ok(()) } else { Err(Refused::new(field, value, rule())) }
}

/// Long values are cut: the message is for reading.
pub fn quoted(value: &str) -> String {
    match value.char_indices().nth(60) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}…", &value[..end]),
    }
}

impl From<Refused> for df_http::ApiError {
    fn from(refused: Refused) -> Self {
        df_http::ApiError::unprocessable(refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> CreateClusterRequest {
        CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() }
    }

    fn refusal(change: impl FnOnce(&mut CreateClusterRequest)) -> String {
        let mut new = named("cluster-2");
        change(&mut new);
        check_new_cluster(&new).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_field_value_and_rule() {
        assert_eq!(refusal(|c| c.name = "a b".into()), r#"name "a b": 1 to 40 of A-Z a-z 0-9 @ $ ! % * ? & . _ -"#);
        assert_eq!(
            refusal(|c| c.peer_cluster_config.load_limit = 0),
            "peer_cluster_config.load_limit 0: must be 1 to 2000"
        );
        assert_eq!(
            refusal(|c| c.scopes.location = "a|b|c|d|e|f".into()),
            r#"scopes.location "a|b|c|d|e|f": at most 5 elements separated by |"#
        );
        let said = refusal(|c| c.scopes.hostnames = vec!["gpu-[".into()]);
        assert!(said.starts_with(r#"scopes.hostnames "gpu-[": is not a regular expression: unclosed"#), "{said}");
        let said = refusal(|c| c.scopes.cidrs = vec!["10.0.0.0/8".parse().unwrap(); 2]);
        assert_eq!(said, "scopes.cidrs 10.0.0.0/8: is listed twice");
        assert!(refusal(|c| c.bio = "x".repeat(401)).ends_with("at most 400 characters, this has 401"));
        assert!(refusal(|c| c.scopes.idc = "x".repeat(101)).starts_with("scopes.idc"));
        assert!(refusal(|c| c.scopes.hostnames = vec![String::new()]).contains("every host"));
    }

    #[test]
    fn the_defaults_and_every_allowed_character_fit() {
        assert_eq!(check_new_cluster(&named("cluster-1")), Ok(()));
        assert_eq!(check_new_cluster(&named("Az09@$!%*?&._-")), Ok(()));
        assert!(check_new_cluster(&named("")).is_err());
    }

    proptest! {
        #[test]
        fn a_name_that_passes_obeys_the_rule(name in ".{0,45}") {
            let fits = regex::Regex::new(r"^[A-Za-z0-9@$!%*?&._-]{1,40}$").unwrap().is_match(&name) && !name.ends_with('\n');
            prop_assert_eq!(check_new_cluster(&named(&name)).is_ok(), fits);
        }

        #[test]
        fn scopes_that_pass_compile_and_those_refused_say_where(
            idc in ".{0,120}", location in "[a-z|]{0,20}", hostname in ".{0,20}",
        ) {
            let scopes = Scopes { idc, location, hostnames: vec![hostname], cidrs: Vec::new() };
            match check_scopes(&scopes) {
                Ok(()) => prop_assert!(regex::Regex::new(&scopes.hostnames[0]).is_ok() && scopes.location.split('|').count() <= 5),
                Err(refused) => prop_assert!(refused.to_string().starts_with("scopes.")),
            }
        }
    }
}
