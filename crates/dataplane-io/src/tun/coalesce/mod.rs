//! Which delivered packets the kernel can take as one super-packet: the rules of its own GRO (`tcp4_gro_receive`,
//! `inet_gro_receive` and their IPv6 and UDP kin), without I/O.
//!
//! TCP packets join when they follow each other in sequence and agree in everything but length, identification, checksum,
//! FIN and PSH; a shorter packet, FIN or PSH is the last, CWR only the first. UDP packets join at equal length. Packets of
//! one flow stay in order; flows may overtake each other within a batch.

mod found;

use std::ops::Range;

use ringmail_dataplane::{BATCH_PACKETS, Batch, Verdict};

use self::found::{Found, pseudo_header_sum};
use super::virtio::{Gso, VirtioHeader};
use crate::checksum;
use crate::limits::OPEN_FLOWS_MAX;

/// The longest headers that a super-packet has: IPv6 and TCP with all options.
pub const HEADERS_BYTES_MAX: usize = 100;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
const NONE: u8 = u8::MAX;

/// What may be coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalesce {
    /// TCP packets.
    pub tcp: bool,
    /// UDP packets; the kernel must know USO.
    pub udp: bool,
    /// Whether checksums are verified first. A super-packet has none, so that a packet that came damaged, even before
    /// it entered the chain, would pass for good.
    pub verify: bool,
}

/// Packets that leave as one; or one packet as it is.
#[derive(Clone, Copy, Debug)]
pub struct Super {
    hash: u32,
    v6: bool,
    tcp: bool,
    /// Where the TCP or UDP header begins.
    l4: u8,
    /// Where the payload begins.
    header_len: u8,
    /// Payload of all packets but the last.
    segment: u16,
    payload: u32,
    /// FIN and PSH of the last packet.
    flags: u8,
    next_sequence: u32,
    next_identification: u16,
    closed: bool,
    verified: bool,
    slot: u8,
    first: u8,
    count: u8,
}

/// The super-packets of one batch, in the order in which they leave.
#[derive(Debug)]
pub struct Coalescer {
    supers: [Super; BATCH_PACKETS],
    len: usize,
    open: [u8; OPEN_FLOWS_MAX],
    open_len: usize,
    members: [u8; BATCH_PACKETS],
    member_count: usize,
    super_of: [u8; BATCH_PACKETS],
}

impl Super {
    const fn one(slot: u8) -> Super {
        Super {
            hash: 0,
            v6: false,
            tcp: false,
            l4: 0,
            header_len: 0,
            segment: 0,
            payload: 0,
            flags: 0,
            next_sequence: 0,
            next_identification: 0,
            closed: true,
            verified: false,
            slot,
            first: 0,
            count: 1,
        }
    }

    /// The positions of its packets in [`Coalescer::members`].
    pub fn members(&self) -> Range<usize> {
        usize::from(self.first)..usize::from(self.first) + usize::from(self.count)
    }

