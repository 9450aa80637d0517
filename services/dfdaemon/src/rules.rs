//! Rules: which URL goes through the peers, which straight to its server, and which to another one. Pure, and the same for
//! the registry mirror and the forward proxy.

use std::sync::Arc;

use http::Method;
use regex::Regex;
use serde::{Deserialize, Serialize};
use url::Url;

/// One of `proxy.rules`. The first whose expression matches counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RuleConfig {
    /// Looked for in the URL without its query, such as `^https://host:8443/path`; of a request to the registry mirror, in
    /// the URL at the registry (Docker Hub's is `https://registry-1.docker.io/v2/…`). Required.
    pub regex: String,
    /// Ask its server by https although the URL says http. Default: false.
    #[serde(rename = "useTLS", alias = "useTls")]
    pub use_tls: bool,
    /// Ask this `host` or `host:port` instead. Default: the URL's own.
    pub redirect: Option<String>,
    /// Names of query parameters that say nothing about the content, and are no part of the task's identity; signatures
    /// of the well-known stores never are. A blob by digest has no such identity. Default: none.
    pub filtered_query_params: Vec<String>,
    /// Never through the peers, whatever the request wishes. Default: false.
    pub direct: bool,
}

/// [`RuleConfig`]s, compiled; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules(Arc<[Rule]>);

#[derive(Clone, Debug)]
struct Rule {
    regex: Regex,
    use_tls: bool,
    redirect: Option<(String, Option<u16>)>,
    filtered_query_params: Vec<String>,
    direct: bool,
}

/// Where a request goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What to ask, after the rule's `useTLS` and `redirect`.
    pub url: Url,
    pub via: Via,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Peers { filtered_query_params: Vec<String> },
    Direct,
}

/// Where a request goes that matches no rule and wishes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// The registry mirror is there for it.
    Peers,
    Direct,
}

#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("proxy.rules[{index}]: regex {regex:?} is not a regular expression")]
    Regex { index: usize, regex: String, source: Box<regex::Error> },
    #[error("proxy.rules[{index}]: regex is missing; .* matches every URL")]
    Missing { index: usize },
    #[error("proxy.rules[{index}]: redirect {redirect:?} is not host or host:port")]
    Redirect { index: usize, redirect: String },
}

/// As the incumbent's: blobs of registries, by digest.
pub fn default_rules() -> Vec<RuleConfig> {
    vec![RuleConfig { regex: "/blobs/sha256:".to_owned(), ..RuleConfig::default() }]
}

// === impl Rules ===

impl Rules {
    pub fn new(configs: &[RuleConfig]) -> Result<Self, RuleError> {
        configs.iter().enumerate().map(|(index, config)| Rule::new(index, config)).collect::<Result<_, _>>().map(Self)
    }

    /// `use_peers` is what the request itself wishes (`X-Dragonfly-Use-P2P`): it decides where no rule says `direct`.
    /// Contents are what a GET answers; no other method goes through the peers.
    pub fn decide(&self, method: &Method, url: &Url, use_peers: Option<bool>, unmatched: Unmatched) -> Route {
        let mut bare = url.clone();
        bare.set_query(None);
        bare.set_fragment(None);
        let rule = self.0.iter().find(|rule| rule.regex.is_match(bare.as_str()));
        let direct = rule.is_some_and(|rule| rule.direct) || *method != Method::GET;
        let via = match !direct && use_peers.unwrap_or(rule.is_some() || unmatched == Unmatched::Peers) {
            true => {
                let filtered = rule.map(|rule| rule.filtered_query_params.clone());
                Via::Peers { filtered_query_params: filtered.unwrap_or_default() }
            }
            false => Via::Direct,
        };
        Route { url: rule.map_or_else(|| url.clone(), |rule| rule.rewrite(url)), via }
    }
}

// === impl Rule ===

impl Rule {
    fn new(index: usize, config: &RuleConfig) -> Result<Self, RuleError> {
        let text = config.regex.clone();
        if text.is_empty() {
            return Err(RuleError::Missing { index });
        }
        let regex =
            Regex::new(&text).map_err(|source| RuleError::Regex { index, regex: text, source: Box::new(source) })?;
        let redirect = config.redirect.as_deref().map(|to| {
            let wrong = || RuleError::Redirect { index, redirect: to.to_owned() };
            redirect(to).ok_or_else(wrong)
        });
        let RuleConfig { use_tls, direct, .. } = *config;
        let filtered_query_params = config.filtered_query_params.clone();
        Ok(Self { regex, use_tls, redirect: redirect.transpose()?, filtered_query_params, direct })
    }

    fn rewrite(&self, url: &Url) -> Url {
        let mut url = url.clone();
        if let Some((host, port)) = &self.redirect {
            // Both were checked when the rule was read.
            let _ = url.set_host(Some(host));
            let _ = url.set_port(*port);
        }
        if self.use_tls {
            let _ = url.set_scheme("https");
        }
        url
    }
}

