//! A TCP proxy in front of any address, whose line can be made slow, cut, silent, wrong or refused while it runs.
//!
//! **Invariant:** after [`FaultProxy::set`] has returned, the new faults hold: a test need not wait for them to arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::pace::Pace;
use crate::wire::Cut;

const CHUNK_BYTES: usize = 16 << 10;
/// How much may be on the line at a time; with 1 MiB a latency of 100 ms still passes 10 MiB/s.
const LINE_CHUNKS: usize = 64;

/// What is wrong with the line. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// One way, in each direction.
    pub latency: Duration,
    /// In each direction, all connections together.
    pub bytes_per_second: Option<u64>,
    /// Every connection ends once it has carried this many bytes from the target to the client; one that has, at its
    /// next byte.
    pub cut_after: Option<(u64, Cut)>,
    /// Of each connection, every byte at a multiple of this on its way from the target to the client is another one.
    pub flip_every: Option<u64>,
    /// Connections are accepted, and nothing passes in either direction until this is off again.
    pub black_hole: bool,
    /// Nobody listens. Connections that exist go on; [`FaultProxy::sever`] ends them.
    pub refuse: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyStats {
    pub connections: u64,
    pub bytes_to_target: u64,
    pub bytes_from_target: u64,
    pub bytes_flipped: u64,
}

/// Runs until dropped; its connections end with it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    line: Arc<Line>,
    applied: watch::Receiver<u64>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Line {
    /// With a number that grows at each change.
    faults: watch::Sender<(u64, Faults)>,
    severed: watch::Sender<Option<Cut>>,
    connections: AtomicU64,
    to_target: Direction,
    from_target: Direction,
    flipped: AtomicU64,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: AtomicU64,
    pace: Pace,
}

// === impl FaultProxy ===

