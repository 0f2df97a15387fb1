//! JSON objects over a stream, one a line, none longer than a limit; both halves survive being cancelled.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::MESSAGE_BYTES;

/// A line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// This side's fault on sending, the peer's on receiving.
    #[error("a message is longer than {MESSAGE_BYTES} bytes")]
    TooLong,
    /// The peer's fault on receiving.
    #[error("a message cannot be understood")]
    Json(#[from] serde_json::Error),
    /// The peer went away within a line.
    #[error("the connection ended within a message")]
    Truncated,
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct LineReader<R, M> {
    stream: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    searched: usize,
    message: PhantomData<fn() -> M>,
}

/// Writes lines.
#[derive(Debug)]
pub(crate) struct LineWriter<W, M> {
    stream: W,
    /// What was not written yet; a call that was cancelled leaves its rest to the next.
    buffer: BytesMut,
    message: PhantomData<fn(M)>,
}

impl<R: AsyncRead + Unpin, M: DeserializeOwned> LineReader<R, M> {
    pub(crate) fn new(stream: R) -> LineReader<R, M> {
        LineReader { stream, buffer: BytesMut::new(), searched: 0, message: PhantomData }
    }

    /// The next message; `None` once the peer has ended the stream between two.
    pub(crate) async fn next(&mut self) -> Result<Option<M>, LineError> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(found) = found {
                let line = self.buffer.split_to(self.searched + found + 1);
                self.searched = 0;
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() >= MESSAGE_BYTES {
                return Err(LineError::TooLong);
            }
            // Whatever arrives is in the buffer before anything else can happen: this may be cancelled.
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LineError::Truncated) };
            }
        }
    }
}

impl<R, M> LineReader<R, M> {
    /// The stream, for what is no line. Nothing more than the last line may have been read.
    pub(crate) fn into_stream(self) -> R {
        self.stream
    }

    /// What was read and is no line, and the stream that goes on.
    pub(crate) fn into_parts(self) -> (BytesMut, R) {
        (self.buffer, self.stream)
    }
}

impl<W, M> LineWriter<W, M> {
    /// The stream, for what is no line.
    pub(crate) fn into_stream(self) -> W {
        self.stream
    }
}

impl<W: AsyncWrite + Unpin, M: Serialize> LineWriter<W, M> {
    pub(crate) fn new(stream: W) -> LineWriter<W, M> {
        LineWriter { stream, buffer: BytesMut::new(), message: PhantomData }
    }

    /// Writes one message.
    pub(crate) async fn send(&mut self, message: &M) -> Result<(), LineError> {
        let line = serde_json::to_vec(message)?;
        if line.len() >= MESSAGE_BYTES {
            return Err(LineError::TooLong);
        }
        self.buffer.extend_from_slice(&line);
        self.buffer.extend_from_slice(b"\n");
        while !self.buffer.is_empty() {
            let written = self.stream.write(&self.buffer).await?;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.buffer.advance(written);
        }
        Ok(self.stream.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn reader(bytes: &[u8]) -> LineReader<&[u8], u32> {
        LineReader::new(bytes)
    }

    #[tokio::test]
    async fn messages_come_one_a_line() {
        let mut lines = reader(b"1\n22\n");
        assert_eq!(lines.next().await.unwrap(), Some(1));
        assert_eq!(lines.next().await.unwrap(), Some(22));
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_is_told_from_an_end() {
        assert!(matches!(reader(b"1").next().await, Err(LineError::Truncated)));
        assert!(matches!(reader(b"x\n").next().await, Err(LineError::Json(_))));
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_collected_for_ever() {
        let endless = tokio::io::repeat(b'1');
        let mut lines: LineReader<_, u32> = LineReader::new(endless);
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
        assert!(lines.buffer.len() <= 2 * MESSAGE_BYTES);
    }

    #[tokio::test]
    async fn a_read_that_was_cancelled_loses_nothing() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut lines: LineReader<_, u32> = LineReader::new(far);
        near.write_all(b"12").await.unwrap();
        tokio::select! {
            biased;
            _ = lines.next() => panic!("the line has not ended"),
            () = tokio::task::yield_now() => {}
        }
        near.write_all(b"34\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Some(1234));
    }

    #[tokio::test]
    async fn a_write_that_was_cancelled_is_finished_by_the_next() {
        let (near, far) = tokio::io::duplex(4);
        let mut writer: LineWriter<_, String> = LineWriter::new(near);
        let word = "a long word".to_owned();
        tokio::select! {
            biased;
            _ = writer.send(&word) => panic!("the pipe is too small for it"),
            () = tokio::task::yield_now() => {}
        }
        let read = tokio::spawn(async move {
            let mut lines: LineReader<_, String> = LineReader::new(far);
            (lines.next().await.unwrap(), lines.next().await.unwrap())
        });
        writer.send(&"another".to_owned()).await.unwrap();
        let (one, two) = read.await.unwrap();
        assert_eq!((one.as_deref(), two.as_deref()), (Some("a long word"), Some("another")));
    }
}
