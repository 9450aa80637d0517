//! An accepted connection, plain or TLS, that gives a client up which does not take what it asked for.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::FromRequestParts;
use df_socket::SendfileStream;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::refuse;
use super::tls::ServerTls;

/// Whether mapped bytes leave by `sendfile` on the connection of this request. Elsewhere they are better copied: a mapping
/// that is read costs a page fault per page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sendfile(pub bool);

/// Who is at the other end of a socket in the file system, as the kernel says. `None` on any other connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller(pub Option<Process>);

/// A process of this machine, when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub uid: u32,
}

/// What counts as taking something: less per patience is as good as nothing.
const PROGRESS_BYTES: usize = 64 * 1024;

/// The first byte of a TLS record that begins a handshake (RFC 8446, § 5.1).
const HANDSHAKE: u8 = 0x16;

pub(super) struct Connection {
    wire: Wire,
    patience: Duration,
    /// Since when bytes wait for the client, and how many it has taken since.
    waiting: Option<Waiting>,
    /// Wakes for the end of the patience. It is not set anew at each wait: it looks whether it is time when it rings.
    alarm: Option<Pin<Box<Sleep>>>,
}

enum Wire {
    Plain(SendfileStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

struct Waiting {
    until: Instant,
    taken: usize,
}

/// TLS, or `None` when a plain request was answered with what is wrong.
pub(super) async fn greet(tls: &ServerTls, stream: TcpStream, patience: Duration) -> io::Result<Option<Connection>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        refuse::plain_on_tls(stream);
        return Ok(None);
    }
    let accepted = TlsAcceptor::from(tls.current()).accept(stream).await?;
    Ok(Some(Connection::new(Wire::Tls(Box::new(accepted)), patience)))
}

// === impl Connection ===

impl Connection {
    fn new(wire: Wire, patience: Duration) -> Self {
        Self { wire, patience, waiting: None, alarm: None }
    }

    pub(super) fn plain(stream: TcpStream, patience: Duration) -> Self {
        Self::new(Wire::Plain(SendfileStream::new(stream)), patience)
    }

    pub(super) fn unix(stream: UnixStream, patience: Duration) -> Self {
        Self::new(Wire::Unix(stream), patience)
    }

    pub(super) fn caller(&self) -> Caller {
        let Wire::Unix(stream) = &self.wire else { return Caller(None) };
        let known = stream.peer_cred().ok();
        Caller(known.and_then(|known| Some(Process { pid: known.pid()?, uid: known.uid() })))
    }

    pub(super) fn sendfile(&self) -> Sendfile {
        Sendfile(df_socket::SUPPORTED && matches!(self.wire, Wire::Plain(_)))
    }

    fn took(&mut self, bytes: usize) {
        if let Some(waiting) = &mut self.waiting {
            waiting.taken += bytes;
            if waiting.taken >= PROGRESS_BYTES {
                self.waiting = None;
            }
        }
    }

    /// Bytes wait: an error once they have waited for too long.
    fn poll_patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let until = match &self.waiting {
            Some(waiting) => waiting.until,
            None => {
                let until = Instant::now() + self.patience;
                self.waiting = Some(Waiting { until, taken: 0 });
                until
            }
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if until <= Instant::now() {
                let why = format!("the client took less than {PROGRESS_BYTES} bytes within {:?}", self.patience);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            alarm.as_mut().reset(until);
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match sent {
            Poll::Ready(Ok(bytes)) => {
                self.took(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_patience(cx),
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match done {
            Poll::Ready(result) => {
                self.waiting = None;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_patience(cx),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let sent = match &mut me.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        me.poll_sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let done = match &mut me.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        me.poll_done(cx, done)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let done = match &mut me.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        me.poll_done(cx, done)
    }
}

// === impl Sendfile ===

impl<S: Sync> FromRequestParts<S> for Sendfile {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

// === impl Caller ===

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}
