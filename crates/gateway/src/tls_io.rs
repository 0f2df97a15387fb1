//! A client connection after its handshake, as hyper reads and writes it.
//!
//! What hyper writes is sealed into full records (RFC 8446 section 5.1) and sent when its connection
//! has nothing more to do: hyper flushes after every HTTP/2 frame, which would be a system call and
//! a record of 9 bytes each time. The connection's driver therefore calls [`ClientIo::flush`] after
//! each poll.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;

use crate::activity::Activity;
use crate::chunks::{Chunks, keep_rest};
use crate::client_trust::ClientCheck;
use crate::limits::{TLS_RECEIVE_BYTES, TLS_SEND_BYTES, ms};

/// The plaintext of a full record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// A handle on the connection: one is hyper's, one its driver's.
#[derive(Clone)]
pub(crate) struct ClientIo(Arc<Mutex<Inner>>);

struct Inner {
    tcp: TcpStream,
    tls: ServerConnection,
    /// Ciphertext that was read and not yet given to rustls, from `taken` on.
    received: Vec<u8>,
    taken: usize,
    /// Plaintext that waits for a full record or a flush.
    partial: Vec<u8>,
    activity: Arc<Activity>,
    eof: bool,
    truncated: bool,
    /// Whether bytes pass unread: flushed when told, closed one way at a time.
    passing: bool,
    closing: Closing,
    linger_ms: u64,
}

enum Closing {
    No,
    Alerted,
    HalfClosed,
    Lingering(Pin<Box<Sleep>>),
}

impl ClientIo {
    pub(crate) fn new(
        tcp: TcpStream,
        tls: ServerConnection,
        activity: Arc<Activity>,
        linger_ms: u64,
    ) -> ClientIo {
        let mut tls = tls;
        tls.set_buffer_limit(Some(TLS_SEND_BYTES));
        ClientIo(Arc::new(Mutex::new(Inner {
            tcp,
            tls,
            received: Vec::new(),
            taken: 0,
            partial: Vec::new(),
            activity,
            eof: false,
            truncated: false,
            passing: false,
            closing: Closing::No,
            linger_ms,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        match self.0.lock() {
            Ok(inner) => inner,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// From now on bytes pass unread: a flush sends, and a shutdown says our last word while the client's may still
    /// come (RFC 8446 section 6.1).
    pub(crate) fn pass(&self) {
        self.lock().passing = true;
    }

    /// Whether the client's certificate is revoked now.
    pub(crate) fn is_revoked(&self, check: &ClientCheck) -> bool {
        self.lock().tls.peer_certificates().is_some_and(|chain| check.revokes(chain))
    }

    /// Whether the client's side ended without a close of TLS.
    pub(crate) fn is_truncated(&self) -> bool {
        self.lock().truncated
    }

    /// Sends what hyper wrote; what the socket does not take goes when it does.
    pub(crate) fn flush(&self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.lock().poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}

impl Inner {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.partial.is_empty() {
            let sealed = self.tls.writer().write(&self.partial)?;
            self.partial.drain(..sealed);
            if !self.partial.is_empty() {
                ready!(self.poll_send(cx))?;
            }
        }
        self.poll_send(cx)
    }

    /// Sends ciphertext until there is none.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut socket = Socket { tcp: &mut self.tcp, cx };
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let ended = self.drain(buf)?;
            let some = buf.filled().len() > before;
            if some {
                self.activity.received();
            }
            if ended || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.taken == self.received.len() {
                if some {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_receive(cx))?;
            }
            let mut unread = &self.received[self.taken..];
            self.taken += self.tls.read_tls(&mut unread)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says so; the connection is over whether it leaves or not.
                let _ = self.poll_send(cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    /// Moves plaintext into `buf`. True: there will be no more.
    fn drain(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        while buf.remaining() > 0 {
            match self.tls.reader().into_first_chunk() {
                Ok([]) => return Ok(true),
                Ok(plain) => {
                    let taken = plain.len().min(buf.remaining());
                    buf.put_slice(&plain[..taken]);
                    io::BufRead::consume(&mut self.tls.reader(), taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // No close_notify: no harm, since HTTP itself says where a request ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.truncated = true;
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.received.clear();
        self.taken = 0;
        self.received.reserve(TLS_RECEIVE_BYTES);
        match poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.received) {
            Poll::Ready(Ok(bytes)) => {
                self.eof = bytes == 0;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                // A quiet connection holds no buffer.
                self.received = Vec::new();
                Poll::Pending
            }
        }
    }

    /// Takes plaintext in; full records are sealed at once, the rest waits in `partial`.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.partial.len() + offered < RECORD_BYTES {
            bufs.iter().for_each(|buf| self.partial.extend_from_slice(buf));
            return Poll::Ready(Ok(offered));
        }
        let whole = self.partial.len() + offered;
        let full = whole - whole % RECORD_BYTES;
        loop {
            let mut chunks = Chunks::new(&self.partial, bufs, full);
            let sealed = self.tls.writer().write_vectored(chunks.slices())?;
            if sealed == 0 {
                ready!(self.poll_send(cx))?;
                continue;
            }
            // rustls takes what fits under its limit, which may be less than was offered.
            let from_partial = sealed.min(self.partial.len());
            self.partial.drain(..from_partial);
            let mut taken = sealed - from_partial;
            if sealed == full {
                taken += keep_rest(&mut self.partial, bufs, taken);
            }
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            return self.poll_write(cx, bufs);
        }
    }

    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::No) {
            ready!(self.poll_flush(cx))?;
            self.tls.send_close_notify();
            self.closing = Closing::Alerted;
        }
        if matches!(self.closing, Closing::Alerted) {
            ready!(self.poll_flush(cx))?;
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
            self.closing = Closing::HalfClosed;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_half_close(cx))?;
        if matches!(self.closing, Closing::HalfClosed) {
            self.closing = Closing::Lingering(Box::pin(sleep(ms(self.linger_ms))));
        }
        // Closing a socket with unread bytes resets the connection, and the peer may lose our last
        // words (RFC 9112 section 9.6): read on until it closes, too.
        while !self.eof {
            if let Closing::Lingering(limit) = &mut self.closing
                && limit.as_mut().poll(cx).is_ready()
            {
                break;
            }
            if ready!(self.poll_receive(cx)).is_err() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The socket as the blocking-style writer that rustls wants.
struct Socket<'a, 'b, 'c> {
    tcp: &'a mut TcpStream,
    cx: &'b mut Context<'c>,
}

fn would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Socket<'_, '_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        would_block(Pin::new(&mut *self.tcp).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        would_block(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Leaves the sending to the driver, where there is one.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if inner.passing { inner.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if inner.passing { inner.poll_half_close(cx) } else { inner.poll_shutdown(cx) }
    }
}
