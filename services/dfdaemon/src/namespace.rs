//! Which registry a request means, and the path it has there: pure.
//!
//! Runtimes say it in different ways: containerd by `ns`, the installer by a header, containers/image and crane only by
//! the path, Docker by being Docker (it knows no mirrors but Docker Hub's).

use http::Uri;
use http::header::{HeaderMap, USER_AGENT};

/// A registry as the caller names it, and what it wants there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// A host, `host:port` or URL. `None`: the configured default.
    pub registry: Option<String>,
    /// What follows `/v2/` at the registry; empty for its base.
    pub path: String,
    /// The first part of the caller's path that is no part of the registry's, as the caller wrote it.
    pub prefix: Option<String>,
}

const REGISTRY_HEADER: &str = "x-dragonfly-registry";
const DOCKER_HUB: &str = "docker.io";

/// `ns`, else `X-Dragonfly-Registry`, else a host before or behind `/v2/`, else Docker Hub for Docker, else the default.
/// `is_known` tells which names without a dot are hosts. `None`: this is no path of the distribution API.
pub fn locate(uri: &Uri, headers: &HeaderMap, is_known: impl Fn(&str) -> bool) -> Option<Located> {
    let (before, path) = split_at_version(uri.path())?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let before_host = before.map(|prefix| (prefix, host_of(prefix, &is_known)));
    let named = namespace(uri).or_else(|| text(REGISTRY_HEADER).map(str::to_owned));
    if let Some(registry) = named {
        // hosts.toml with `override_path` puts the registry into the path besides. Otherwise a host there is a part of the
        // repository's name, as a caching registry has it.
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let twice = before.is_none() && host_of(first, &is_known).is_some_and(|host| is_host_of(&host, &registry));
        let (prefix, path) = if twice { (Some(first), rest) } else { (before, path) };
        return Some(Located { registry: Some(registry), path: path.to_owned(), prefix: prefix.map(str::to_owned) });
    }
    if let Some((prefix, host)) = before_host {
        return Some(Located { registry: Some(host?), path: path.to_owned(), prefix: Some(prefix.to_owned()) });
    }
    if let Some((first, rest)) = path.split_once('/')
        && !is_operation(rest)
        && let Some(host) = host_of(first, &is_known)
    {
        return Some(Located { registry: Some(host), path: rest.to_owned(), prefix: Some(first.to_owned()) });
    }
    let docker = text(USER_AGENT.as_str()).is_some_and(|agent| agent.starts_with("docker/"));
    Some(Located { registry: docker.then(|| DOCKER_HUB.to_owned()), path: path.to_owned(), prefix: None })
}

/// The `ns` query parameter: the registry as the image's name has it.
pub fn namespace(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ns").map(|(_, value)| value.into_owned())
}

/// `/v2/…` or `/prefix/v2/…`.
fn split_at_version(path: &str) -> Option<(Option<&str>, &str)> {
    let path = path.strip_prefix('/')?;
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if first == "v2" {
        return Some((None, rest));
    }
    let rest = rest.strip_prefix("v2")?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
    Some((Some(first), rest))
}

/// `manifests/v1` behind the first name: that name is the whole repository.
fn is_operation(rest: &str) -> bool {
    ["manifests/", "blobs/", "referrers/"]
        .iter()
        .any(|operation| rest.strip_prefix(operation).is_some_and(|reference| !reference.contains('/')))
        || rest == "tags/list"
}

/// The host that a part of a path names. A colon cannot be in a repository's name: `reg.lan_5000` is `reg.lan:5000`.
fn host_of(part: &str, is_known: impl Fn(&str) -> bool) -> Option<String> {
    let host = match part.rsplit_once('_') {
        Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}:{port}"),
        _ => part.to_owned(),
    };
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    (is_domain(name) || name.parse::<std::net::Ipv4Addr>().is_ok() || is_known(&host)).then_some(host)
}

/// Labels with a dot between them, the last of which no version number has: `ghcr.io`, not `app.v1` or `1.2`.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = name.rsplit_once('.').map(|(_, top)| top);
    top.is_some_and(|top| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic())) && name.split('.').all(label)
}

