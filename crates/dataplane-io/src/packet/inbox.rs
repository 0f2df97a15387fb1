//! Room for super-packets on their way from a packet socket: several a system call, each with its virtio header.

use std::array;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use super::sys::{self, Received};
use crate::limits;
use crate::tun::virtio::{self, VirtioHeader};

/// Super-packets that one system call brings.
const SUPERS: usize = limits::PACKET_SUPERS;

/// Bytes for each: a super-packet with its Ethernet header and a tag.
const BYTES_EACH: usize = limits::SUPER_PACKET_BYTES_MAX + 1 + 64;

/// What one system call brought, to be taken frame by frame.
pub struct Inbox {
    bytes: Box<[u8]>,
    headers: [[u8; virtio::HEADER_BYTES]; SUPERS],
    received: [Received; SUPERS],
    len: usize,
    next: usize,
}

/// One frame, or several in one.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the kernel says of it. Where a checksum begins counts from the Ethernet header on; see
    /// [`VirtioHeader::behind`].
    pub header: VirtioHeader,
    /// From the Ethernet header on. A tag that the frame had was taken off by the kernel.
    pub bytes: &'a [u8],
    /// Whether this machine sent it; such frames come only where they were asked for.
    pub outgoing: bool,
    /// Whether the frame was longer than there is room for.
    pub truncated: bool,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            bytes: vec![0; SUPERS * BYTES_EACH].into_boxed_slice(),
            headers: [[0; virtio::HEADER_BYTES]; SUPERS],
            received: [Received::default(); SUPERS],
            len: 0,
            next: 0,
        }
    }
}

impl Inbox {
    /// Whether every frame was taken.
    pub fn is_empty(&self) -> bool {
        self.next == self.len
    }

    /// Forgets what was not taken.
    pub fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// The next frame.
    pub fn take(&mut self) -> Option<Frame<'_>> {
        let at = self.next;
        let received = *self.received[..self.len].get(at)?;
        self.next += 1;
        let len = received.len.saturating_sub(virtio::HEADER_BYTES).min(BYTES_EACH);
        Some(Frame {
            header: VirtioHeader::parse(&self.headers[at]),
            bytes: &self.bytes[at * BYTES_EACH..][..len],
            outgoing: received.outgoing,
            truncated: received.truncated || received.len < virtio::HEADER_BYTES,
        })
    }

    /// Reads what is there, after the last frame was taken.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.clear();
        let mut chunks = self.bytes.chunks_exact_mut(BYTES_EACH);
        let mut headers = self.headers.iter_mut();
        let mut parts: [IoSliceMut<'_>; 2 * SUPERS] = array::from_fn(|index| {
            let part = if index % 2 == 0 {
                headers.next().map(|header| &mut header[..])
            } else {
                chunks.next()
            };
            IoSliceMut::new(part.unwrap_or_default())
        });
        self.len = sys::receive_many(socket, &mut parts, 2, &mut self.received)?;
        Ok(self.len)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} of {} frames)", self.len - self.next, self.len)
    }
}
