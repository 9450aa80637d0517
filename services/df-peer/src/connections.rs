//! Connections to other peers for the bytes of pieces: HTTP/1.1, kept alive, one request at a time each.
//!
//! The protocol is hyper's; what is ours is that its connection is driven by whoever reads the answer, on the same thread
//! and only as far as that needs, and how much must have come to be worth reading. A client with connections that drive
//! themselves (reqwest: all other requests) wakes three tasks for every few packets.
//!
//! **Invariant.** A connection goes back only when its answer has been read to the end; every wait has a bound.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use df_api::{ByteRange, Problem};
use df_socket::{PatientStream, Worth};
use http::header::{HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::intake::{STEP_BYTES, left_of_step};

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Silence before or within an answer. A parent that waits for bytes itself says so before that.
const SILENCE: Duration = Duration::from_secs(40);
/// Shorter than servers of this platform keep one.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_MAX_PER_PEER: usize = 16;
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// To all peers of the cluster.
pub(crate) struct Connections {
    tls: TlsConnector,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

/// An answer with content, being read.
pub(crate) struct Answer {
    pub headers: HeaderMap,
    body: Incoming,
    /// Expected, and not read yet; `None` when nothing more is.
    rest: Option<ByteRange>,
    connection: Option<Connection>,
    connections: Arc<Connections>,
}

struct Connection {
    /// `scheme://authority`: what is reached in the clear is not what is reached by TLS.
    peer: String,
    sender: http1::SendRequest<Empty<Bytes>>,
    driver: Driver,
    worth: Worth,
    since: Instant,
}

/// What reads and writes: polled along with whoever waits for it.
struct Driver {
    /// `None` when it has ended: dropped, so that whoever waits for it learns of it.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("it answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String, retry_after: Option<Duration> },
    #[error("it cannot be reached")]
    Unreachable(#[from] io::Error),
    #[error("it breaks off")]
    Broken(#[from] hyper::Error),
    #[error("it has said nothing for {0:?}")]
    Silent(Duration),
    #[error("its answer makes no sense: {0}")]
    Malformed(&'static str),
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

// === impl Connections ===

impl Connections {
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Arc<Self> {
        Arc::new(Self { tls: TlsConnector::from(tls), idle: Mutex::default() })
    }

    /// One GET, of which this part of a content is expected. A kept connection that turns out to be closed is replaced by
    /// a new one.
    pub async fn get(
        self: &Arc<Self>,
        url: &Uri,
        headers: &HeaderMap,
        expected: ByteRange,
    ) -> Result<Answer, AskError> {
        let scheme = url.scheme_str().unwrap_or_default();
        let peer = format!("{scheme}://{}", url.authority().ok_or(AskError::Malformed("no host to ask"))?);
        while let Some(mut kept) = self.take_idle(&peer) {
            if !matches!(within(kept.driver.along(kept.sender.ready())).await, Ok(Ok(()))) {
                continue;
            }
            match kept.ask(url, headers).await {
                Err(AskError::Broken(error)) if !error.is_parse() => {
                    tracing::trace!(%error, peer, "a kept connection was closed");
                }
                answered => return self.answer(kept, answered?, expected).await,
            }
        }
        let mut new = self.connect(url, peer).await?;
        let answered = new.ask(url, headers).await?;
        self.answer(new, answered, expected).await
    }

    async fn answer(
        self: &Arc<Self>,
        mut connection: Connection,
        answered: Response<Incoming>,
        expected: ByteRange,
    ) -> Result<Answer, AskError> {
        let (head, body) = answered.into_parts();
        if !head.status.is_success() {
            return Err(connection.refused(head.status, &head.headers, body).await);
        }
        let (connection, connections) = (Some(connection), self.clone());
        Ok(Answer { headers: head.headers, body, rest: Some(expected), connection, connections })
    }

    async fn connect(&self, url: &Uri, peer: String) -> Result<Connection, AskError> {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let opening = async {
            let socket = TcpStream::connect((host, port)).await?;
            socket.set_nodelay(true)?;
            let stream = PatientStream::new(socket);
            let worth = stream.worth();
            let wire: Box<dyn Wire> = match secure {
                true => {
                    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                    Box::new(self.tls.connect(name, stream).await?)
                }
                false => Box::new(stream),
            };
            io::Result::Ok((wire, worth))
        };
        let opened = tokio::time::timeout(CONNECT_PATIENCE, opening).await;
        let (wire, worth) = opened.map_err(|_| AskError::Silent(CONNECT_PATIENCE))??;
        let mut http = http1::Builder::new();
        http.read_buf_exact_size(Some(STEP_BYTES));
        let (sender, connection) = http.handshake(TokioIo::new(wire)).await?;
        let driver = Driver { connection: Some(Box::pin(connection)) };
        Ok(Connection { peer, sender, driver, worth, since: Instant::now() })
    }

    fn take_idle(&self, peer: &str) -> Option<Connection> {
        self.idle.lock().get_mut(peer)?.pop().filter(|kept| kept.since.elapsed() < IDLE)
    }

    fn keep(&self, mut connection: Connection) {
        connection.since = Instant::now();
        let mut idle = self.idle.lock();
        idle.retain(|_, kept| {
            kept.retain(|kept| kept.since.elapsed() < IDLE);
            !kept.is_empty()
        });
        let kept = idle.entry(connection.peer.clone()).or_default();
        if kept.len() < IDLE_MAX_PER_PEER {
            kept.push(connection);
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        // Between two hops of a chain, this is how far the second lags behind.
        connection.worth.set(self.rest.map_or(0, |rest| rest.length().min(left_of_step(rest.start))));
        loop {
            let frame = within(connection.driver.along(self.body.frame())).await?;
            let Some(frame) = frame else { break };
            // Trailers are of no use here.
            let Ok(bytes) = frame?.into_data() else { continue };
            self.rest = self.rest.and_then(|rest| ByteRange::new(rest.start + bytes.len() as u64, rest.end));
            return Ok(Some(bytes));
        }
        if let Some(connection) = self.connection.take().filter(|connection| connection.driver.connection.is_some()) {
            connection.worth.set(0);
            self.connections.keep(connection);
        }
        Ok(None)
    }
}

// === impl Connection ===

impl Connection {
    async fn ask(&mut self, url: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, AskError> {
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::get(target).body(Empty::new()).map_err(|_| AskError::Malformed("its path"))?;
        *request.headers_mut() = headers.clone();
        let host = url.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).map_err(|_| AskError::Malformed("its name"))?;
        request.headers_mut().insert(HOST, host);
        let sent = self.sender.send_request(request);
        Ok(within(self.driver.along(sent)).await??)
    }

    async fn refused(&mut self, status: StatusCode, headers: &HeaderMap, body: Incoming) -> AskError {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = within(self.driver.along(Limited::new(body, PROBLEM_BYTES_MAX).collect())).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let detail = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.detail,
            Err(_) => String::from_utf8_lossy(&body).chars().take(200).collect(),
        };
        AskError::Refused { status, detail, retry_after: seconds.map(Duration::from_secs) }
    }
}

// === impl Driver ===

impl Driver {
    /// Resolves as `work` does, and drives the connection meanwhile.
    async fn along<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            // First what has come already, then what else comes, then what that brought.
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if self.connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
                self.connection = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, AskError> {
    tokio::time::timeout(SILENCE, work).await.map_err(|_| AskError::Silent(SILENCE))
}

#[cfg(test)]
mod tests;
