//! The forward proxy: requests that name another server, in absolute form or by `CONNECT`, on the listener of the mirror.
//!
//! **Invariants.** What the rules send through the peers comes from the task of its URL, and only for a caller to whom
//! that server gives it; a registry's blob is the mirror's. Everything else is passed on as it is, or tunnelled, and never
//! to a host that `upstream` does not allow. What is for this proxy goes no further.

mod access;
mod authority;
mod basic_auth;
mod content;
mod forwarded;
mod intercepted;
mod relay;
pub mod target;
mod tunnel;
mod upgrade;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use df_api::Code;
use df_api::dfdaemon::ERROR_TYPE_HEADER;
use df_http::{ApiError, layers};
use df_peer::Peer;
use http::header::{HOST, HeaderMap, HeaderValue, VIA};
use http::{Method, Uri};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use url::Url;

pub use authority::{AuthorityError, CaConfig};
pub use basic_auth::BasicAuthConfig;
pub use intercepted::Intercepted;

use crate::Config;
use crate::mirror::{Access, Mirror};
use crate::rules::{Unmatched, Via};
use crate::wishes::{WishError, Wishes};
use authority::Authority;
use basic_auth::BasicAuth;
use target::{Target, TargetError};

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    peer: Arc<Peer>,
    mirror: Mirror,
    intercepted: Intercepted,
    /// Where something is intercepted.
    authority: Option<Authority>,
    basic_auth: Option<BasicAuth>,
    /// Who has been given which task by its server.
    access: Access,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    /// This node's entry in `Via`; by it a request that came back is known.
    via: HeaderValue,
    stop: CancellationToken,
    /// Tunnels.
    tasks: TaskTracker,
}

/// A request came through the intercepted tunnel to here.
#[derive(Clone)]
struct Inside(Arc<Url>);

// === impl Proxy ===

impl Proxy {
    /// What it starts is among `tasks`, and ends with `stop`.
    pub fn new(mirror: Mirror, config: &Config, tasks: TaskTracker, stop: CancellationToken) -> anyhow::Result<Self> {
        let (settings, peer, millis) = (&config.proxy, mirror.peer().clone(), Duration::from_millis);
        let intercepted = Intercepted::new(&settings.intercept)?;
        let authority = (!intercepted.is_empty()).then(|| open_authority(config, &intercepted)).transpose()?;
        if let Some(authority) = &authority {
            let (hosts, path) = (settings.intercept.join(", "), authority.cert_file.display());
            tracing::info!(hosts, authority = %path, "TLS to these hosts is ended here; their clients must trust the authority");
        }
        Ok(Self(Arc::new(Inner {
            intercepted,
            authority,
            basic_auth: settings.basic_auth.as_ref().map(BasicAuth::new).transpose()?,
            access: Access::new(millis(settings.access_ttl_ms), millis(settings.refusal_ttl_ms)),
            first_byte_timeout: millis(settings.first_byte_timeout_ms),
            idle_timeout: millis(settings.idle_timeout_ms),
            // It says nothing about this node.
            via: HeaderValue::try_from(format!("1.1 dragonfly-{:016x}", fastrand::u64(..)))?,
            peer,
            mirror,
            stop,
            tasks,
        })))
    }

    async fn dispatch(&self, mut request: Request) -> Result<Response, ApiError> {
        let inside = request.extensions_mut().remove::<Inside>();
        let target = match inside {
            Some(Inside(tunnel)) => {
                target::inside(&tunnel, request.uri(), host(request.headers())?).map(Target::Resource)
            }
            None => {
                self.0.basic_auth.as_ref().map_or(Ok(()), |auth| auth.check(request.headers()))?;
                let target = target::target(request.method(), request.uri());
                target.and_then(|target| target.ok_or(TargetError::Url))
            }
        };
        if request.headers().get_all(VIA).iter().any(|via| via == self.0.via) {
            return Err(ApiError::new(Code::BadGateway, "this request has come back to the proxy that sent it on"));
        }
        match target.map_err(ApiError::invalid)? {
            Target::Tunnel(url) => tunnel::answer(self, request, url).await,
            Target::Resource(url) => self.pass(request, url).await,
        }
    }

    async fn pass(&self, request: Request, url: Url) -> Result<Response, ApiError> {
        let wishes = Wishes::from_headers(request.headers()).map_err(|error| unwelcome(&error))?;
        let rules = self.0.mirror.rules();
        let route = rules.decide(request.method(), &url, wishes.use_peers, Unmatched::Direct);
        self.check(&route.url)?;
        if let Some(protocol) = upgrade::wanted(&request) {
            return upgrade::answer(self, request, route.url, protocol).await;
        }
        match route.via {
            Via::Direct => relay::answer(self, request, route.url).await,
            Via::Peers { filtered_query_params } => {
                let asked = content::Asked { url: route.url, filtered_query_params, wishes };
                content::answer(self, request, asked).await
            }
        }
    }

    fn check(&self, url: &Url) -> Result<(), ApiError> {
        self.0.peer.upstream().check(url).map_err(ApiError::forbidden)
    }
}

fn unwelcome(error: &WishError) -> ApiError {
    match error {
        WishError::Forbidden(_) => ApiError::forbidden(error),
        _ => ApiError::invalid(error),
    }
}

/// The authority that interception uses, made when there is none yet.
fn open_authority(config: &Config, intercepted: &Intercepted) -> Result<Authority, AuthorityError> {
    Authority::open(config.proxy.ca.as_ref(), intercepted, &config.storage.dir)
}

/// Where the certificate is that clients of intercepted hosts must trust.
pub fn authority_file(config: &Config) -> anyhow::Result<PathBuf> {
    let intercepted = Intercepted::new(&config.proxy.intercept)?;
    anyhow::ensure!(!intercepted.is_empty(), "proxy.intercept lists no host, so there is no authority");
    Ok(open_authority(config, &intercepted)?.cert_file)
}

/// `local`, and before it the proxy for what is not meant for this server.
pub fn before(local: Router, proxy: Proxy) -> Router {
    let proxied = router(proxy);
    Router::new().fallback_service(tower::service_fn(move |request: Request| {
        let router = if is_for_others(request.method(), request.uri()) { &proxied } else { &local };
        router.clone().oneshot(request)
    }))
}

fn router(proxy: Proxy) -> Router {
    layers::wear(Router::new().fallback(answer).with_state(proxy), "dfdaemon")
}

fn is_for_others(method: &Method, uri: &Uri) -> bool {
    *method == Method::CONNECT || uri.scheme().is_some()
}

async fn answer(State(proxy): State<Proxy>, request: Request) -> Response {
    proxy.dispatch(request).await.unwrap_or_else(|error| {
        let mut response = error.into_response();
        response.headers_mut().insert(ERROR_TYPE_HEADER, HeaderValue::from_static("dfdaemon"));
        response
    })
}

/// The one `Host`, if there is any.
fn host(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(HOST).iter();
    let wrong = || ApiError::invalid("header Host is not one host");
    let host = values.next().map(|value| value.to_str().map_err(|_| wrong())).transpose()?;
    if values.next().is_some() { Err(wrong()) } else { Ok(host) }
}