    /// How many packets it holds.
    pub fn packets(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of headers that each of its packets begins with, and the super-packet too.
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Writes the headers of the super-packet, [`Super::header_len`] bytes, from those of its first packet.
    pub fn emit_headers(&self, first: &[u8], out: &mut [u8; HEADERS_BYTES_MAX]) -> VirtioHeader {
        let (header_len, l4) = (self.header_len(), usize::from(self.l4));
        let headers = &mut out[..header_len];
        headers.copy_from_slice(&first[..header_len]);
        let len = header_len + self.payload as usize;
        if self.v6 {
            headers[4..6].copy_from_slice(&((len - l4) as u16).to_be_bytes());
        } else {
            headers[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            headers[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(&headers[..l4]));
            headers[10..12].copy_from_slice(&sum);
        }
        let partial = pseudo_header_sum(headers, self.v6, self.tcp, len - l4);
        let offset = if self.tcp { 16 } else { 6 };
        headers[l4 + offset..l4 + offset + 2].copy_from_slice(&checksum::fold(partial));
        let mut ecn = false;
        if self.tcp {
            headers[l4 + 13] |= self.flags;
            ecn = headers[l4 + 13] & CWR != 0;
        } else {
            headers[l4 + 4..l4 + 6].copy_from_slice(&((len - l4) as u16).to_be_bytes());
        }
        VirtioHeader {
            needs_checksum: Some((l4 as u16, offset as u16)),
            gso: match (self.tcp, self.v6) {
                (true, false) => Gso::TcpV4,
                (true, true) => Gso::TcpV6,
                (false, _) => Gso::Udp,
            },
            ecn,
            header_len: header_len as u16,
            gso_size: self.segment,
        }
    }
}

impl Default for Coalescer {
    fn default() -> Coalescer {
        Coalescer {
            supers: [Super::one(0); BATCH_PACKETS],
            len: 0,
            open: [NONE; OPEN_FLOWS_MAX],
            open_len: 0,
            members: [0; BATCH_PACKETS],
            member_count: 0,
            super_of: [NONE; BATCH_PACKETS],
        }
    }
}

impl Coalescer {
    /// Sorts the batch's packets of this verdict into super-packets.
    pub fn build(&mut self, batch: &Batch, verdict: Verdict, what: Coalesce) {
        (self.len, self.open_len, self.member_count) = (0, 0, 0);
        for slot in 0..batch.len() {
            self.super_of[slot] = match batch.verdict(slot) == verdict {
                true => self.place(batch, slot, what),
                false => NONE,
            };
        }
        for group in &mut self.supers[..self.len] {
            group.first = self.member_count as u8;
            self.member_count += usize::from(group.count);
            group.count = 0;
        }
        for slot in 0..batch.len() {
            if let Some(group) = self.supers.get_mut(usize::from(self.super_of[slot])) {
                self.members[usize::from(group.first + group.count)] = slot as u8;
                group.count += 1;
            }
        }
    }

    /// The super-packets, in the order in which they leave.
    pub fn supers(&self) -> &[Super] {
        &self.supers[..self.len]
    }

    /// The slots to deliver, ordered by super-packet.
    pub fn members(&self) -> &[u8] {
        &self.members[..self.member_count]
    }

    /// Puts one packet into an open super-packet or begins another.
    fn place(&mut self, batch: &Batch, slot: usize, what: Coalesce) -> u8 {
        let packet = batch.packet(slot);
        let Some(found) = Found::parse(packet) else {
            // Of what flow it is, nobody knows: nothing may overtake it.
            self.open_len = 0;
            return self.begin(Super::one(slot as u8));
        };
        let at = (0..self.open_len).rev().find(|&at| {
            let group = &self.supers[usize::from(self.open[at])];
            group.hash == found.hash
                && found.same_flow(packet, batch.packet(usize::from(group.slot)))
        });
        let wanted = if found.tcp { what.tcp } else { what.udp };
        let Some(at) = at else {
            let index = self.begin(found.open(slot, wanted));
            if self.open_len == OPEN_FLOWS_MAX {
                self.open.copy_within(1.., 0);
                self.open_len -= 1;
            }
            self.open[self.open_len] = index;
            self.open_len += 1;
            return index;
        };
        let index = self.open[at];
        let group = &mut self.supers[usize::from(index)];
        if wanted
            && found.joins(group, packet, batch.packet(usize::from(group.slot)))
            && (!what.verify || found.verified_with(group, packet, batch))
        {
            group.count += 1;
            group.payload += found.payload as u32;
            group.flags |= found.flags & (FIN | PSH);
            group.closed = found.ends(group.segment);
            group.next_sequence = found.sequence.wrapping_add(found.payload as u32);
            group.next_identification = found.identification.wrapping_add(1);
            return index;
        }
        let index = self.begin(found.open(slot, wanted));
        self.open[at] = index;
        index
    }

    fn begin(&mut self, group: Super) -> u8 {
        self.supers[self.len] = group;
        self.len += 1;
        (self.len - 1) as u8
    }
}
