//! The byte side of a session: messages cut out of a stream, and written one after the other, by a task of its own.

use std::io;
use std::sync::Arc;

use ringmail_model::pdp::Framer;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::limits::{ASK_ALIVE_EVERY, LAST_WORDS_WITHIN, READ_BYTES, UNANSWERED_FOR, WRITES};

/// Has the system find out soon that the other end's machine is gone (RFC 9293 section 3.8.3, RFC 5482): what is said to it
/// would be sent again for minutes, and a version that is being staged waits for its answer.
///
/// # Errors
/// When the system refuses an option.
pub(super) fn heed_death(stream: &TcpStream) -> io::Result<()> {
    let unanswered_ms = u32::try_from(UNANSWERED_FOR.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, unanswered_ms)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ASK_ALIVE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, ASK_ALIVE_EVERY)?;
    Ok(())
}

/// What a session's task says.
#[derive(Debug)]
pub(super) enum Said {
    /// A message came, without its length.
    Message(Vec<u8>),
    /// The connection is gone. Nothing follows.
    Gone,
}

/// The way to write in a session. When it is dropped, what waits is written and the connection closed.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Arc<[u8]>>);

impl Writer {
    /// Writes a message soon; false when too many wait, or the session is over.
    pub(super) fn write(&self, message: Arc<[u8]>) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// A writer, and what the session's task is given of it.
pub(super) fn writer() -> (Writer, mpsc::Receiver<Arc<[u8]>>) {
    let (sender, receiver) = mpsc::channel(WRITES);
    (Writer(sender), receiver)
}

/// Runs a session until either side ends it. `tell` hears of messages of at most `longest` bytes and waits while nobody
/// listens.
pub(super) async fn run<T: Send + 'static>(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    longest: usize,
    mut writes: mpsc::Receiver<Arc<[u8]>>,
    tell: mpsc::Sender<T>,
    wrap: impl Fn(Said) -> T + Send + 'static,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async move {
        while let Some(message) = writes.recv().await {
            if write.write_all(&message).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        // Dropped on this side: the last words are out, the other end hears of the end.
        drop(timeout(LAST_WORDS_WITHIN, write.shutdown()).await);
    };
    let reading = async {
        let mut framer = Framer::new(longest);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match read.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            framer.push(&buffer[..count]);
            loop {
                let message = match framer.next_message() {
                    Ok(Some(message)) => message.to_vec(),
                    Ok(None) => break,
                    // The core refuses what is no message.
                    Err(_too_long) => {
                        drop(tell.send(wrap(Said::Message(Vec::new()))).await);
                        return;
                    }
                };
                if tell.send(wrap(Said::Message(message))).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    // Whoever listened may be gone.
    drop(tell.send(wrap(Said::Gone)).await);
}

/// Reads one message of at most `longest` bytes, without its length.
pub(super) async fn read_one(
    stream: &mut (impl AsyncRead + Unpin),
    longest: usize,
) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    if length > longest {
        return Err(io::Error::other("a message is longer than any may be"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
