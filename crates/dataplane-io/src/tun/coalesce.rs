//! Which delivered packets the kernel can take as one super-packet: the rules of its own GRO (`tcp4_gro_receive`,
//! `inet_gro_receive` and their IPv6 and UDP kin), without I/O.
//!
//! TCP packets join when they follow each other in sequence and agree in everything but length, identification, checksum,
//! FIN and PSH; a shorter packet, FIN or PSH is the last, CWR only the first. UDP packets join at equal length. Packets of
//! one flow stay in order; flows may overtake each other within a batch.

use std::ops::Range;

use ringmail_dataplane::{BATCH_PACKETS, Batch, Verdict};

use super::virtio::{Gso, VirtioHeader};
use crate::checksum;
use crate::limits::{OPEN_FLOWS_MAX, SUPER_PACKET_BYTES_MAX};

/// The longest headers that a super-packet has: IPv6 and TCP with all options.
pub const HEADERS_BYTES_MAX: usize = 100;

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN_RST_URG: u8 = 0x26;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
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

/// What is to know of one packet of TCP or UDP.
struct Found {
    hash: u32,
    v6: bool,
    tcp: bool,
    l4: usize,
    header_len: usize,
    payload: usize,
    flags: u8,
    sequence: u32,
    identification: u16,
    atomic: bool,
    /// Whether it may stand in a super-packet at all.
    data: bool,
}

impl Found {
    /// `None` for what is neither TCP nor UDP, has IPv4 options or IPv6 extension headers, is a fragment, or not whole.
    fn parse(packet: &[u8]) -> Option<Found> {
        let (v6, l4, protocol, len) = match packet.first()? {
            0x45 => {
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
                if fragment & 0x3fff != 0 {
                    return None;
                }
                let len = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
                (false, 20, *packet.get(9)?, usize::from(len))
            }
            first if first >> 4 == 6 => {
                let len = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
                (true, 40, *packet.get(6)?, 40 + usize::from(len))
            }
            _ => return None,
        };
        let (tcp, l4_min) = match protocol {
            TCP => (true, 20),
            UDP => (false, 8),
            _ => return None,
        };
        if len != packet.len() || len < l4 + l4_min {
            return None;
        }
        let transport = &packet[l4..];
        let word = |at: usize| {
            u32::from_be_bytes([
                transport[at],
                transport[at + 1],
                transport[at + 2],
                transport[at + 3],
            ])
        };
        let mut found = Found {
            hash: hash(packet, v6, word(0)),
            v6,
            tcp,
            l4,
            header_len: l4 + l4_min,
            payload: 0,
            flags: 0,
            sequence: 0,
            identification: if v6 { 0 } else { u16::from_be_bytes([packet[4], packet[5]]) },
            atomic: v6 || packet[6] & 0x40 != 0,
            data: false,
        };
        if tcp {
            found.header_len = l4 + usize::from(transport[12] >> 4) * 4;
            if found.header_len < l4 + l4_min || found.header_len > len {
                return None;
            }
            found.flags = transport[13];
            found.sequence = word(4);
            found.data = found.flags & SYN_RST_URG == 0 && found.flags & ACK != 0;
        } else {
            let udp_len = usize::from(u16::from_be_bytes([transport[4], transport[5]]));
            found.data = udp_len == transport.len() && transport[6..8] != [0, 0];
        }
        found.payload = len - found.header_len;
        found.data &= found.payload > 0;
        Some(found)
    }

    /// A super-packet that begins, and perhaps ends, with this packet.
    fn open(&self, slot: usize, wanted: bool) -> Super {
        let segment = self.payload.min(usize::from(u16::MAX)) as u16;
        Super {
            hash: self.hash,
            v6: self.v6,
            tcp: self.tcp,
            l4: self.l4 as u8,
            header_len: self.header_len as u8,
            segment,
            payload: self.payload as u32,
            flags: self.flags & (FIN | PSH),
            next_sequence: self.sequence.wrapping_add(self.payload as u32),
            next_identification: self.identification.wrapping_add(1),
            closed: !wanted || !self.data || self.ends(segment),
            ..Super::one(slot as u8)
        }
    }