impl FaultProxy {
    /// On 127.0.0.1, any free port.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    pub async fn start_at(address: SocketAddr, target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line {
            faults: watch::Sender::new((0, Faults::default())),
            severed: watch::Sender::new(None),
            connections: AtomicU64::new(0),
            to_target: Direction::default(),
            from_target: Direction::default(),
            flipped: AtomicU64::new(0),
        });
        let (applying, applied) = watch::channel(0);
        let server = tokio::spawn(listen(listener, target, line.clone(), applying));
        Ok(Self { address, line, applied, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`, no `/` at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fails only when the port, given up by [`Faults::refuse`], was taken by another program meanwhile.
    pub async fn set(&self, faults: Faults) -> anyhow::Result<()> {
        let mut number = 0;
        self.line.faults.send_modify(|current| {
            number = current.0 + 1;
            *current = (number, faults);
        });
        let mut applied = self.applied.clone();
        applied.wait_for(|applied| *applied >= number).await.context("the fault proxy lost its port")?;
        Ok(())
    }

    /// Ends all connections there are.
    pub fn sever(&self, how: Cut) {
        self.line.severed.send_replace(Some(how));
    }

    pub fn stats(&self) -> ProxyStats {
        ProxyStats {
            connections: self.line.connections.load(Ordering::Relaxed),
            bytes_to_target: self.line.to_target.bytes.load(Ordering::Relaxed),
            bytes_from_target: self.line.from_target.bytes.load(Ordering::Relaxed),
            bytes_flipped: self.line.flipped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === the line ===

async fn listen(listener: TcpListener, target: SocketAddr, line: Arc<Line>, applying: watch::Sender<u64>) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let mut faults = line.faults.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let (number, now) = *faults.borrow_and_update();
        if now.refuse {
            listener = None;
        } else if listener.is_none() {
            // Without its port the proxy ends, and `set` says so.
            let Ok(again) = TcpListener::bind(address).await else { return };
            listener = Some(again);
        }
        applying.send_replace(number);
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            Some(client) = next_client(listener.as_ref()) => {
                line.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(carry(client, target, line.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `None` when nobody listens, or the client has gone already.
async fn next_client(listener: Option<&TcpListener>) -> Option<TcpStream> {
    Some(listener?.accept().await.ok()?.0)
}

async fn carry(client: TcpStream, target: SocketAddr, line: Arc<Line>) {
    let mut severed = line.severed.subscribe();
    let Ok(upstream) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (mut client_read, mut client_write) = client.into_split();
    let (mut upstream_read, mut upstream_write) = upstream.into_split();
    let ended = {
        let up = one_way(&mut client_read, &mut upstream_write, &line, &line.to_target);
        let down = one_way(&mut upstream_read, &mut client_write, &line, &line.from_target);
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.map(|_| ()),
            _ = severed.changed() => Err(severed.borrow().unwrap_or(Cut::Fin)),
        }
    };
    drop((upstream_read, upstream_write));
    match ended {
        Ok(()) => {}
        Err(Cut::Reset) => {
            let _ = client_write.as_ref().set_zero_linger();
            // Dropped as it is, the half would say FIN first.
            client_write.forget();
        }
        Err(Cut::Fin) => {
            // Closing with unread input would send RST: the client's last words are read to their end.
            let _ = client_write.shutdown().await;
            let _ = tokio::io::copy(&mut client_read, &mut tokio::io::sink()).await;
        }
    }
}

/// Ends with `Ok` at the end of the stream, which is passed on; a broken connection is passed on as a reset.
async fn one_way(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    line: &Line,
    direction: &Direction,
) -> Result<(), Cut> {
    let (entering, leaving) = mpsc::channel(LINE_CHUNKS);
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await.map_err(|_| Cut::Reset)?;
            chunk.truncate(length);
            let due = Instant::now() + line.faults.borrow().1.latency;
            if length == 0 || entering.send((due, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::try_join!(read, write(leaving, to, line, direction)).map(|_| ())
}

async fn write(
    mut leaving: mpsc::Receiver<(Instant, Vec<u8>)>,
    to: &mut OwnedWriteHalf,
    line: &Line,
    direction: &Direction,
) -> Result<(), Cut> {
    let mut written = 0;
    let mut faults = line.faults.subscribe();
    while let Some((due, mut chunk)) = leaving.recv().await {
        tokio::time::sleep_until(due).await;
        // Fails only when the sender is gone, and the line is held here.
        let _ = faults.wait_for(|(_, faults)| !faults.black_hole).await;
        let now = faults.borrow().1;
        if let Some(bytes_per_second) = now.bytes_per_second {
            direction.pace.pass(chunk.len(), bytes_per_second).await;
        }
        let to_client = std::ptr::eq(direction, &line.from_target);
        if let Some(every) = now.flip_every.filter(|_| to_client) {
            line.flipped.fetch_add(flip(&mut chunk, written, every), Ordering::Relaxed);
        }
        let cut = now.cut_after.filter(|_| to_client);
        if let Some((after, _)) = cut {
            chunk.truncate(usize::try_from(after.saturating_sub(written)).unwrap_or(usize::MAX));
        }
        to.write_all(&chunk).await.map_err(|_| Cut::Reset)?;
        written += chunk.len() as u64;
        direction.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if let Some((after, how)) = cut
            && written >= after
        {
            return Err(how);
        }
    }
    to.shutdown().await.map_err(|_| Cut::Reset)
}

/// How many bytes were flipped of a chunk that is at `offset` of its connection.
fn flip(chunk: &mut [u8], offset: u64, every: u64) -> u64 {
    let first = offset.max(1).next_multiple_of(every) - offset;
    let mut flipped = 0;
    for byte in chunk.iter_mut().skip(usize::try_from(first).unwrap_or(usize::MAX)).step_by(every as usize) {
        *byte ^= 0xff;
        flipped += 1;
    }
    flipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random_bytes;
    use crate::content::Content;
    use crate::origin::FakeOrigin;

    const LENGTH: usize = 300_000;

    async fn behind_proxy() -> (FakeOrigin, FaultProxy) {
        let origin = FakeOrigin::start().await.unwrap();
        origin.put("x", Content::new(random_bytes(1, LENGTH)));
        let proxy = FaultProxy::start(origin.address()).await.unwrap();
        (origin, proxy)
    }

    async fn get(proxy: &FaultProxy) -> reqwest::Result<bytes::Bytes> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("{}/x", proxy.base_url())).send().await?.bytes().await
    }

    #[tokio::test]
    async fn without_faults_everything_passes_and_is_counted() {
        let (_origin, proxy) = behind_proxy().await;
        assert_eq!(get(&proxy).await.unwrap(), random_bytes(1, LENGTH));
        let stats = proxy.stats();
        assert_eq!(stats.connections, 1);
        assert!(stats.bytes_from_target > LENGTH as u64 && stats.bytes_to_target > 10, "{stats:?}");
    }

    #[tokio::test]
    async fn a_cut_line_carries_exactly_so_many_bytes() {
        let (_origin, proxy) = behind_proxy().await;
        for how in [Cut::Fin, Cut::Reset] {
            let before = proxy.stats().bytes_from_target;
            proxy.set(Faults { cut_after: Some((100_000, how)), ..Faults::default() }).await.unwrap();
            let error = format!("{:?}", get(&proxy).await.unwrap_err());
            assert_eq!(proxy.stats().bytes_from_target - before, 100_000);
            assert_eq!(error.contains("ConnectionReset"), how == Cut::Reset, "{error}");
        }
    }

    #[tokio::test]
    async fn a_wrong_line_carries_as_many_bytes_and_not_the_same() {
        let (_origin, proxy) = behind_proxy().await;
        proxy.set(Faults { flip_every: Some(70_000), ..Faults::default() }).await.unwrap();
        let (got, right) = (get(&proxy).await.unwrap(), random_bytes(1, LENGTH));
        assert_eq!(got.len(), right.len());
        assert_eq!(got.iter().zip(&right).filter(|(got, right)| got != right).count(), 4);
        assert_eq!(proxy.stats().bytes_flipped, 4);
    }

    #[tokio::test]
    async fn refused_is_refused_until_it_is_not() {
        let (_origin, proxy) = behind_proxy().await;
        proxy.set(Faults { refuse: true, ..Faults::default() }).await.unwrap();
        let error = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        proxy.set(Faults::default()).await.unwrap();
        assert_eq!(get(&proxy).await.unwrap().len(), LENGTH);
    }

    #[tokio::test]
    async fn a_black_hole_is_silent_and_gives_everything_back() {
        let (origin, proxy) = behind_proxy().await;
        proxy.set(Faults { black_hole: true, ..Faults::default() }).await.unwrap();
        let mut asking = std::pin::pin!(get(&proxy));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut asking).await.is_err());
        assert_eq!(origin.stats("x").requests, 0);
        proxy.set(Faults::default()).await.unwrap();
        assert_eq!(asking.await.unwrap().len(), LENGTH);
    }

    #[tokio::test]
    async fn latency_and_bandwidth_take_their_time() {
        let (_origin, proxy) = behind_proxy().await;
        let faults = Faults { latency: Duration::from_millis(50), ..Faults::default() };
        proxy.set(Faults { bytes_per_second: Some(3_000_000), ..faults }).await.unwrap();
        let start = Instant::now();
        get(&proxy).await.unwrap();
        assert!(start.elapsed() > Duration::from_millis(190), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn severing_ends_what_is_on_its_way() {
        let (origin, proxy) = behind_proxy().await;
        origin.change("x", |content| content.hold_at(1000));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut response = client.get(format!("{}/x", proxy.base_url())).send().await.unwrap();
        response.chunk().await.unwrap();
        proxy.sever(Cut::Reset);
        assert!(format!("{:?}", response.chunk().await.unwrap_err()).contains("ConnectionReset"));
    }
}
