//! The byte side of sessions: messages cut out of streams, and written without waiting for a slow reader.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ringmail_dataplane::sap::{Framer, SessionId, Transmit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::limits::{ENDING_SESSIONS, LAST_WORDS_WITHIN, READ_BYTES, WRITE_BUFFER_BYTES};
use super::tls::Stream;

/// All sessions with one neighbour: those in use, and those that still say their last words.
pub(super) struct Streams {
    open: Vec<Open>,
    ending: VecDeque<Ending>,
    buffer: Box<[u8; READ_BYTES]>,
}

struct Open {
    id: SessionId,
    stream: Stream,
    framer: Framer,
    writes: Writes,
}

struct Ending {
    stream: Stream,
    writes: Writes,
    until: Instant,
}

/// Bytes on their way out.
#[derive(Default)]
struct Writes {
    bytes: VecDeque<u8>,
    flushed: bool,
}

/// What came of a session.
pub(super) enum Input {
    /// Bytes came: ask [`Streams::next_message`].
    Bytes(SessionId),
    /// The connection is gone.
    Gone(SessionId, Option<io::Error>),
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams { open: Vec::new(), ending: VecDeque::new(), buffer: Box::new([0; READ_BYTES]) }
    }

    pub(super) fn add(&mut self, id: SessionId, stream: Stream) {
        self.open.push(Open { id, stream, framer: Framer::new(), writes: Writes::default() });
    }

    pub(super) fn stream(&self, id: SessionId) -> Option<&Stream> {
        self.open.iter().find(|open| open.id == id).map(|open| &open.stream)
    }

    /// Sends a message as soon as the connection takes it.
    pub(super) fn send(&mut self, transmit: &Transmit) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == transmit.session) {
            open.writes.push(&transmit.bytes);
        }
    }

    /// The next message of a session, as bytes for the core. One whose length field no message has is passed on too, for
    /// the core to refuse.
    pub(super) fn next_message(&mut self, id: SessionId) -> Option<Vec<u8>> {
        let open = self.open.iter_mut().find(|open| open.id == id)?;
        match open.framer.next_message() {
            Ok(message) => message.map(<[u8]>::to_vec),
            Err(_too_long) => Some(Vec::new()),
        }
    }

    /// Lets a session go once its last words are sent.
    pub(super) fn end(&mut self, id: SessionId) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        let Open { stream, writes, .. } = self.open.swap_remove(at);
        self.ending.push_back(Ending { stream, writes, until: Instant::now() + LAST_WORDS_WITHIN });
        if self.ending.len() > ENDING_SESSIONS {
            self.ending.pop_front();
        }
    }

    /// When the oldest ending session has had its time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ending.front().map(|ending| ending.until)
    }

    /// Drops ending sessions whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.ending.retain(|ending| ending.until > now);
    }

    /// Writes what can be written and, if `read`, waits for what comes.
    pub(super) async fn next(&mut self, read: bool) -> Input {
        std::future::poll_fn(|cx| self.poll_next(cx, read)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Input> {
        self.ending.retain_mut(|ending| {
            let Ending { stream, writes, .. } = ending;
            let ended = match writes.poll(cx, stream) {
                Poll::Ready(Ok(())) => Pin::new(stream).poll_shutdown(cx).is_ready(),
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            };
            !ended
        });
        for open in &mut self.open {
            let id = open.id;
            if open.writes.bytes.len() > WRITE_BUFFER_BYTES {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "it does not read");
                return Poll::Ready(Input::Gone(id, Some(slow)));
            }
            if let Poll::Ready(Err(error)) = open.writes.poll(cx, &mut open.stream) {
                return Poll::Ready(Input::Gone(id, Some(error)));
            }
            if !read {
                continue;
            }
            let mut buffer = ReadBuf::new(&mut self.buffer[..]);
            match Pin::new(&mut open.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Input::Gone(id, Some(error))),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Input::Gone(id, None));
                }
                Poll::Ready(Ok(())) => {
                    open.framer.push(buffer.filled());
                    return Poll::Ready(Input::Bytes(id));
                }
            }
        }
        Poll::Pending
    }
}

impl Writes {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.flushed = false;
    }

    /// Ready when everything is written and flushed.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let (front, _) = self.bytes.as_slices();
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, front))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.drain(..written);
        }
        if !self.flushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
