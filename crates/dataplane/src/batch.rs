//! A batch of packets over one buffer: received once, changed in place, sent from where it lies.
//!
//! A UDP receive with GRO leaves up to 64 packets back to back in the buffer; a hop pops, opens and seals each of them
//! without moving a byte, and the link sends them from there. A packet that must grow (the gateway's encapsulation) was
//! laid down with room around it.

use std::fmt;

use crate::verdict::{DropReason, Neighbour, Verdict};

/// The most packets that a batch holds.
pub const BATCH_PACKETS: usize = 64;

/// Bytes of a batch buffer that holds 64 packets of Ethernet size with room, or one GRO buffer of 64 KiB.
pub const BATCH_BYTES: usize = BATCH_PACKETS * 2048;

/// Up to 64 packets over one buffer.
pub struct Batch {
    bytes: Box<[u8]>,
    slots: [Slot; BATCH_PACKETS],
    len: usize,
    source: Option<Neighbour>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The packet is `bytes[start..end]`; it may grow to `bytes[floor..ceiling]`.
    start: u32,
    end: u32,
    floor: u32,
    ceiling: u32,
    verdict: Verdict,
}

/// The batch or its buffer has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch has no room left")]
pub struct Full;

impl Default for Batch {
    fn default() -> Batch {
        Batch::with_capacity_bytes(BATCH_BYTES)
    }
}

impl Batch {
    /// An empty batch over a buffer of this size. The one allocation in a batch's life.
    pub fn with_capacity_bytes(capacity_bytes: usize) -> Batch {
        let empty = Slot { start: 0, end: 0, floor: 0, ceiling: 0, verdict: Verdict::Pending };
        Batch {
            bytes: vec![0; capacity_bytes].into_boxed_slice(),
            slots: [empty; BATCH_PACKETS],
            len: 0,
            source: None,
        }
    }

