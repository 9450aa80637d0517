//! What a cluster's rules say of one download: whether it may be, who may give it, and how it ranks.
//!
//! Pure; patterns are compiled when the rules come, and judged when a peer's wish is new: never in a decision.
//!
//! **Invariant.** A refusal names the rule. Who asks cannot lift what a rule of the cluster forbids.

use std::collections::HashMap;

use df_api::rules::{ApplicationRule, BlockList, Blocked, Priority};
use df_api::task::Origin;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// A pattern that compiles to more is refused, as the manager does.
const REGEX_BYTES_MAX: usize = 256 * 1024;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Rules {
    /// Tells these rules from earlier ones.
    pub version: u64,
    /// What they are compiled of.
    set: RuleSet,
    seeds: Kind,
    peers: Kind,
    applications: HashMap<String, Ranks>,
}

/// As people have written them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleSet {
    pub seeds: BlockList,
    pub peers: BlockList,
    pub applications: Vec<ApplicationRule>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u64,
    set: RuleSet,
}

/// Of one kind of host.
#[derive(Clone, Debug, Default)]
struct Kind {
    download: Matcher,
    upload: Matcher,
}

#[derive(Clone, Debug, Default)]
struct Matcher {
    listed: Blocked,
    urls: Vec<Regex>,
}

/// Of one application.
#[derive(Clone, Debug)]
struct Ranks {
    otherwise: Priority,
    urls: Vec<(Regex, Priority)>,
}

/// What of the rules concerns one peer of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    pub version: u64,
    pub priority: Priority,
    /// Seeds, or peers, do not give it to this asker.
    pub seeds_give_nothing: bool,
    pub peers_give_nothing: bool,
    /// No seed may be sent to fetch it.
    pub seeds_fetch_nothing: bool,
}

/// Why a download may not be, for who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("this cluster blocks it: {kind}_cluster_config.block_list.task.download.{list} has {entry:?}")]
    Blocked { kind: &'static str, list: &'static str, entry: String },
    #[error("this cluster forbids it: application {0:?} has priority 1 for it")]
    Application(String),
    #[error("whoever asks has given it priority 1, which is: not to be downloaded")]
    Asked,
}

#[derive(Debug, thiserror::Error)]
#[error("{place} has a pattern that cannot be used: {error}")]
pub struct InvalidPattern {
    place: String,
    error: regex::Error,
}

