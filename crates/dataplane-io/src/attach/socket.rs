//! The way to an SFC-aware function: a Unix socket of kind SOCK_SEQPACKET (unix(7)), a message a packet
//! (docs/sfc-aware.md).
//!
//! The function connects; while none is connected, what is for it is refused. One is served at a time, and the next one
//! that waits when it hangs up.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringmail_dataplane::{Batch, DropReason, Side, Verdict};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with, sockopt,
};

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::{Link, Sent};

/// One end of the way to an SFC-aware function. The socket's file goes with it.
pub struct SocketLink {
    path: PathBuf,
    listener: OwnedFd,
    function: Option<OwnedFd>,
    /// Tells of both at once.
    readiness: OwnedFd,
    headroom_bytes: usize,
    tailroom_bytes: usize,
    counters: Arc<LinkCounters>,
}

impl SocketLink {
    /// Listens at `path`. A socket that an earlier run left there is replaced; anything else is not.
    ///
    /// # Errors
    /// What the system said: mostly that the path is too long, taken, or in a folder that is not there.
    pub fn listen(
        path: &Path,
        headroom_bytes: usize,
        tailroom_bytes: usize,
    ) -> io::Result<SocketLink> {
        use std::os::unix::fs::FileTypeExt;
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        listen(&listener, 4)?;
        let readiness = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&readiness, &listener, EventData::new_u64(0), EventFlags::IN)?;
        Ok(SocketLink {
            path: path.to_owned(),
            listener,
            function: None,
            readiness,
            headroom_bytes,
            tailroom_bytes,
            counters: Arc::default(),
        })
    }

    /// The function that is connected, or the next one that waits.
    fn function(&mut self) -> Option<&OwnedFd> {
        if self.function.is_none() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let accepted = accept_with(&self.listener, flags).ok()?;
            // A small buffer costs waits, no more.
            let _smaller =
                sockopt::set_socket_send_buffer_size(&accepted, limits::AWARE_BUFFER_BYTES);
            epoll::add(&self.readiness, &accepted, EventData::new_u64(1), EventFlags::IN).ok()?;
            self.function = Some(accepted);
        }
        self.function.as_ref()
    }
}

impl Link for SocketLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        let mut bytes = 0;
        let (headroom, tailroom) = (self.headroom_bytes, self.tailroom_bytes);
        while let Ok(slot) = batch.push(headroom, limits::AWARE_MESSAGE_BYTES_MAX, tailroom) {
            let received = match self.function() {
                Some(function) => {
                    recv(function, batch.packet_mut(slot), RecvFlags::TRUNC).map(|(_, len)| len)
                }
                None => Err(Errno::AGAIN),
            };
            self.counters.add(C::ReceiveCalls, 1);
            let len = match received {
                // Nobody sends empty messages: the function hung up.
                Ok(0) => {
                    self.function = None;
                    None
                }
                Ok(len) if len <= limits::AWARE_MESSAGE_BYTES_MAX => Some(len),
                Ok(_) => {
                    self.counters.add(C::ReceivedBad, 1);
                    batch.pop();
                    continue;
                }
                Err(Errno::AGAIN | Errno::INTR) => None,
                Err(_) => {
                    self.counters.add(C::ReceiveErrors, 1);
                    self.function = None;
                    None
                }
            };
            let Some(len) = len else {
                batch.pop();
                break;
            };
            let cut = batch.trim_back(slot, limits::AWARE_MESSAGE_BYTES_MAX - len);
            debug_assert!(cut);
            bytes += len;
        }
        self.counters.add(C::ReceivedPackets, batch.len() as u64);
        self.counters.add(C::ReceivedBytes, bytes as u64);
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        let (mut sent, mut bytes) = (Sent::default(), 0);
        for slot in 0..batch.len() {
            if !self.carries(batch.verdict(slot)) {
                continue;
            }
            let outcome = match self.function() {
                Some(function) => send(function, batch.packet(slot), SendFlags::NOSIGNAL),
                None => Err(Errno::NOTCONN),
            };
            self.counters.add(C::SendCalls, 1);
            match outcome {
                Ok(_) => {
                    sent.packets += 1;
                    bytes += batch.packet(slot).len();
                }
                Err(error) => {
                    if matches!(error, Errno::PIPE | Errno::CONNRESET) {
                        self.function = None;
                    }
                    sent.refused += 1;
                    batch.drop_packet(slot, DropReason::LinkRefused);
                }
            }
        }
        self.counters.add(C::SentPackets, sent.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, sent.refused as u64);
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Function(Side::In)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.readiness.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

impl Drop for SocketLink {
    fn drop(&mut self) {
        // Somebody may have taken it away before.
        let _gone = std::fs::remove_file(&self.path);
    }
}

impl fmt::Debug for SocketLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketLink")
            .field("path", &self.path)
            .field("connected", &self.function.is_some())
            .finish_non_exhaustive()
    }
}
