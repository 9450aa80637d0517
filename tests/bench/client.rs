//! The one client of all sides: HTTP/1.1 on a raw connection, with a large buffer, that throws away what it reads.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

const BUFFER_BYTES: usize = 1024 * 1024;
/// For the other side to say anything at all.
const SILENCE_BOUND: Duration = Duration::from_secs(120);

/// Keep-alive.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// An answer whose body has been read to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: u64,
    /// From the moment of asking.
    pub(crate) first_byte: Duration,
    pub(crate) total: Duration,
}

/// The head of an answer, and the part of its body that came with it.
struct Head {
    status: u16,
    length: u64,
    first_byte: Duration,
    /// In the buffer, behind the head.
    begun: std::ops::Range<usize>,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("nobody listens at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_BOUND))?;
        Ok(Self { stream, address, buffer: vec![0; BUFFER_BYTES] })
    }

    /// `headers` are whole lines; the answer must be a success.
    pub(crate) fn get(&mut self, target: &str, headers: &str) -> anyhow::Result<Fetched> {
        let asked = Instant::now();
        let head = self.ask("GET", target, headers, "")?;
        let mut left = head.length - head.begun.len() as u64;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).with_context(|| format!("{target} breaks off"))?;
            ensure!(read > 0, "{target} ends {left} bytes early");
            left = left.checked_sub(read as u64).context("more bytes than promised")?;
        }
        Ok(Fetched { bytes: head.length, first_byte: head.first_byte, total: asked.elapsed() })
    }

    /// Only the beginning; whatever follows is cut off with the connection.
    pub(crate) fn first_byte(mut self, target: &str) -> anyhow::Result<Duration> {
        Ok(self.ask("GET", target, "Connection: close\r\n", "")?.first_byte)
    }

    /// A small answer in JSON.
    pub(crate) fn json(&mut self, method: &str, target: &str, headers: &str, body: &str) -> anyhow::Result<Value> {
        self.send(method, target, headers, body)?;
        self.hear_json().with_context(|| format!("{method} {target}"))
    }

    /// The answer to what was sent.
    pub(crate) fn hear_json(&mut self) -> anyhow::Result<Value> {
        let head = self.hear(Instant::now())?;
        let mut text = self.buffer[head.begun].to_vec();
        let begun = text.len();
        text.resize(usize::try_from(head.length)?, 0);
        self.stream.read_exact(&mut text[begun..])?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whether an answer has begun to come. Looks, and does not wait.
    pub(crate) fn is_answered(&mut self) -> anyhow::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let come = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match come {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            come => Ok(come.map(|_| true)?),
        }
    }

    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &str) -> anyhow::Result<Head> {
        let asked = Instant::now();
        self.send(method, target, headers, body)?;
        self.hear(asked).with_context(|| format!("{method} {target}"))
    }

    pub(crate) fn send(&mut self, method: &str, target: &str, headers: &str, body: &str) -> anyhow::Result<()> {
        let length = match body {
            "" => String::new(),
            body => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
        };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n{body}", self.address);
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    fn hear(&mut self, asked: Instant) -> anyhow::Result<Head> {
        let head = self.head(asked)?;
        if !(200..300).contains(&head.status) {
            let said = String::from_utf8_lossy(&self.buffer[head.begun]).into_owned();
            bail!("{} answers with {}: {said}", self.address, head.status);
        }
        Ok(head)
    }

    fn head(&mut self, asked: Instant) -> anyhow::Result<Head> {
        let (mut filled, mut first_byte) = (0, Duration::ZERO);
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the connection ends instead of an answer");
            if filled == 0 {
                first_byte = asked.elapsed();
            }
            filled += read;
            let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..end])?;
            let status = text.split(' ').nth(1).unwrap_or_default().parse()?;
            let length = content_length(text).with_context(|| format!("an answer without a length:\n{text}"))?;
            return Ok(Head { status, length, first_byte, begun: end + 4..filled });
        }
    }
}

fn content_length(head: &str) -> Option<u64> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.trim().parse().ok()
}
