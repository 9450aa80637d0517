//! Between a client and its mirror, or its registry: all bytes pass as they are, and what was asked, answered, and how it
//! ended is written down.
//!
//! **Invariant:** an end on one side is the same end on the other: FIN is FIN and RST is RST.

mod messages;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_testkit::until;
use parking_lot::Mutex;
use tests::netns::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use messages::{Answers, Requests};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PORT: u16 = 65003;
const MIRROR_PORT: u16 = 65001;
const REGISTRY_PORT: u16 = 65004;
const READ_BYTES: usize = 64 * 1024;
const BOUND: Duration = Duration::from_secs(120);

/// One request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// As it was sent; empty without one.
    pub(crate) query: String,
    pub(crate) range: Option<String>,
    /// It showed a credential.
    pub(crate) authorized: bool,
    /// 0 until there is one.
    pub(crate) status: u16,
    /// `WWW-Authenticate`.
    pub(crate) challenge: String,
    /// Of the answer, as far as they came.
    pub(crate) body_bytes: u64,
    pub(crate) end: End,
    /// From the request to the head of the answer.
    pub(crate) answered_after: Option<Duration>,
    /// The longest time between two reads of the body.
    pub(crate) longest_pause: Duration,
    asked: Instant,
    moved: Instant,
}

/// How the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    NotYet,
    /// It was as long as it said.
    Whole,
    /// The mirror's FIN in its middle.
    Fin,
    /// The mirror's RST.
    Reset,
    /// The client hung up.
    Left,
}

/// At its own address in a node's network; ends when dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    book: Arc<Book>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Book {
    seen: Mutex<Seen>,
    /// Paths with this in them are not passed on for now.
    held: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// So many before these: an exchange keeps its number.
    forgotten: usize,
    exchanges: Vec<Exchange>,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end != End::NotYet
    }
}

// === impl Recorder ===

impl Recorder {
    pub(crate) const URL: &str = "http://127.0.0.1:65003";
    pub(crate) const REGISTRY_URL: &str = "http://127.0.0.1:65004";

    /// Before the node's dfdaemon.
    pub(crate) async fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        Self::start_at(namespace, PORT, (LOOPBACK, MIRROR_PORT).into()).await
    }

    /// Before a registry, at [`Recorder::REGISTRY_URL`].
    pub(crate) async fn start_before(namespace: &Namespace, registry: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(namespace, REGISTRY_PORT, registry).await
    }

    async fn start_at(namespace: &Namespace, port: u16, target: SocketAddr) -> anyhow::Result<Self> {
        let listener = namespace.inside(move || Ok(TcpListener::bind((LOOPBACK, port))?)).await?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let book = Arc::new(Book { seen: Mutex::default(), held: watch::Sender::new(None) });
        let (kept, namespace) = (book.clone(), namespace.clone());
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok((client, _)) = listener.accept().await else { continue };
                connections.spawn(carry(client, namespace.clone(), target, kept.clone()));
            }
        });
        Ok(Self { book, server })
    }

    /// All since the start or the last [`Recorder::clear`], in order.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.book.seen.lock().exchanges.clone()
    }

    pub(crate) fn blobs(&self) -> Vec<Exchange> {
        self.exchanges().into_iter().filter(Exchange::is_blob).collect()
    }

    /// What was asked before is forgotten.
    pub(crate) fn clear(&self) {
        let mut seen = self.book.seen.lock();
        seen.forgotten += std::mem::take(&mut seen.exchanges).len();
    }

    /// Requests whose path has `text` in it wait from now on.
    pub(crate) fn hold(&self, text: &str) {
        self.book.held.send_replace(Some(text.to_owned()));
    }

    pub(crate) fn release(&self) {
        self.book.held.send_replace(None);
    }

    /// Until what was asked satisfies `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&[Exchange]) -> bool) -> anyhow::Result<()> {
        let seen = until(what, BOUND, async || Ok(condition(&self.book.seen.lock().exchanges).then_some(()))).await;
        seen.map_err(|error| error.context(format!("{:#?}", self.exchanges())))
    }

    /// Until so many bytes of answers to blobs have passed.
    pub(crate) async fn until_blob_bytes(&self, bytes: u64) -> anyhow::Result<()> {
        let passed = |seen: &[Exchange]| -> u64 { seen.iter().filter(|e| e.is_blob()).map(|e| e.body_bytes).sum() };
        self.until(&format!("{bytes} bytes of blobs have passed"), |seen| passed(seen) >= bytes).await
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl Book ===

impl Book {
    /// The exchange's number.
    fn begin(&self, exchange: Exchange) -> usize {
        let mut seen = self.seen.lock();
        seen.exchanges.push(exchange);
        seen.forgotten + seen.exchanges.len() - 1
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Exchange)) {
        let mut seen = self.seen.lock();
        let index = number.checked_sub(seen.forgotten);
        let exchange = index.and_then(|index| seen.exchanges.get_mut(index));
        if let Some(exchange) = exchange.filter(|exchange| !exchange.is_over()) {
            change(exchange);
        }
    }

    async fn let_pass(&self, path: &str) {
        let mut held = self.held.subscribe();
        // Fails only when the sender is gone, and the book is held here.
        let _ = held.wait_for(|held| held.as_deref().is_none_or(|text| !path.contains(text))).await;
    }
}

/// One connection; requests come one after the other, as HTTP/1.1 without pipelining has it.
async fn carry(mut client: TcpStream, namespace: Namespace, target: SocketAddr, book: Arc<Book>) {
    let connected = namespace.inside(move || Ok(std::net::TcpStream::connect(target)?)).await;
    let Ok(mut mirror) = connected.and_then(|stream| {
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }) else {
        return;
    };
    let _ = (client.set_nodelay(true), mirror.set_nodelay(true));
    let (mut requests, mut answers) = (Requests::default(), Answers::default());
    let (mut asked, mut told) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let mut current = None;
    let ended = |current: Option<usize>, end| {
        if let Some(number) = current {
            book.change(number, |exchange| exchange.end = end);
        }
    };
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return ended(current, End::Left) };
                if let Some(request) = requests.take(&asked[..length]) {
                    answers.expect(&request.method);
                    let path = request.path.clone();
                    current = Some(book.begin(request));
                    book.let_pass(&path).await;
                }
                if mirror.write_all(&requests.pass()).await.is_err() {
                    return ended(current, End::Reset);
                }
            }
            read = mirror.read(&mut told) => match read {
                Ok(0) => {
                    ended(current, End::Fin);
                    let _ = client.shutdown().await;
                    // Closing with unread input would send RST.
                    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                    return;
                }
                Err(_) => {
                    ended(current, End::Reset);
                    let _ = client.set_zero_linger();
                    return;
                }
                Ok(length) => {
                    if let Some(number) = current {
                        book.change(number, |exchange| answers.take(&told[..length], exchange));
                    }
                    if client.write_all(&told[..length]).await.is_err() {
                        return ended(current, End::Left);
                    }
                }
            }
        }
    }
}