    /// Forgets every packet; the buffer stays.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        self.source = None;
    }

    /// How many packets there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no packet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no further packet fits.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BATCH_PACKETS
    }

    /// The neighbour that the whole batch came from, where the link knew it.
    #[inline]
    pub fn source(&self) -> Option<Neighbour> {
        self.source
    }

    /// Says which neighbour the whole batch came from.
    pub fn set_source(&mut self, source: Option<Neighbour>) {
        self.source = source;
    }

    /// The whole buffer, for a driver to receive into before it declares packets with [`Batch::declare`].
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The whole buffer, for a driver that sends packets from where they lie.
    pub fn buffer(&self) -> &[u8] {
        &self.bytes
    }

    /// Declares the packet `buffer[start..start + len]`, with this room before and behind it.
    ///
    /// # Errors
    /// [`Full`] when 64 packets are there or the range leaves the buffer.
    #[inline]
    pub fn declare(
        &mut self,
        start: usize,
        len: usize,
        headroom: usize,
        tailroom: usize,
    ) -> Result<usize, Full> {
        let end = start.checked_add(len).ok_or(Full)?;
        let ceiling = end.checked_add(tailroom).ok_or(Full)?;
        if self.is_full() || headroom > start || ceiling > self.bytes.len() {
            return Err(Full);
        }
        let index = self.len;
        self.slots[index] = Slot {
            start: start as u32,
            end: end as u32,
            floor: (start - headroom) as u32,
            ceiling: ceiling as u32,
            verdict: Verdict::Pending,
        };
        self.len += 1;
        Ok(index)
    }

    /// Lays a packet of `len` bytes behind the last one, with this room around it, and returns its index.
    /// The bytes are whatever the buffer held.
    ///
    /// # Errors
    /// [`Full`] when there is no room for it.
    #[inline]
    pub fn push(&mut self, headroom: usize, len: usize, tailroom: usize) -> Result<usize, Full> {
        let floor = match self.len {
            0 => 0,
            n => self.slots[n - 1].ceiling as usize,
        };
        self.declare(floor + headroom, len, headroom, tailroom)
    }

    /// Copies a packet in behind the last one, with this room around it.
    ///
    /// # Errors
    /// [`Full`] when there is no room for it.
    pub fn push_copy(
        &mut self,
        headroom: usize,
        packet: &[u8],
        tailroom: usize,
    ) -> Result<usize, Full> {
        let index = self.push(headroom, packet.len(), tailroom)?;
        self.packet_mut(index).copy_from_slice(packet);
        Ok(index)
    }

    /// Takes the last packet out.
    pub fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// The bytes of packet `index`.
    #[inline]
    pub fn packet(&self, index: usize) -> &[u8] {
        let slot = &self.slots[..self.len][index];
        &self.bytes[slot.start as usize..slot.end as usize]
    }

    /// The bytes of packet `index`, to change in place.
    #[inline]
    pub fn packet_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = &self.slots[..self.len][index];
        &mut self.bytes[slot.start as usize..slot.end as usize]
    }

    /// Where packet `index` lies in the buffer.
    #[inline]
    pub fn range(&self, index: usize) -> std::ops::Range<usize> {
        let slot = &self.slots[..self.len][index];
        slot.start as usize..slot.end as usize
    }

    /// Bytes by which packet `index` can grow at the front and at the back.
    #[inline]
    pub fn room(&self, index: usize) -> (usize, usize) {
        let slot = &self.slots[..self.len][index];
        ((slot.start - slot.floor) as usize, (slot.ceiling - slot.end) as usize)
    }

    /// Takes `count` bytes off the front; they become headroom. False, and nothing changes, if there are fewer.
    #[must_use]
    #[inline]
    pub fn trim_front(&mut self, index: usize, count: usize) -> bool {
        let slot = &mut self.slots[..self.len][index];
        let fits = count <= (slot.end - slot.start) as usize;
        if fits {
            slot.start += count as u32;
        }
        fits
    }

    /// Takes `count` bytes off the back; they become tailroom. False, and nothing changes, if there are fewer.
    #[must_use]
    #[inline]
    pub fn trim_back(&mut self, index: usize, count: usize) -> bool {
        let slot = &mut self.slots[..self.len][index];
        let fits = count <= (slot.end - slot.start) as usize;
        if fits {
            slot.end -= count as u32;
        }
        fits
    }

    /// Grows into the headroom by `count` bytes. False, and nothing changes, if there is less.
    #[must_use]
    #[inline]
    pub fn grow_front(&mut self, index: usize, count: usize) -> bool {
        let slot = &mut self.slots[..self.len][index];
        let fits = count <= (slot.start - slot.floor) as usize;
        if fits {
            slot.start -= count as u32;
        }
        fits
    }

    /// Grows into the tailroom by `count` bytes. False, and nothing changes, if there is less.
    #[must_use]
    #[inline]
    pub fn grow_back(&mut self, index: usize, count: usize) -> bool {
        let slot = &mut self.slots[..self.len][index];
        let fits = count <= (slot.ceiling - slot.end) as usize;
        if fits {
            slot.end += count as u32;
        }
        fits
    }

    /// What becomes of packet `index`.
    #[inline]
    pub fn verdict(&self, index: usize) -> Verdict {
        self.slots[..self.len][index].verdict
    }

    /// Decides what becomes of packet `index`.
    #[inline]
    pub fn set_verdict(&mut self, index: usize, verdict: Verdict) {
        self.slots[..self.len][index].verdict = verdict;
    }

    /// Short for the verdict [`Verdict::Drop`].
    pub fn drop_packet(&mut self, index: usize, reason: DropReason) {
        self.set_verdict(index, Verdict::Drop(reason));
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdicts = self.slots[..self.len].iter().map(|s| (s.end - s.start, s.verdict));
        f.debug_struct("Batch")
            .field("source", &self.source)
            .field("packets", &verdicts.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_grows_and_shrinks_within_its_room() {
        let mut batch = Batch::with_capacity_bytes(64);
        let index = batch.push_copy(8, b"packet", 4).unwrap();
        assert_eq!(batch.room(index), (8, 4));
        assert!(batch.grow_front(index, 8) && !batch.grow_front(index, 1));
        assert!(batch.grow_back(index, 4) && !batch.grow_back(index, 1));
        assert!(batch.trim_front(index, 8) && batch.trim_back(index, 4));
        assert_eq!(batch.packet(index), b"packet");
        assert!(!batch.trim_front(index, 7));
    }

    #[test]
    fn neighbours_in_the_buffer_never_overlap() {
        let mut batch = Batch::with_capacity_bytes(64);
        let first = batch.push_copy(4, &[1; 8], 4).unwrap();
        let second = batch.push_copy(4, &[2; 8], 4).unwrap();
        assert!(batch.grow_back(first, 4) && batch.grow_front(second, 4));
        assert_eq!(batch.range(first).end, batch.range(second).start);
        assert_eq!(batch.push(0, 64, 0), Err(Full));
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn a_declared_range_outside_the_buffer_is_refused() {
        let mut batch = Batch::with_capacity_bytes(64);
        assert_eq!(batch.declare(60, 8, 0, 0), Err(Full));
        assert_eq!(batch.declare(4, 8, 5, 0), Err(Full));
        assert_eq!(batch.declare(usize::MAX, 8, 0, 0), Err(Full));
        assert!(batch.is_empty());
    }
}
