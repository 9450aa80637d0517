//! A SOCKS5 proxy (RFC 1928, CONNECT only) with or without a password (RFC 1929).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const VERSION: u8 = 5;
const NO_PASSWORD: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Runs until dropped; its connections end with it.
#[derive(Debug)]
pub struct SocksProxy {
    address: SocketAddr,
    connected: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

// === impl SocksProxy ===

impl SocksProxy {
    /// On 127.0.0.1, any free port; `user` is a name and a password.
    pub async fn start(user: Option<(&str, &str)>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let connected = Arc::new(AtomicU64::new(0));
        let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let server = tokio::spawn(accept(listener, user, connected.clone()));
        Ok(Self { address, connected, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections it has made for its clients.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for SocksProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, user: Option<(String, String)>, connected: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        let (user, connected) = (user.clone(), connected.clone());
        // A client that is refused notices by itself.
        connections.spawn(async move { drop(carry(client, user, &connected).await) });
    }
}

async fn carry(mut client: TcpStream, user: Option<(String, String)>, connected: &AtomicU64) -> anyhow::Result<()> {
    ensure!(client.read_u8().await? == VERSION, "not SOCKS5");
    let methods = read_text(&mut client).await?;
    let wanted = if user.is_some() { USER_PASSWORD } else { NO_PASSWORD };
    if !methods.contains(&wanted) {
        client.write_all(&[VERSION, NONE_ACCEPTABLE]).await?;
        bail!("the client offers {methods:?}");
    }
    client.write_all(&[VERSION, wanted]).await?;
    if let Some((name, password)) = user {
        ensure!(client.read_u8().await? == 1, "not RFC 1929");
        let given = (read_text(&mut client).await?, read_text(&mut client).await?);
        let right = given == (name.into_bytes(), password.into_bytes());
        client.write_all(&[1, u8::from(!right)]).await?;
        ensure!(right, "wrong password");
    }
    let mut target = connect(&mut client).await?;
    connected.fetch_add(1, Ordering::Relaxed);
    // Succeeded; the bound address is of no use to anybody.
    client.write_all(&[VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut target).await?;
    Ok(())
}

async fn connect(client: &mut TcpStream) -> anyhow::Result<TcpStream> {
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    ensure!(head[..2] == [VERSION, 1], "not CONNECT");
    let host = match head[3] {
        1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        3 => String::from_utf8(read_text(client).await?)?,
        4 => std::net::Ipv6Addr::from(client.read_u128().await?).to_string(),
        other => bail!("address type {other}"),
    };
    let port = client.read_u16().await?;
    Ok(TcpStream::connect((host, port)).await?)
}

/// One byte of length, and as many bytes.
async fn read_text(client: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut text = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut text).await?;
    Ok(text)
}
