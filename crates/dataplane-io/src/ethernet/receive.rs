//! The receiving half of the Ethernet link: frames straight into the batch; those of another neighbour wait for theirs.

use std::fmt;
use std::io;
use std::ops::Range;

use ringmail_dataplane::{BATCH_PACKETS, Batch, Neighbour};
use ringmail_packet::ethernet;

use super::peers::Peers;
use crate::counters::{LinkCounter as C, LinkCounters};
use crate::packet::{PacketSocket, Place, Room};

/// Frames are read in place, but a batch has packets of one neighbour only.
const ROOM: Room = Room { head_bytes: 0, tail_bytes: 0 };

/// Packets that came between those of another neighbour, in the order of arrival.
pub(super) struct Spill {
    bytes: Box<[u8]>,
    packets: [(Range<usize>, Option<Neighbour>); BATCH_PACKETS],
    len: usize,
    filled: usize,
}

impl Spill {
    pub(super) fn new(frame_bytes: usize) -> Spill {
        Spill {
            bytes: vec![0; BATCH_PACKETS * frame_bytes].into_boxed_slice(),
            packets: [const { (0..0, None) }; BATCH_PACKETS],
            len: 0,
            filled: 0,
        }
    }

    fn keep(&mut self, packet: &[u8], source: Option<Neighbour>) -> bool {
        let range = self.filled..self.filled + packet.len();
        let (Some(room), true) = (self.bytes.get_mut(range.clone()), self.len < BATCH_PACKETS)
        else {
            return false;
        };
        room.copy_from_slice(packet);
        self.filled = range.end;
        self.packets[self.len] = (range, source);
        self.len += 1;
        true
    }

    /// Moves the packets of whoever comes first into the empty batch; those of others stay.
    fn hand_over(&mut self, batch: &mut Batch) {
        if self.len == 0 {
            return;
        }
        let source = self.packets[0].1;
        batch.set_source(source);
        let (mut left, mut full) = (0, false);
        for index in 0..self.len {
            let (range, from) = self.packets[index].clone();
            if from == source && !full {
                full = batch.push_copy(0, &self.bytes[range.clone()], 0).is_err();
            }
            if from != source || full {
                self.packets[left] = (range, from);
                left += 1;
            }
        }
        self.len = left;
        if left == 0 {
            self.filled = 0;
        }
    }
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spill({} packets)", self.len)
    }
}

/// Fills the batch from what is left of the last read, or else from the socket.
pub(super) fn receive(
    socket: &mut PacketSocket,
    spill: &mut Spill,
    peers: &mut Peers,
    counters: &LinkCounters,
    batch: &mut Batch,
) -> io::Result<usize> {
    batch.clear();
    if batch.buffer().len() < socket.frame_bytes() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    spill.hand_over(batch);
    if batch.is_empty() {
        let (mut unknown, mut spilled) = (0, 0);
        socket.receive_each(batch, ROOM, |batch, Place { start, end, ceiling }| {
            let frame = ethernet::Packet::new_unchecked(&batch.buffer()[start..end]);
            let source = peers.neighbour(frame.src_addr());
            unknown += u64::from(source.is_none());
            let start = start + ethernet::HEADER_LEN_BYTES;
            if batch.is_empty() {
                batch.set_source(source);
            }
            if batch.source() == source {
                let (head, tail) = (ethernet::HEADER_LEN_BYTES, ceiling - end);
                return batch.declare(start, end - start, head, tail).is_ok();
            }
            spilled += 1;
            spill.keep(&batch.buffer()[start..end], source)
        })?;
        if unknown > 0 {
            counters.add(C::ReceivedFromUnknown, unknown);
        }
        if spilled > 0 {
            counters.add(C::ReceivedSpilled, spilled);
        }
    }
    if !batch.is_empty() {
        let bytes: usize = (0..batch.len()).map(|index| batch.range(index).len()).sum();
        counters.add(C::ReceivedPackets, batch.len() as u64);
        counters.add(C::ReceivedBytes, bytes as u64);
    }
    Ok(batch.len())
}