    /// Whether nothing may follow this packet in a super-packet of this size.
    fn ends(&self, segment: u16) -> bool {
        self.payload < usize::from(segment) || self.flags & (FIN | PSH) != 0
    }

    fn same_flow(&self, packet: &[u8], first: &[u8]) -> bool {
        packet[0] >> 4 == first[0] >> 4
            && same::<4>(packet, first, self.l4)
            && if self.v6 {
                same::<1>(packet, first, 6) && same::<32>(packet, first, 8)
            } else {
                same::<1>(packet, first, 9) && same::<8>(packet, first, 12)
            }
    }

    /// Whether the packet, of the same flow, follows what is in the super-packet.
    fn joins(&self, group: &Super, packet: &[u8], first: &[u8]) -> bool {
        if group.closed
            || !self.data
            || self.header_len != usize::from(group.header_len)
            || self.payload > usize::from(group.segment)
            || self.header_len + group.payload as usize + self.payload > SUPER_PACKET_BYTES_MAX
        {
            return false;
        }
        // DSCP, ECN, TTL and DF; of IPv6 also the flow label. The identification of a packet that is never to be
        // fragmented says nothing (RFC 6864 section 4.1), that of others counts up.
        let ip = if self.v6 {
            same::<4>(packet, first, 0) && same::<2>(packet, first, 6)
        } else {
            same::<2>(packet, first, 0)
                && same::<4>(packet, first, 6)
                && (self.atomic || self.identification == group.next_identification)
        };
        if !self.tcp {
            return ip;
        }
        let l4 = self.l4;
        let flags_differ = packet[l4 + 13] ^ first[l4 + 13];
        let (options, _) = packet[l4 + 20..self.header_len].as_chunks::<4>();
        let (first_options, _) = first[l4 + 20..self.header_len].as_chunks::<4>();
        ip && self.sequence == group.next_sequence
            && self.flags & CWR == 0
            && flags_differ & !(FIN | PSH | CWR) == 0
            // Acknowledgement, data offset, window and urgent pointer.
            && same::<4>(packet, first, l4 + 8)
            && same::<1>(packet, first, l4 + 12)
            && same::<2>(packet, first, l4 + 14)
            && same::<2>(packet, first, l4 + 18)
            && options.iter().zip(first_options).all(|(one, other)| one == other)
    }

    /// Whether the checksums of this packet, and of the first one if nobody looked at it yet, are right.
    fn verified_with(&self, group: &mut Super, packet: &[u8], batch: &Batch) -> bool {
        if !group.verified {
            group.verified = self.checksum_is_right(batch.packet(usize::from(group.slot)));
        }
        group.verified && self.checksum_is_right(packet)
    }

    fn checksum_is_right(&self, packet: &[u8]) -> bool {
        if !self.v6 && checksum::finish(checksum::sum(&packet[..self.l4])) != [0, 0] {
            return false;
        }
        let transport = &packet[self.l4..];
        let pseudo = pseudo_header_sum(packet, self.v6, self.tcp, transport.len());
        checksum::finish(pseudo + checksum::sum(transport)) == [0, 0]
    }
}

/// Whether both hold the same `N` bytes at `at`: a comparison of words, not a call.
#[inline]
fn same<const N: usize>(one: &[u8], other: &[u8], at: usize) -> bool {
    one[at..].first_chunk::<N>() == other[at..].first_chunk::<N>()
}

fn pseudo_header_sum(packet: &[u8], v6: bool, tcp: bool, l4_len: usize) -> u64 {
    let addresses = if v6 { &packet[8..40] } else { &packet[12..20] };
    checksum::sum(addresses)
        + checksum::number(u16::from(if tcp { TCP } else { UDP }))
        + checksum::number(l4_len as u16)
}

/// Tells most flows of one batch apart; equal flows are compared in full.
fn hash(packet: &[u8], v6: bool, ports: u32) -> u32 {
    let (words, _) = if v6 { &packet[8..40] } else { &packet[12..20] }.as_chunks::<4>();
    words.iter().fold(ports.wrapping_mul(0x9e37_79b1), |hash, word| {
        (hash.rotate_left(5) ^ u32::from_ne_bytes(*word)).wrapping_mul(0x85eb_ca6b)
    })
}