/// Where an entry stands, and the entry.
type Hit = (&'static str, String);

// === impl Rules ===

impl Rules {
    pub fn compile(set: RuleSet, version: u64) -> Result<Self, InvalidPattern> {
        let ranks = set.applications.iter().map(|rule| Ok((rule.name.clone(), Ranks::compile(rule)?)));
        Ok(Self {
            version,
            seeds: Kind::compile("seed_peer_cluster_config.block_list", &set.seeds)?,
            peers: Kind::compile("peer_cluster_config.block_list", &set.peers)?,
            applications: ranks.collect::<Result<_, _>>()?,
            set,
        })
    }

    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    pub fn is_empty(&self) -> bool {
        let Self { seeds, peers, applications, .. } = self;
        let kinds = [seeds, peers].into_iter().flat_map(|kind| [&kind.download, &kind.upload]);
        applications.is_empty() && kinds.into_iter().all(|matcher| matcher.listed.is_empty())
    }

    /// A download by a host of a kind.
    pub fn judge(&self, wish: &Origin, seed: bool) -> Result<Admission, Forbidden> {
        let ranked = self.rank(wish);
        if ranked == Priority::FORBIDDEN {
            return Err(Forbidden::Application(wish.application.clone().unwrap_or_default()));
        }
        if wish.priority == Priority::FORBIDDEN {
            return Err(Forbidden::Asked);
        }
        let priority = if wish.priority.is_usual() { ranked } else { wish.priority };
        let (kind, own) = if seed { ("seed_peer", &self.seeds) } else { ("peer", &self.peers) };
        if let Some((list, entry)) = own.download.find(wish, priority) {
            return Err(Forbidden::Blocked { kind, list, entry });
        }
        Ok(Admission {
            version: self.version,
            priority,
            seeds_give_nothing: self.seeds.upload.find(wish, priority).is_some(),
            peers_give_nothing: self.peers.upload.find(wish, priority).is_some(),
            seeds_fetch_nothing: self.seeds.download.find(wish, priority).is_some(),
        })
    }

    /// As the cluster ranks it.
    fn rank(&self, wish: &Origin) -> Priority {
        let Some(ranks) = wish.application.as_ref().and_then(|name| self.applications.get(name)) else {
            return Priority::default();
        };
        let by_url = ranks.urls.iter().find(|(pattern, _)| pattern.is_match(&wish.url));
        by_url.map_or(ranks.otherwise, |(_, priority)| *priority)
    }
}

impl TryFrom<Written> for Rules {
    type Error = InvalidPattern;

    fn try_from(written: Written) -> Result<Self, InvalidPattern> {
        Self::compile(written.set, written.version)
    }
}

impl From<Rules> for Written {
    fn from(Rules { version, set, .. }: Rules) -> Self {
        Self { version, set }
    }
}

// === impl Kind ===

impl Kind {
    fn compile(place: &str, list: &BlockList) -> Result<Self, InvalidPattern> {
        let of = |name: &str, listed: &Blocked| {
            let urls = listed.urls.iter().map(|pattern| compile(pattern, || format!("{place}.task.{name}.urls")));
            Ok(Matcher { urls: urls.collect::<Result<_, _>>()?, listed: listed.clone() })
        };
        Ok(Self { download: of("download", &list.task.download)?, upload: of("upload", &list.task.upload)? })
    }
}

// === impl Matcher ===

impl Matcher {
    /// The URL as it is asked for: what the asker says means nothing in it may be what is blocked.
    fn find(&self, wish: &Origin, priority: Priority) -> Option<Hit> {
        if self.listed.is_empty() {
            return None;
        }
        let Blocked { applications, tags, priorities, .. } = &self.listed;
        let named = |name: &Option<String>, list: &[String]| name.clone().filter(|name| list.contains(name));
        let application = named(&wish.application, applications).map(|name| ("applications", name));
        let tag = || named(&wish.tag, tags).map(|name| ("tags", name));
        let ranked = || priorities.contains(&priority).then(|| ("priorities", priority.to_string()));
        let url = || self.urls.iter().find(|pattern| pattern.is_match(&wish.url));
        application.or_else(tag).or_else(ranked).or_else(|| url().map(|pattern| ("urls", pattern.as_str().to_owned())))
    }
}

// === impl Ranks ===

impl Ranks {
    fn compile(rule: &ApplicationRule) -> Result<Self, InvalidPattern> {
        let urls = rule.priority.urls.iter().map(|url| {
            let place = || format!("applications {:?}: priority.urls", rule.name);
            Ok((compile(&url.regex, place)?, url.value))
        });
        Ok(Self { otherwise: rule.priority.value, urls: urls.collect::<Result<_, _>>()? })
    }
}

/// Bounded in size and, being this engine, in time.
fn compile(pattern: &str, place: impl Fn() -> String) -> Result<Regex, InvalidPattern> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| InvalidPattern { place: place(), error })
}

#[cfg(test)]
mod tests {
    use df_api::rules::{ApplicationPriority, TaskBlockList, UrlPriority};

    use super::*;

    fn priority(level: u8) -> Priority {
        level.try_into().unwrap()
    }

