//! The registry mirror: what container runtimes ask at `/v2/…`, with their own credentials.
//!
//! **Invariants.** Digest-addressed content comes from the one task of its digest, and only for a caller the registry
//! has accepted for that repository. Everything else is relayed, with challenges and credentials unchanged. Errors are
//! OCI JSON, name the upstream, and come before the first byte or not at all. What a rule or a request wants without the
//! peers is relayed, too.

mod access;
mod caller;
mod claims;
mod conditions;
mod content;
mod links;
mod login;
mod multipart;
mod question;
mod refusal;
mod relay;
mod tag_files;
mod tags;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use df_peer::Peer;
use http::Method;
use url::Url;

use crate::config::ProxyConfig;
use crate::namespace;
use crate::oci::{OciPath, Reference};
use crate::prefetch::Prefetch;
use crate::rules::{Rules, Via};
use crate::wishes::Wishes;
pub use access::{Access, Proof, Refused};
use caller::Caller;
pub use claims::objection;
pub use content::scope_of;
use login::Words;
use refusal::Refusal;
use tags::Tags;
pub use tags::resolve_for_node;

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    peer: Arc<Peer>,
    access: Access,
    tags: Tags,
    words: Words,
    rules: Rules,
    prefetch: Prefetch,
    default_registry: Arc<str>,
    first_byte_timeout: Duration,
}

// === impl Mirror ===

impl Mirror {
    /// `dir` is for what it keeps from one start to the next; `rules` are those of `config`.
    pub fn open(
        config: &ProxyConfig,
        dir: &Path,
        rules: Rules,
        peer: Arc<Peer>,
        prefetch: Prefetch,
    ) -> io::Result<Self> {
        let millis = Duration::from_millis;
        Ok(Self {
            peer,
            access: Access::new(millis(config.access_ttl_ms), millis(config.refusal_ttl_ms)),
            words: Words::new(),
            tags: Tags::open(dir.join("tags"), millis(config.tag_window_ms))?,
            rules,
            prefetch,
            default_registry: config.default_registry.as_str().into(),
            first_byte_timeout: millis(config.first_byte_timeout_ms),
        })
    }

    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn prefetch(&self) -> &Prefetch {
        &self.prefetch
    }
}

/// The blob or manifest that a registry has at `url`, when it is one by digest.
pub fn by_digest(url: &Url) -> Option<OciPath> {
    let wanted = url.path().strip_prefix("/v2/").and_then(|path| OciPath::parse(path).ok());
    wanted.filter(|wanted| {
        matches!(wanted, OciPath::Blob { .. } | OciPath::Manifest { reference: Reference::Digest(_), .. })
    })
}

/// What [`by_digest`] found, for a client of the forward proxy whom a rule sends through the peers: as if it had asked the
/// mirror. `None` where a runtime would go on to its next host: such a client has only the registry.
pub fn answer_url<'a>(
    mirror: &'a Mirror,
    request: &Request,
    (url, wishes): (Url, Wishes),
    wanted: OciPath,
) -> impl Future<Output = Option<Response>> + use<'a> {
    let caller = Caller::from_request(mirror, request, url, wishes);
    async move {
        let answered = match caller {
            Ok(caller) => give(mirror, &caller, wanted).await,
            Err(refusal) => Err(refusal),
        };
        match answered {
            Ok(response) => Some(response),
            Err(refusal) if refusal.is_ours() => {
                tracing::warn!(
                    error = refusal.message(),
                    "a blob does not come this way; its registry is asked instead"
                );
                None
            }
            Err(refusal) => Some(refusal.into_response()),
        }
    }
}

pub fn router(mirror: Mirror) -> Router {
    // Repository names contain slashes, so the path is parsed by hand; no OpenAPI operation describes it.
    let paths = ["/v2", "/v2/", "/v2/{*path}", "/{registry}/v2", "/{registry}/v2/", "/{registry}/v2/{*path}"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(dispatch))).with_state(mirror)
}

async fn dispatch(State(mirror): State<Mirror>, request: Request) -> Response {
    let namespace = namespace::namespace(request.uri());
    let mut response = match answer(&mirror, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    // Distribution-spec: a registry that used `ns` says so.
    if let Some(value) = namespace.and_then(|namespace| namespace.parse().ok()) {
        response.headers_mut().insert("oci-namespace", value);
    }
    response
}

async fn answer(mirror: &Mirror, mut request: Request) -> Result<Response, Refusal> {
    let upstream = mirror.peer.upstream();
    let located = namespace::locate(request.uri(), request.headers(), |host| upstream.is_listed(host));
    let located = located.ok_or_else(|| Refusal::nowhere(request.uri().path()))?;
    if located.path == "token" {
        return login::token(mirror, &located, request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::method(request.method()));
    }
    if located.path.is_empty() {
        return Ok(login::base(request.headers(), &located));
    }
    let wanted = OciPath::parse(&located.path).map_err(|error| Refusal::path(&error))?;
    let wishes = Wishes::from_headers(request.headers()).map_err(|error| Refusal::wish(&error))?;
    let route = caller::route(mirror, request.uri(), &located, wishes.use_peers)?;
    mirror.words.open(request.headers_mut(), &route.url.origin().ascii_serialization()).await?;
    let caller = Caller::from_request(mirror, &request, route.url, wishes)?;
    let is_listing = matches!(wanted, OciPath::Listing { .. });
    let mut response = match route.via {
        Via::Peers { .. } => give(mirror, &caller, wanted).await?,
        Via::Direct => relay::forward(mirror, &caller, wanted.repository()).await?.respond(&caller),
    };
    if is_listing {
        links::rewrite(response.headers_mut(), request.uri(), &located, &caller.url);
    }
    Ok(response)
}

async fn give(mirror: &Mirror, caller: &Caller, wanted: OciPath) -> Result<Response, Refusal> {
    match &wanted {
        OciPath::Blob { repository, digest } => content::answer(mirror, caller, repository, digest.clone()).await,
        OciPath::Manifest { repository, reference: Reference::Digest(digest) } => {
            content::answer(mirror, caller, repository, digest.clone()).await
        }
        OciPath::Manifest { repository, reference: Reference::Tag(tag) } => {
            tags::answer(mirror, caller, repository, tag).await
        }
        OciPath::Listing { .. } => Ok(relay::forward(mirror, caller, wanted.repository()).await?.respond(caller)),
    }
}
