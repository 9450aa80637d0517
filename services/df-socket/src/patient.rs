//! A TCP connection that is read when enough has come, or a moment has passed.
//!
//! A shaped link delivers a few packets at a time, to several connections at once. Woken by each of them, a receiver
//! spends more on waking than on the bytes; woken by every 128 KiB, almost nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What has come is read after this long, however little it is.
const PATIENCE: Duration = Duration::from_millis(10);

/// How many bytes are worth waking up for, from now on; the rest of an answer, when it is less. Shared with its stream.
#[derive(Clone, Debug)]
pub struct Worth(Arc<AtomicU32>);

/// Writes as the socket does; only when it is read is different.
#[derive(Debug)]
pub struct PatientStream {
    socket: TcpStream,
    worth: Worth,
    /// As the kernel has it.
    low_water: u32,
    alarm: Option<Pin<Box<Sleep>>>,
    /// The alarm is set, for what is waited for now.
    alarmed: bool,
}

// === impl Worth ===

impl Worth {
    /// Anything is.
    const ANY: u32 = 1;

    pub fn set(&self, bytes: u64) {
        self.0.store(u32::try_from(bytes).unwrap_or(u32::MAX).max(Self::ANY), Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Worth {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(Self::ANY)))
    }
}

// === impl PatientStream ===

impl PatientStream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, worth: Worth::default(), low_water: Worth::ANY, alarm: None, alarmed: false }
    }

    pub fn worth(&self) -> Worth {
        self.worth.clone()
    }

    /// Where the kernel does not know how, it wakes for everything.
    fn tell_kernel(&mut self) {
        let wanted = self.worth.get();
        if wanted != self.low_water {
            self.low_water = wanted;
            set_low_water(&self.socket, wanted);
        }
    }

    /// Nothing that the kernel would wake for: what there is all the same, once the patience is over.
    fn poll_little(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        if !self.alarmed {
            alarm.as_mut().reset(Instant::now() + PATIENCE);
            self.alarmed = true;
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            // There is less than what the kernel would wake for.
            let most = buf.remaining().min(self.low_water as usize);
            match rustix::net::recv(&self.socket, buf.initialize_unfilled_to(most), rustix::net::RecvFlags::DONTWAIT) {
                Ok((read, _)) => {
                    buf.advance(read);
                    self.alarmed = false;
                    return Poll::Ready(Ok(()));
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    alarm.as_mut().reset(Instant::now() + PATIENCE);
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe binding of SO_RCVLOWAT exists")]
fn set_low_water(socket: &TcpStream, bytes: u32) {
    use std::os::fd::AsRawFd as _;

    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the pointer is to a c_int, as this option wants it,
    // of the length that is told, and is not kept. A refusal changes nothing, and costs only wake-ups.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), length);
    }
}

#[cfg(not(target_os = "linux"))]
fn set_low_water(_: &TcpStream, _: u32) {}

impl AsyncRead for PatientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.tell_kernel();
        match Pin::new(&mut me.socket).poll_read(cx, buf) {
            Poll::Ready(read) => {
                me.alarmed = false;
                Poll::Ready(read)
            }
            Poll::Pending if me.low_water == Worth::ANY => Poll::Pending,
            Poll::Pending => me.poll_little(cx, buf),
        }
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (PatientStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (reading, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (PatientStream::new(reading.unwrap()), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_worth_it_comes_at_once_and_little_comes_too() {
        let (mut reading, mut writing) = pair().await;
        let worth = reading.worth();
        let mut buffer = vec![0; 256 * 1024];

        worth.set(50_000);
        writing.write_all(&[1; 20_000]).await.unwrap();
        assert_eq!(reading.read(&mut buffer).await.unwrap(), 20_000, "all that came within the patience");

        let gathered = tokio::spawn(async move {
            let read = reading.read(&mut buffer).await.unwrap();
            (reading, buffer, read)
        });
        for _ in 0..6 {
            writing.write_all(&[2; 10_000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (mut reading, mut buffer, read) = gathered.await.unwrap();
        assert!(read > 0 && buffer[..read].iter().all(|byte| *byte == 2));

        worth.set(1 << 30);
        drop(writing);
        let mut rest = read;
        while rest < 60_000 {
            rest += reading.read(&mut buffer).await.unwrap();
        }
        assert_eq!(reading.read(&mut buffer).await.unwrap(), 0, "an end is no matter of worth");
    }
}