    fn text(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    fn wish(url: &str, application: &str, tag: &str) -> Origin {
        let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Origin { application: name(application), tag: name(tag), ..Origin::new(url) }
    }

    fn list(download: Blocked, upload: Blocked) -> BlockList {
        BlockList { task: TaskBlockList { download, upload } }
    }

    #[test]
    fn each_list_blocks_by_itself_and_is_named() {
        let download = Blocked {
            applications: text("miner"),
            urls: text(r"^https://[^/]*\.example/private/"),
            tags: text("t1"),
            priorities: vec![priority(6)],
        };
        let rules =
            Rules::compile(RuleSet { peers: list(download, Blocked::default()), ..RuleSet::default() }, 1).unwrap();
        let urgent = Origin { priority: priority(6), ..wish("https://a", "", "") };
        for (wish, list, entry) in [
            (wish("https://a", "miner", ""), "applications", "miner"),
            (wish("https://r.example/private/x", "", ""), "urls", r"^https://[^/]*\.example/private/"),
            (wish("https://a", "", "t1"), "tags", "t1"),
            (urgent, "priorities", "6"),
        ] {
            let blocked = Forbidden::Blocked { kind: "peer", list, entry: entry.to_owned() };
            assert_eq!(rules.judge(&wish, false), Err(blocked), "{wish:?}");
            assert!(rules.judge(&wish, true).is_ok(), "seeds have a list of their own");
        }
        let said = rules.judge(&wish("https://a", "miner", ""), false).unwrap_err().to_string();
        assert_eq!(
            said,
            r#"this cluster blocks it: peer_cluster_config.block_list.task.download.applications has "miner""#
        );
        assert_eq!(
            rules.judge(&wish("https://b", "other", "t2"), false),
            Ok(Admission { version: 1, ..Default::default() })
        );
    }

    #[test]
    fn what_is_filtered_out_of_the_identity_is_looked_at() {
        let download = Blocked { urls: text("team=a"), ..Blocked::default() };
        let rules =
            Rules::compile(RuleSet { peers: list(download, Blocked::default()), ..RuleSet::default() }, 1).unwrap();
        let filtered_query_params = text("team");
        assert!(rules.judge(&Origin { filtered_query_params, ..wish("https://a?team=a", "", "") }, false).is_err());
    }

    #[test]
    fn a_blocked_upload_is_no_refusal() {
        let upload = Blocked { tags: text("t"), ..Blocked::default() };
        let both = list(Blocked { tags: text("t2"), ..Blocked::default() }, upload);
        let rules = Rules::compile(RuleSet { seeds: both, ..RuleSet::default() }, 1).unwrap();
        let of = |tag: &str| rules.judge(&wish("https://a", "", tag), false).unwrap();
        assert!(of("t").seeds_give_nothing && !of("t").peers_give_nothing && !of("t").seeds_fetch_nothing);
        assert!(of("t2").seeds_fetch_nothing && !of("t2").seeds_give_nothing);
    }

    #[test]
    fn an_application_ranks_its_urls_and_nobody_lifts_what_is_forbidden() {
        let urls = vec![
            UrlPriority { regex: "/models/".to_owned(), value: priority(3) },
            UrlPriority { regex: "/secret/".to_owned(), value: Priority::FORBIDDEN },
        ];
        let app = ApplicationRule {
            name: "app".to_owned(),
            priority: ApplicationPriority { value: Priority::CACHED_ONLY, urls },
        };
        let rules = Rules::compile(RuleSet { applications: vec![app], ..RuleSet::default() }, 1).unwrap();
        let of = |wish: &Origin| rules.judge(wish, false).map(|admission| u8::from(admission.priority));
        assert_eq!(of(&wish("https://a/models/x", "app", "")), Ok(3));
        assert_eq!(of(&wish("https://a/x", "app", "")), Ok(2));
        assert_eq!(of(&wish("https://a/secret/x", "other", "")), Ok(0));
        let asks = |level| Origin { priority: priority(level), ..wish("https://a/secret/x", "app", "") };
        assert_eq!(of(&asks(5)), Err(Forbidden::Application("app".to_owned())));
        assert_eq!(
            of(&Origin { priority: priority(5), ..wish("https://a/x", "app", "") }),
            Ok(5),
            "its own goes first"
        );
        assert_eq!(of(&Origin { priority: Priority::FORBIDDEN, ..wish("https://a", "", "") }), Err(Forbidden::Asked));
    }

    #[test]
    fn a_pattern_that_cannot_be_is_named_with_its_list() {
        let broken = list(Blocked::default(), Blocked { urls: text("["), ..Blocked::default() });
        let said = Rules::compile(RuleSet { seeds: broken, ..RuleSet::default() }, 1).unwrap_err().to_string();
        assert!(said.starts_with("seed_peer_cluster_config.block_list.task.upload.urls has a pattern"), "{said}");
    }
}
