//! A connection that has left HTTP by `CONNECT` (RFC 9110 §9.3.6) or `Upgrade` (§7.8): joined with another, or another HTTP
//! inside of TLS.
//!
//! **Invariant.** A tunnel keeps its place among the listener's connections, and ends with either side, when nothing
//! moves for too long, or when the server stops.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::moved::Moved;
use super::{DRAIN_TIMEOUT, GREETING_TIMEOUT, speak};

/// One connection among those that the listener allows; it is free when the last clone is gone.
#[derive(Clone)]
pub(super) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// A tunnel that is about to be: it opens when the answer to its request, a success or 101, has been sent.
pub struct Tunnel {
    upgrade: OnUpgrade,
    place: Option<Place>,
}

/// Bytes, both ways.
pub struct OpenTunnel {
    io: TokioIo<Upgraded>,
    _place: Option<Place>,
}

// === impl Place ===

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Arc::new(permit) }
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// Of a request that leaves HTTP.
    pub fn of(request: &mut Request<Body>) -> Self {
        let place = request.extensions_mut().remove();
        Self { upgrade: hyper::upgrade::on(request), place }
    }

    /// Waits for the answer to have been sent; an error when the client has gone before.
    pub async fn open(self) -> io::Result<OpenTunnel> {
        let upgraded = self.upgrade.await.map_err(io::Error::other)?;
        Ok(OpenTunnel { io: TokioIo::new(upgraded), _place: self.place })
    }
}

// === impl OpenTunnel ===

impl OpenTunnel {
    /// Copies both ways until both are done, or nothing has moved for `idle`. Cancel to end it earlier.
    pub async fn join<S>(mut self, other: S, idle: Duration) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let moved = Moved::now();
        let mut other = Watched { stream: other, moved: moved.clone() };
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut self.io, &mut other) => copied.map(|_| ()),
            () = moved.still_for(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing moved for {idle:?}"))),
        }
    }

    /// Shakes hands as whom `tls` picks by the name that is asked for, and serves HTTP/1.1 inside until the client or
    /// `stop` ends it.
    pub async fn serve_tls<F, S>(self, tls: F, service: S, stop: CancellationToken) -> io::Result<()>
    where
        F: FnOnce(Option<&str>) -> io::Result<Arc<ServerConfig>>,
        S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send,
    {
        // What is inside may leave HTTP in its turn, and goes on as the same connection.
        let place = self._place;
        let service = service.map_request(move |mut request: Request<Incoming>| {
            place.iter().for_each(|place| drop(request.extensions_mut().insert(place.clone())));
            request
        });
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), self.io).await?;
            let config = tls(hello.client_hello().server_name())?;
            hello.into_stream(config).await
        });
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {GREETING_TIMEOUT:?}"));
        let stream = greeted.await.map_err(late)??;
        let stopped = stop.clone();
        let drained = async {
            stopped.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            ended = speak(stream, service, stop) => ended.map_err(io::Error::other),
            () = drained => Err(io::Error::new(io::ErrorKind::TimedOut, "an answer did not end in time")),
        }
    }
}

/// A stream that tells when it last moved.
struct Watched<S> {
    stream: S,
    moved: Moved,
}

impl<S> Watched<S> {
    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.moved.note();
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
