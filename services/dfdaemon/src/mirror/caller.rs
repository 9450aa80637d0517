//! Who asks for what: method, target, credentials, and the upstream it is meant for.

use std::time::Duration;

use axum::extract::Request;
use df_api::range::Requested;
use df_api::rules::Priority;
use df_api::task::Origin;
use df_http::serve::Sendfile;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, RANGE, USER_AGENT};
use http::{Method, Uri};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::Mirror;
use super::access::Kind;
use super::refusal::Refusal;
use crate::namespace::Located;
use crate::rules::{Route, Unmatched};
use crate::wishes::Wishes;

/// One request of a runtime.
pub struct Caller {
    pub method: Method,
    pub headers: HeaderMap,
    /// The same resource at the upstream, without `ns`.
    pub url: Url,
    pub range: Requested,
    /// The first byte must be there by then, whatever has to be asked before.
    pub deadline: Instant,
    /// Its connection lets the kernel send files.
    pub sendfile: bool,
    pub wishes: Wishes,
}

/// Clients send a tenth of it.
pub const ACCEPT_BYTES_MAX: usize = 4096;

/// What is asked for, at the upstream where the rules have it asked, and how.
pub fn route(mirror: &Mirror, uri: &Uri, located: &Located, use_peers: Option<bool>) -> Result<Route, Refusal> {
    let (upstream, refused) = (mirror.peer.upstream(), |error| Refusal::upstream(&error));
    let registry = located.registry.as_deref().unwrap_or(&mirror.default_registry);
    let mut url = upstream.registry(registry).map_err(refused)?;
    url.set_path(&format!("/v2/{}", located.path));
    url.set_query(without_namespace(uri.query().unwrap_or_default()).as_deref());
    // A HEAD is about what a GET would give.
    let route = mirror.rules.decide(&Method::GET, &url, use_peers, Unmatched::Peers);
    upstream.check(&route.url).map_err(refused)?;
    Ok(route)
}

// === impl Caller ===

impl Caller {
    pub fn from_request(mirror: &Mirror, request: &Request, url: Url, wishes: Wishes) -> Result<Self, Refusal> {
        let headers = request.headers().clone();
        let text = |value: Option<&http::HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let range = Requested::parse(text(headers.get(RANGE)).as_deref()).map_err(|error| Refusal::range(&error))?;
        let deadline = Instant::now() + mirror.first_byte_timeout;
        let Sendfile(sendfile) = request.extensions().get().copied().unwrap_or_default();
        let caller = Self { method: request.method().clone(), headers, url, range, deadline, sendfile, wishes };
        match caller.accept().is_some_and(|accept| accept.len() > ACCEPT_BYTES_MAX) {
            true => Err(Refusal::accept()),
            false => Ok(caller),
        }
    }

    /// A question of our own; whole, and with the usual patience.
    pub fn asking(mirror: &Mirror, method: Method, url: Url, headers: HeaderMap) -> Self {
        let deadline = Instant::now() + mirror.first_byte_timeout;
        Self { method, headers, url, range: Requested::Whole, deadline, sendfile: false, wishes: Wishes::default() }
    }

    /// The same caller's question for the headers of the whole.
    pub fn head(&self) -> Self {
        let mut headers = self.headers.clone();
        headers.remove(RANGE);
        let (url, deadline, wishes) = (self.url.clone(), self.deadline, self.wishes.clone());
        Self { method: Method::HEAD, headers, url, range: Requested::Whole, deadline, sendfile: false, wishes }
    }

    /// The same request for another path of the registry.
    pub fn at(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(path);
        let (method, headers, wishes) = (self.method.clone(), self.headers.clone(), self.wishes.clone());
        Self { method, headers, url, wishes, ..*self }
    }

    pub fn with_patience(self, patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, ..self }
    }

    /// To ask before the content is read: a part of the time is left for that.
    pub fn asking_first(&self) -> Self {
        self.at(self.url.path()).with_patience(self.patience() * 2 / 3)
    }

    /// How long it still waits for a first byte.
    pub fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Where the engine gets it from, and with what.
    pub fn origin(&self) -> Origin {
        let authorization = self.authorization().map(str::to_owned);
        let node_only = self.wishes.priority == Priority::NODE_ITSELF;
        let piece_length = self.wishes.piece_length;
        Origin { authorization, accept: self.accept(), node_only, piece_length, ..Origin::new(self.url.as_str()) }
    }

    /// With what the cluster's rules go by. A blob is one task whatever they are.
    pub fn origin_of_content(&self) -> Origin {
        let Wishes { tag, application, priority, .. } = self.wishes.clone();
        Origin { tag, application, priority, ..self.origin() }
    }

    /// A digest of the media types of all `Accept` lines: the same for all who accept the same, in whatever order.
    pub fn accepted_types(&self) -> String {
        let all = self.accept().unwrap_or_default();
        let name = |entry: &str| entry.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let types: std::collections::BTreeSet<_> = all.split(',').map(name).filter(|name| !name.is_empty()).collect();
        let mut hash = Sha256::new();
        types.iter().for_each(|name| hash.update(format!("{name},")));
        hex::encode(hash.finalize())
    }

    /// Of a content by its digest: below which of a repository's two folders it is asked for.
    pub fn kind(&self) -> Kind {
        match self.url.path().rsplit('/').nth(1) {
            Some("manifests") => Kind::Manifest,
            _ => Kind::Blob,
        }
    }

    /// `https://host:port`: two ports of a host are two registries.
    pub fn registry(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub fn authorization(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())
    }

    /// A password rather than a token.
    pub fn shows_password(&self) -> bool {
        let scheme = self.authorization().and_then(|value| value.get(..6));
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
    }

    pub fn is_containerd(&self) -> bool {
        let agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        agent.is_some_and(|agent| agent.starts_with("containerd/") || agent.contains(" containerd-client/"))
    }

    /// All `Accept` lines as one.
    pub fn accept(&self) -> Option<String> {
        let lines: Vec<_> = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

fn without_namespace(query: &str) -> Option<String> {
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    let mut any = false;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "ns") {
        kept.append_pair(&name, &value);
        any = true;
    }
    any.then(|| kept.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ns_is_not_sent_on() {
        assert_eq!(without_namespace("n=5&ns=reg%3A5000&last=x").as_deref(), Some("n=5&last=x"));
        assert_eq!(without_namespace("ns=ghcr.io"), None);
    }
}
