//! The control channel: a Unix stream socket pair that carries messages of one type each way.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{AddressFamily, SocketType, sockopt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

pub use super::lines::LineError as ChannelError;
use super::lines::{LineReader, LineWriter};
use super::messages::{FromElement, ToElement};

/// One end of a channel that receives `In` and sends `Out`.
#[derive(Debug)]
pub struct Channel<In, Out> {
    receiver: Receiver<In>,
    sender: Sender<Out>,
}

/// The element's end.
pub type ControlChannel = Channel<ToElement, FromElement>;

/// The parent's end.
pub type ParentChannel = Channel<FromElement, ToElement>;

/// The receiving half.
#[derive(Debug)]
pub struct Receiver<In>(LineReader<OwnedReadHalf, In>);

/// The sending half.
#[derive(Debug)]
pub struct Sender<Out>(LineWriter<OwnedWriteHalf, Out>);

impl ControlChannel {
    /// Both ends of a new channel, for an element within this process.
    ///
    /// # Errors
    /// No file descriptor is left. Needs a tokio runtime.
    pub fn pair() -> io::Result<(ParentChannel, ControlChannel)> {
        let (parent, element) = UnixStream::pair()?;
        Ok((Channel::new(parent), Channel::new(element)))
    }

    /// The element's end, inherited from the parent process under this number. Called once, before anything opens a
    /// descriptor.
    ///
    /// # Errors
    /// The number is no descriptor of a connected Unix stream socket. Needs a tokio runtime.
    pub fn inherited(number: RawFd) -> io::Result<ControlChannel> {
        // SAFETY: F_GETFD changes nothing, whatever the number is.
        if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no descriptor was inherited"));
        }
        // SAFETY: it is open, and nothing else in this process owns it: the parent left it open for this call.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        let unix = sockopt::socket_domain(&fd)? == AddressFamily::UNIX;
        if !unix || sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix stream socket"));
        }
        // It was inherited on purpose, once; programs that the element starts have no business with it.
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Channel::from_std(fd.into())
    }
}

impl<In: DeserializeOwned, Out: Serialize> Channel<In, Out> {
    /// A channel over a connected stream.
    pub fn new(stream: UnixStream) -> Channel<In, Out> {
        let (read, write) = stream.into_split();
        let receiver = Receiver(LineReader::new(read));
        Channel { receiver, sender: Sender(LineWriter::new(write)) }
    }

    /// A channel over a connected stream of the standard library. Needs a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn from_std(stream: StdUnixStream) -> io::Result<Channel<In, Out>> {
        stream.set_nonblocking(true)?;
        Ok(Channel::new(UnixStream::from_std(stream)?))
    }

    /// See [`Receiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<In>, ChannelError> {
        self.receiver.recv().await
    }

    /// See [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        self.sender.send(message).await
    }

    /// Both halves, for tasks of their own.
    pub fn split(self) -> (Receiver<In>, Sender<Out>) {
        (self.receiver, self.sender)
    }
}

impl<In: DeserializeOwned> Receiver<In> {
    /// The next message; `None` once the other end is closed. May be cancelled: nothing is lost.
    ///
    /// # Errors
    /// The connection fails, or the other end sends what is no message.
    pub async fn recv(&mut self) -> Result<Option<In>, ChannelError> {
        match self.0.next().await {
            // A process that is killed leaves its end in this state.
            Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ok(None)
            }
            other => other,
        }
    }
}

impl<Out: Serialize> Sender<Out> {
    /// Sends a message. When cancelled, the next call finishes it first.
    ///
    /// # Errors
    /// The other end is closed, or the message is longer than [`crate::limits::MESSAGE_BYTES`].
    pub async fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        self.0.send(message).await
    }
}
