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

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What has come is read after this long, however little it is.
const PATIENCE: Duration = Duration::from_millis(10);

/// How many bytes are worth waking up for, from now on, and the most that one read takes; the rest of an answer, when it
/// is less. Shared with its stream.
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

    /// All that is worth it, and no more, once it has come.
    fn poll_worth(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(self.low_water as usize);
        ready!(self.socket.poll_read_ready(cx))?;
        // What a read has left says nothing about waking up for it.
        let enough = || match rustix::io::ioctl_fionread(&self.socket)? < most as u64 {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        };
        if self.socket.try_io(Interest::READABLE, enough).is_err() {
            // Still ready: the end, or an error.
            ready!(self.socket.poll_read_ready(cx))?;
        }
        self.poll_up_to(most, cx, buf)
    }

    #[allow(unsafe_code, reason = "part of a buffer is filled as if it were all of it")]
    fn poll_up_to(&mut self, most: usize, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut part = buf.take(most);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        // SAFETY: `part` is the first `most` bytes of what is unfilled in `buf`, and its first `read` bytes are filled.
        unsafe { buf.assume_init(read) };
        buf.advance(read);
        Poll::Ready(Ok(()))
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
        if me.low_water == Worth::ANY {
            return Pin::new(&mut me.socket).poll_read(cx, buf);
        }
        match me.poll_worth(cx, buf) {
            Poll::Ready(read) => {
                me.alarmed = false;
                Poll::Ready(read)
            }
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

    #[tokio::test]
    async fn one_read_takes_no_more_than_is_worth_it() {
        let (mut reading, mut writing) = pair().await;
        reading.worth().set(50_000);
        writing.write_all(&[1; 120_000]).await.unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut reads = Vec::new();
        while reads.iter().sum::<usize>() < 120_000 {
            reads.push(reading.read(&mut buffer).await.unwrap());
        }
        assert_eq!(reads, [50_000, 50_000, 20_000]);
        writing.write_all(&[1; 10]).await.unwrap();
        drop(writing);
        assert_eq!(reading.read(&mut buffer).await.unwrap(), 10, "the last, although it is little");
        assert_eq!(reading.read(&mut buffer).await.unwrap(), 0);
    }
}
