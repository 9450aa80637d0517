//! Listener in, drain out. One accept loop for every server: HTTP/1.1, keep-alive, and a bound on all that a client can
//! hold: connections, slow headers, answers it does not read.
//!
//! **Invariant.** A connection ends: when its client closes it, sends no request in time, does not take what it asked
//! for, or when the server stops.

mod connection;
mod listener;
mod moved;
mod refuse;
mod tls;
mod tunnel;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use connection::Connection;
pub use connection::{Caller, Process, Sendfile};
use listener::Stream;
pub use listener::{Listener, bind_unix};
pub use moved::Moved;
pub use tls::{ServerTls, TlsError, TlsFiles};
use tunnel::Place;
pub use tunnel::{OpenTunnel, Tunnel};

/// A client must send its headers within this time, also after idling on a kept-alive connection.
/// Runtimes keep connections for up to 90 s.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);

/// After SIGTERM open answers get this long to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The first byte, and the handshake when there is TLS.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// What one listener allows.
#[derive(Clone)]
pub struct Limits {
    /// Further ones are answered 503 and closed.
    pub connections: usize,
    /// A client that takes (almost) nothing of its answer for so long is cut off.
    pub write_patience: Duration,
    /// Plain when there is none.
    pub tls: Option<Arc<ServerTls>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, write_patience: Duration::from_secs(300), tls: None }
    }
}

/// Binds, naming the address when it cannot.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves with the default limits until `stop`, then lets open answers end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_within(Limits::default(), listener, router, stop).await;
}

/// Serves until `stop`, then lets open answers end.
pub async fn serve_within(limits: Limits, listener: impl Into<Listener>, router: Router, stop: CancellationToken) {
    let listener = listener.into();
    let conversations = TaskTracker::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let port = listener.port();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            // Out of file descriptors, or the client was gone already: neither is a reason to stop listening.
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            refuse::too_many(stream);
            continue;
        };
        let (limits, router, stop, port) = (limits.clone(), router.clone(), stop.clone(), port.clone());
        conversations.spawn(async move {
            metrics::gauge!("dragonfly_http_connections", "port" => port.clone()).increment(1);
            converse(limits, stream, router, stop, place).await;
            metrics::gauge!("dragonfly_http_connections", "port" => port).decrement(1);
        });
    }
    drop(listener);
    conversations.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, conversations.wait()).await.is_err() {
        tracing::warn!("some answers did not end within {DRAIN_TIMEOUT:?}");
    }
}

/// One connection, from its greeting to its end.
async fn converse(
    limits: Limits,
    stream: Stream,
    router: Router,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let connection = match (stream, &limits.tls) {
        // Nobody else hears what is said there.
        (Stream::Unix(stream), _) => Connection::unix(stream, limits.write_patience),
        (Stream::Tcp(stream), None) => Connection::plain(stream, limits.write_patience),
        (Stream::Tcp(stream), Some(tls)) => {
            let greeted = tokio::time::timeout(GREETING_TIMEOUT, connection::greet(tls, stream, limits.write_patience));
            match greeted.await {
                Ok(Ok(Some(connection))) => connection,
                Ok(Ok(None)) => return,
                Ok(Err(error)) => return tracing::debug!(%error, "no TLS connection came about"),
                Err(_) => return tracing::debug!("no TLS handshake within {GREETING_TIMEOUT:?}"),
            }
        }
    };
    let (sendfile, caller) = (connection.sendfile(), connection.caller());
    let place = Place::new(place);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(sendfile);
        request.extensions_mut().insert(caller);
        if *request.method() == Method::CONNECT {
            request.extensions_mut().insert(place.clone());
        }
        request
    });
    if let Err(error) = speak(connection, service, stop).await {
        tracing::debug!(error = crate::error::chain(&error), "connection ended early");
    }
}

/// HTTP/1.1 until the client ends it, or, after `stop`, the answer that is open.
async fn speak<S>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    stop: CancellationToken,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send,
{
    // Its writes are vectored, so that hyper hands bodies down as they are: df-socket depends on it.
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .writev(true)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return ended,
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    served.await
}

/// Resolves on SIGTERM or Ctrl-C.
pub async fn stop_signal() -> io::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed,
    }
}

/// Every connection has its file; the soft limit of a service is often 1,024.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// A token that is cancelled by SIGTERM or Ctrl-C.
pub fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = stop_signal().await {
            tracing::error!(%error, "cannot listen for signals; stopping");
        }
        stopping.cancel();
    });
    stop
}

#[cfg(test)]
mod tests;