/// Whether `host` is the host of a registry named in one of its ways.
fn is_host_of(host: &str, registry: &str) -> bool {
    let bare = registry.split_once("://").map_or(registry, |(_, rest)| rest).trim_end_matches('/');
    host.eq_ignore_ascii_case(bare)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTAINERD: &str = "containerd/1.6.20~ds1";

    fn located(target: &str, agent: &str) -> Option<(Option<String>, String)> {
        let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]);
        let uri = target.parse().unwrap();
        locate(&uri, &headers, |host| host == "localhost:5000").map(|located| (located.registry, located.path))
    }

    fn at(registry: &str, path: &str) -> Option<(Option<String>, String)> {
        Some((Some(registry.to_owned()), path.to_owned()))
    }

    #[test]
    fn every_client_has_its_way_of_naming_the_registry() {
        let app = "org/app/manifests/v1";
        for target in [
            "/v2/org/app/manifests/v1?ns=ghcr.io",
            "/v2/ghcr.io/org/app/manifests/v1?ns=ghcr.io",
            "/mirror/v2/org/app/manifests/v1?ns=ghcr.io",
            "/ghcr.io/v2/org/app/manifests/v1",
            "/v2/ghcr.io/org/app/manifests/v1",
        ] {
            assert_eq!(located(target, CONTAINERD), at("ghcr.io", app), "{target}");
        }
        assert_eq!(located("/v2/reg.lan_5000/app/tags/list", CONTAINERD), at("reg.lan:5000", "app/tags/list"));
        assert_eq!(located("/v2/localhost_5000/a/blobs/x", CONTAINERD), at("localhost:5000", "a/blobs/x"));
        assert_eq!(located("/v2/10.0.0.7_5000/a/blobs/x", CONTAINERD), at("10.0.0.7:5000", "a/blobs/x"));
        assert_eq!(
            located("/v2/library/nginx/manifests/1", "docker/20.10.24 go/go1"),
            at("docker.io", "library/nginx/manifests/1")
        );
        assert_eq!(located("/v2/", "docker/20.10.24 go/go1"), at("docker.io", ""));
        assert_eq!(located("/ghcr.io/v2/", "skopeo"), at("ghcr.io", ""));
    }

    #[test]
    fn what_only_looks_like_a_host_is_a_repository() {
        for path in
            ["app.v1/x/manifests/v1", "ghcr.io/manifests/v1", "a/ghcr.io/blobs/x", "1.2/x/tags/list", "", "_catalog"]
        {
            assert_eq!(located(&format!("/v2/{path}"), "skopeo"), Some((None, path.to_owned())), "{path}");
        }
        // A registry that caches others has their names in its repositories.
        let cached = located("/v2/ghcr.io/org/app/manifests/v1?ns=harbor.lan", CONTAINERD);
        assert_eq!(cached, at("harbor.lan", "ghcr.io/org/app/manifests/v1"));
        let cached = located("/v2/harbor.lan/ghcr.io/app/manifests/v1", "skopeo");
        assert_eq!(cached, at("harbor.lan", "ghcr.io/app/manifests/v1"));
    }

    #[test]
    fn a_path_without_the_version_is_none_of_ours() {
        for target in ["/", "/v1/tasks", "/nothost/v2/a/manifests/x", "/a/b/v2/x", "/ghcr.io/v2x/a"] {
            assert_eq!(located(target, CONTAINERD), None, "{target}");
        }
    }

    #[test]
    fn the_header_names_it_where_the_query_does_not() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(REGISTRY_HEADER),
            "https://quay.io".parse().unwrap(),
        )]);
        let registry = |target: &str| locate(&target.parse().unwrap(), &headers, |_| false).unwrap().registry.unwrap();
        assert_eq!(registry("/v2/a/b/manifests/x"), "https://quay.io");
        assert_eq!(registry("/v2/a/b/manifests/x?ns=ghcr.io"), "ghcr.io");
        let twice = locate(&"/v2/quay.io/a/b/manifests/x".parse().unwrap(), &headers, |_| false).unwrap();
        assert_eq!((twice.path.as_str(), twice.prefix.as_deref()), ("a/b/manifests/x", Some("quay.io")));
    }

    proptest! {
        #[test]
        fn nothing_of_the_path_is_lost(path in "/(v2|x|ghcr.io|v2x)?(/[a-z0-9._-]{0,9}){0,6}", ns in proptest::option::of("[a-z.:0-9]{0,12}")) {
            let target = ns.map_or(path.clone(), |ns| format!("{path}?ns={ns}"));
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            if let Some(located) = locate(&uri, &HeaderMap::new(), |_| false) {
                prop_assert!(path.ends_with(&located.path));
            }
        }
    }
}