fn redirect(text: &str) -> Option<(String, Option<u16>)> {
    let plain = !text.is_empty() && !text.contains(['/', '?', '#', '@', '\\']);
    // A scheme without a port of its own, so that none is taken for the default.
    let url = Url::parse(&format!("http://{text}/")).ok().filter(|_| plain)?;
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some((url.host_str()?.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(configs: serde_json::Value) -> Rules {
        Rules::new(&serde_json::from_value::<Vec<RuleConfig>>(configs).unwrap()).unwrap()
    }

    fn get(rules: &Rules, url: &str, use_peers: Option<bool>) -> Route {
        rules.decide(&Method::GET, &url.parse().unwrap(), use_peers, Unmatched::Direct)
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = rules(serde_json::json!([
            { "regex": "^http://a\\.example/private/", "direct": true },
            { "regex": "^http://a\\.example/", "filteredQueryParams": ["token"] },
            { "regex": "mirror", "redirect": "b.example:8443", "useTLS": true },
        ]));
        let peers =
            |names: &[&str]| Via::Peers { filtered_query_params: names.iter().map(|&n| n.to_owned()).collect() };
        assert_eq!(get(&rules, "http://a.example/x?y=1", None).via, peers(&["token"]));
        assert_eq!(get(&rules, "http://a.example/private/x", Some(true)).via, Via::Direct);
        assert_eq!(get(&rules, "http://other.example/x", None).via, Via::Direct);
        assert_eq!(
            get(&rules, "http://other.example/?a.example=mirror", None).via,
            Via::Direct,
            "the query is not looked at"
        );
        assert_eq!(get(&rules, "http://other.example/x", Some(true)).via, peers(&[]));
        assert_eq!(get(&rules, "http://a.example/x", Some(false)).via, Via::Direct);
        let moved = get(&rules, "http://c.example:81/mirror/x?y=1", None);
        assert_eq!((moved.url.as_str(), moved.via), ("https://b.example:8443/mirror/x?y=1", peers(&[])));
        let posted =
            rules.decide(&Method::POST, &"http://c.example/mirror".parse().unwrap(), Some(true), Unmatched::Peers);
        assert_eq!((posted.url.as_str(), posted.via), ("https://b.example:8443/mirror", Via::Direct));
    }

    #[test]
    fn blobs_by_digest_go_through_the_peers_by_default() {
        let rules = Rules::new(&default_rules()).unwrap();
        let is_direct = |url| get(&rules, url, None).via == Via::Direct;
        assert!(!is_direct("https://r.example/v2/a/b/blobs/sha256:82cbeb56"));
        assert!(is_direct("https://r.example/v2/a/b/manifests/v1") && is_direct("https://r.example/x"));
    }

    #[test]
    fn what_no_rule_matches_goes_through_the_peers_only_where_that_is_usual() {
        let rules = rules(serde_json::json!([{ "regex": "/private/", "direct": true }]));
        let via =
            |url: &str, use_peers| rules.decide(&Method::GET, &url.parse().unwrap(), use_peers, Unmatched::Peers).via;
        assert_eq!(via("https://r.example/v2/a/tags/list", None), Via::Peers { filtered_query_params: vec![] });
        assert_eq!(via("https://r.example/v2/a/tags/list", Some(false)), Via::Direct);
        assert_eq!(via("https://r.example/v2/private/tags/list", Some(true)), Via::Direct);
    }

    #[test]
    fn a_wrong_rule_is_named() {
        let error = |config: RuleConfig| {
            Rules::new(&[RuleConfig { regex: ".*".to_owned(), ..RuleConfig::default() }, config])
                .unwrap_err()
                .to_string()
        };
        let wrong = error(RuleConfig { regex: "(".to_owned(), ..RuleConfig::default() });
        assert!(wrong.contains("proxy.rules[1]") && wrong.contains("\"(\""), "{wrong}");
        assert!(error(RuleConfig::default()).contains("proxy.rules[1]: regex is missing"));
        for redirect in ["", "http://b", "b/c", "u@b", "b:x"] {
            let redirect = Some(redirect.to_owned());
            assert!(
                error(RuleConfig { regex: ".".to_owned(), redirect, ..RuleConfig::default() }).contains("redirect")
            );
        }
    }

    proptest! {
        #[test]
        fn a_rule_changes_scheme_and_host_and_nothing_else(path in "/[a-z/]{0,10}", query in "[a-z=&]{0,10}", tls: bool, port in proptest::option::of(1..65535u16)) {
            let redirect = port.map_or("b.example".to_owned(), |port| format!("b.example:{port}"));
            let config = RuleConfig { regex: ".".to_owned(), use_tls: tls, redirect: Some(redirect), ..RuleConfig::default() };
            let url: Url = format!("http://a.example:81{path}?{query}").parse().unwrap();
            let route = Rules::new(&[config]).unwrap().decide(&Method::GET, &url, None, Unmatched::Direct);
            prop_assert_eq!((route.url.path(), route.url.query()), (url.path(), url.query()));
            prop_assert_eq!(route.url.host_str(), Some("b.example"));
            prop_assert_eq!(route.url.scheme(), if tls { "https" } else { "http" });
            let default = if tls { 443 } else { 80 };
            prop_assert_eq!(route.url.port_or_known_default(), Some(port.unwrap_or(default)));
        }
    }
}
