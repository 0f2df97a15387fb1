//! A connection to a service as hyper reads and writes it: counts what comes, holds what must live
//! as long as the socket, and gives its place back when it is closed.

use std::any::Any;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A place among the open connections.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Open {
    /// A place, unless `limit` are taken.
    pub(crate) fn one_of(count: &Arc<AtomicUsize>, limit: usize) -> Option<Open> {
        if count.fetch_add(1, Relaxed) < limit {
            Some(Open(Arc::clone(count)))
        } else {
            count.fetch_sub(1, Relaxed);
            None
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A socket, with TLS or without.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that is ready for its service's protocol, and what must live as long.
pub(crate) struct Opened {
    pub(crate) socket: Socket,
    pub(crate) guard: Box<dyn Any + Send + Sync>,
}

macro_rules! of_socket {
    ($socket:expr, $name:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain($name) => $call,
            Socket::Tls($name) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_socket!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_socket!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_socket!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_socket!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_socket!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

/// The fields are dropped in this order: the socket is closed before its guard goes.
pub(crate) struct ServiceIo {
    socket: Socket,
    _guard: Box<dyn Any + Send + Sync>,
    _open: Open,
    received: Arc<AtomicU64>,
}

impl ServiceIo {
    /// The connection, and the count of bytes that it received.
    pub(crate) fn new(leg: Opened, open: Open) -> (ServiceIo, Arc<AtomicU64>) {
        let received = Arc::new(AtomicU64::new(0));
        let Opened { socket, guard } = leg;
        let io = ServiceIo { socket, _guard: guard, _open: open, received: Arc::clone(&received) };
        (io, received)
    }
}

impl AsyncRead for ServiceIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut io.socket).poll_read(cx, buf))?;
        io.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServiceIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
