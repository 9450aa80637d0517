//! `CONNECT`: bytes to another server, or, where its TLS is ended here, the requests inside.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use df_api::Code;
use df_http::ApiError;
use df_http::serve::Tunnel;
use df_peer::ConnectError;
use http::uri::{PathAndQuery, Scheme};
use http::{Request as HttpRequest, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;
use url::{Host, Url};

use super::{Inside, Proxy, router};

pub async fn answer(proxy: &Proxy, mut request: Request, url: Url) -> Result<Response, ApiError> {
    if proxy.0.authority.is_some() && proxy.0.intercepted.matches(&url) {
        proxy.check(&url)?;
        let (tunnel, proxy) = (Tunnel::of(&mut request), proxy.clone());
        let tasks = proxy.0.tasks.clone();
        tasks.spawn(async move {
            if let Err(error) = intercept(&proxy, tunnel, &url).await {
                tracing::debug!(
                    host = url.host_str(),
                    error = df_http::error::chain(&error),
                    "an intercepted connection ended early"
                );
            }
        });
        return Ok(Response::new(Body::empty()));
    }
    let other = proxy.0.peer.upstream().connect(&url).await.map_err(unconnected)?;
    let tunnel = Tunnel::of(&mut request);
    carry(proxy, tunnel, other, url.host_str().unwrap_or_default().to_owned());
    Ok(Response::new(Body::empty()))
}

/// Bytes both ways, once the answer has been sent, until either side or this node ends it.
pub fn carry<S>(proxy: &Proxy, tunnel: Tunnel, other: S, host: String)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (idle, stop) = (proxy.0.idle_timeout, proxy.0.stop.clone());
    proxy.0.tasks.spawn(async move {
        let joined = async { tunnel.open().await?.join(other, idle).await };
        metrics::gauge!("dragonfly_proxy_tunnels").increment(1);
        let ended = stop.run_until_cancelled(joined).await;
        metrics::gauge!("dragonfly_proxy_tunnels").decrement(1);
        if let Some(Err(error)) = ended {
            tracing::debug!(host, %error, "a tunnel ended early");
        }
    });
}

async fn intercept(proxy: &Proxy, tunnel: Tunnel, url: &Url) -> io::Result<()> {
    let name = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => String::new(),
    };
    let tls = |asked: Option<&str>| {
        // Whom a client means inside is whom it connected to, or it gets no answer that it could take for another's.
        match (&proxy.0.authority, asked.is_none_or(|asked| asked.eq_ignore_ascii_case(&name))) {
            (Some(authority), true) => authority.tls_for(&name).map_err(io::Error::other),
            _ => Err(io::Error::other(format!("TLS for {asked:?} was asked for where {name} was connected to"))),
        }
    };
    let inside = Inside(Arc::new(url.clone()));
    let service = router(proxy.clone()).map_request(move |mut request: HttpRequest<_>| {
        request.extensions_mut().insert(inside.clone());
        if let Some(uri) = absolute(&inside.0, request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    });
    let open = tunnel.open().await?;
    open.serve_tls(tls, service, proxy.0.stop.clone()).await
}

/// The request line as it would be without a tunnel. `None` when it is so already, or is nothing.
fn absolute(tunnel: &Url, uri: &Uri) -> Option<Uri> {
    let path: PathAndQuery = uri.path_and_query().filter(|_| uri.scheme().is_none())?.clone();
    let authority = &tunnel[url::Position::BeforeHost..url::Position::AfterPort];
    Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build().ok()
}

fn unconnected(error: ConnectError) -> ApiError {
    let code = match &error {
        ConnectError::Refused(_) => Code::Forbidden,
        ConnectError::Unreachable { .. } | ConnectError::Proxy { .. } => Code::BadGateway,
        ConnectError::Timeout { .. } => Code::Timeout,
    };
    ApiError::new(code, error.to_string())
}
