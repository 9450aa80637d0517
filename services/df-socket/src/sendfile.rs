//! A TCP connection that sends slices of mappings as the files they stand for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Reads and writes as the socket does; only how mapped bytes leave is different.
#[derive(Debug)]
pub struct SendfileStream {
    socket: TcpStream,
    sent: metrics::Counter,
    /// The kernel sends whole segments only (`TCP_CORK`), until a flush.
    corked: bool,
}

// === impl SendfileStream ===

impl SendfileStream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, sent: metrics::counter!("dragonfly_sendfile_bytes_total"), corked: false }
    }

    #[cfg(not(target_os = "linux"))]
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    #[cfg(target_os = "linux")]
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        use crate::mapping::find;

        let Some(first) = bufs.iter().position(|buf| !buf.is_empty()) else { return Poll::Ready(Ok(0)) };
        let bufs = &bufs[first..];
        if let Some((file, offset)) = find(&bufs[0]) {
            self.cork(true)?;
            match self.poll_sendfile(cx, &*file, offset, bufs[0].len()) {
                Poll::Ready(Err(error)) if is_unsupported(&error) => {}
                sent => return sent,
            }
        } else if let Some(plain) = bufs.iter().position(|buf| find(buf).is_some()) {
            // Headers: packed together with the bytes of the file that follow.
            self.cork(true)?;
            return Pin::new(&mut self.socket).poll_write_vectored(cx, &bufs[..plain]);
        }
        // Nothing mapped; or a file that its file system cannot send: then the mapping is read.
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    #[cfg(target_os = "linux")]
    fn poll_sendfile(
        &mut self,
        cx: &mut Context<'_>,
        file: &dyn std::os::fd::AsFd,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.socket.poll_write_ready(cx))?;
            let mut offset = offset;
            let send = || Ok(rustix::fs::sendfile(&self.socket, file.as_fd(), Some(&mut offset), len)?);
            match self.socket.try_io(tokio::io::Interest::WRITABLE, send) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Ok(0) => {
                    let why = "a file is shorter than what was to be sent of it";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
                }
                Ok(sent) => {
                    self.sent.increment(sent as u64);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Else each acknowledgement that comes lets go of whatever has been queued by then: a fifth more segments.
    #[cfg(target_os = "linux")]
    fn cork(&mut self, corked: bool) -> io::Result<()> {
        if self.corked != corked {
            rustix::net::sockopt::set_tcp_cork(&self.socket, corked)?;
            self.corked = corked;
        }
        Ok(())
    }
}

/// `sendfile(2)`: the file does not support it.
#[cfg(target_os = "linux")]
fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}

impl AsyncRead for SendfileStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        #[cfg(target_os = "linux")]
        me.cork(false)?;
        Pin::new(&mut me.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
