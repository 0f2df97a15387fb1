//! The receiving half of the UDP link: datagrams straight into the batch, cut at the segment size that GRO tells.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use ringmail_dataplane::{Batch, Neighbour};
use ringmail_packet::ip::Ecn;

use super::own::Own;
use super::peers::Peers;
use super::{UdpConfig, ecn, sys};
use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;

/// The socket that receives, and what it received too much of.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) socket: UdpSocket,
    pub(super) buffer_bytes: usize,
    /// What the kernel said when it was asked last.
    dropped: u32,
    own: Own,
    spill: Spill,
}

/// What came in and waits for the next batch: packets of `segment` bytes back to back, the last may be shorter.
struct Spill {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    segment: usize,
    ecn: Ecn,
    source: Option<Neighbour>,
}

/// Whether to ask the kernel for another datagram.
#[derive(PartialEq, Eq)]
enum Next {
    Datagram,
    Done,
}

impl Receiver {
    pub(super) fn open(config: &UdpConfig) -> io::Result<Receiver> {
        let socket = sys::receiver(config.local)?;
        Ok(Receiver {
            buffer_bytes: sys::set_receive_buffer(&socket, config.receive_buffer_bytes)?,
            socket: socket.into(),
            dropped: 0,
            own: Own::of(config.local),
            spill: Spill {
                bytes: vec![0; limits::GRO_BUFFER_BYTES].into_boxed_slice(),
                start: 0,
                end: 0,
                segment: 1,
                ecn: Ecn::NotEct,
                source: None,
            },
        })
    }

    pub(super) fn receive(
        &mut self,
        batch: &mut Batch,
        peers: &mut Peers,
        counters: &LinkCounters,
    ) -> io::Result<usize> {
        batch.clear();
        if batch.buffer().len() < limits::GRO_BUFFER_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.spill.hand_over(batch);
        for _ in 0..limits::RECEIVE_CALLS_MAX {
            if batch.len() >= limits::RECEIVE_MORE_BELOW_PACKETS || !self.spill.is_empty() {
                break;
            }
            match self.receive_datagram(batch, peers, counters) {
                Ok(Next::Datagram) => {}
                Ok(Next::Done) => break,
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if !batch.is_empty() {
            let bytes: usize = (0..batch.len()).map(|index| batch.range(index).len()).sum();
            counters.add(C::ReceivedPackets, batch.len() as u64);
            counters.add(C::ReceivedBytes, bytes as u64);
        }
        Ok(batch.len())
    }

    /// The kernel's own count goes round at 2^32.
    pub(super) fn count_kernel_drops(&mut self, counters: &LinkCounters) {
        // A socket of an old kernel that does not say leaves the counter as it is.
        if let Ok(dropped) = sys::dropped(self.socket.as_fd()) {
            counters.add(C::ReceivedKernelDrops, u64::from(dropped.wrapping_sub(self.dropped)));
            self.dropped = dropped;
        }
    }

    /// Reads one datagram behind what is in the batch.
    fn receive_datagram(
        &mut self,
        batch: &mut Batch,
        peers: &mut Peers,
        counters: &LinkCounters,
    ) -> io::Result<Next> {
        let filled = if batch.is_empty() { 0 } else { batch.range(batch.len() - 1).end };
        let free = &mut batch.buffer_mut()[filled..];
        if free.len() < limits::GRO_BUFFER_BYTES {
            return Ok(Next::Done);
        }
        counters.add(C::ReceiveCalls, 1);
        let received = match sys::receive(self.socket.as_fd(), free) {
            Ok(received) => received,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Next::Done),
                    io::ErrorKind::Interrupted => Ok(Next::Datagram),
                    _ => {
                        counters.add(C::ReceiveErrors, 1);
                        Err(error)
                    }
                };
            }
        };
        if received.truncated || received.len == 0 {
            counters.add(C::ReceivedBad, 1);
            return Ok(Next::Datagram);
        }
        if !self.own.allows(received.interface) {
            let packets = received.len.div_ceil(received.segment) as u64;
            counters.add(C::ReceivedElsewhere, packets);
            return Ok(Next::Datagram);
        }
        let source = received.from.and_then(|from| peers.neighbour(from.ip()));
        let packets = received.len.div_ceil(received.segment) as u64;
        if packets > 1 {
            counters.add(C::ReceivedSupers, 1);
            counters.add(C::ReceivedInSupers, packets);
        }
        if source.is_none() {
            counters.add(C::ReceivedFromUnknown, packets);
        }
        let end = filled + received.len;
        let mut start = filled;
        if batch.is_empty() || batch.source() == source {
            batch.set_source(source);
            start = declare_all(batch, start, end, received.segment, received.ecn);
            if start == end {
                return Ok(Next::Datagram);
            }
        }
        counters.add(C::ReceivedSpilled, (end - start).div_ceil(received.segment) as u64);
        self.spill.keep(&batch.buffer()[start..end], received.segment, received.ecn, source);
        Ok(Next::Done)
    }
}

impl Spill {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn keep(&mut self, bytes: &[u8], segment: usize, ecn: Ecn, source: Option<Neighbour>) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        (self.start, self.end) = (0, bytes.len());
        (self.segment, self.ecn, self.source) = (segment, ecn, source);
    }

    /// Moves what fits into the empty batch.
    fn hand_over(&mut self, batch: &mut Batch) {
        if self.is_empty() {
            return;
        }
        let len = self.end - self.start;
        batch.buffer_mut()[..len].copy_from_slice(&self.bytes[self.start..self.end]);
        batch.set_source(self.source);
        self.start += declare_all(batch, 0, len, self.segment, self.ecn);
    }
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spill({} bytes of {})", self.end - self.start, self.segment)
    }
}

/// Declares `buffer[start..end]` as packets of `segment` bytes until the batch is full, all with this field on their
/// datagram; returns where it stopped.
fn declare_all(
    batch: &mut Batch,
    mut start: usize,
    end: usize,
    segment: usize,
    outside: Ecn,
) -> usize {
    let first = batch.len();
    while start < end {
        let len = segment.min(end - start);
        if batch.declare(start, len, 0, 0).is_err() {
            break;
        }
        start += len;
    }
    if outside == Ecn::Ce {
        (first..batch.len()).for_each(|index| ecn::congested(batch.packet_mut(index)));
    }
    start
}
