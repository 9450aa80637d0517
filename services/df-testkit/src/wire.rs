//! One server connection that can be made to end with FIN or with RST, and that tells when all bytes written so far
//! have left for the kernel. Without the latter a cut after N bytes would cut somewhere before.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// An orderly end (FIN): the reader sees the end of the stream.
    Fin,
    /// A reset (RST): the reader sees `ECONNRESET`, and may lose bytes it has not read yet.
    Reset,
}

/// The connection's side that the answers hold.
#[derive(Debug)]
pub(crate) struct WireControl {
    reset: AtomicBool,
    flushes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    control: Arc<WireControl>,
}

// === impl WireControl ===

impl WireControl {
    /// Returns when what was handed over before this call is in the kernel's hands.
    pub(crate) async fn flushed(&self) {
        let mut flushes = self.flushes.subscribe();
        // Fails only when the sender is gone, and `self` is the sender.
        let _ = flushes.changed().await;
    }

    /// The connection will end with RST, whenever it ends.
    pub(crate) fn reset_at_end(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<WireControl>) {
        let control = Arc::new(WireControl { reset: AtomicBool::new(false), flushes: watch::Sender::new(0) });
        (Self { stream, control: control.clone() }, control)
    }

    fn resets(&self) -> bool {
        self.control.reset.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.resets() {
            // A failure leaves the orderly end, and the test that wanted a reset tells.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // hyper flushes only after it has written all it holds.
        self.control.flushes.send_modify(|flushes| *flushes += 1);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.resets() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
