//! What is to know of one packet, and whether it may follow others in a super-packet.

use ringmail_dataplane::Batch;

use super::{CWR, FIN, PSH, Super};
use crate::checksum;
use crate::limits::SUPER_PACKET_BYTES_MAX;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN_RST_URG: u8 = 0x26;
const ACK: u8 = 0x10;

/// What is to know of one packet of TCP or UDP.
pub(super) struct Found {
    pub(super) hash: u32,
    pub(super) v6: bool,
    pub(super) tcp: bool,
    pub(super) l4: usize,
    pub(super) header_len: usize,
    pub(super) payload: usize,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) identification: u16,
    pub(super) atomic: bool,
    /// Whether it may stand in a super-packet at all.
    pub(super) data: bool,
}

impl Found {
    /// `None` for what is neither TCP nor UDP, has IPv4 options or IPv6 extension headers, is a fragment, or not whole.
    pub(super) fn parse(packet: &[u8]) -> Option<Found> {
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
    pub(super) fn open(&self, slot: usize, wanted: bool) -> Super {
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
    pub(super) fn ends(&self, segment: u16) -> bool {
        self.payload < usize::from(segment) || self.flags & (FIN | PSH) != 0
    }

    pub(super) fn same_flow(&self, packet: &[u8], first: &[u8]) -> bool {
        packet[0] >> 4 == first[0] >> 4
            && same::<4>(packet, first, self.l4)
            && if self.v6 {
                same::<1>(packet, first, 6) && same::<32>(packet, first, 8)
            } else {
                same::<1>(packet, first, 9) && same::<8>(packet, first, 12)
            }
    }

    /// Whether the packet, of the same flow, follows what is in the super-packet.
    pub(super) fn joins(&self, group: &Super, packet: &[u8], first: &[u8]) -> bool {
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
    pub(super) fn verified_with(&self, group: &mut Super, packet: &[u8], batch: &Batch) -> bool {
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

pub(super) fn pseudo_header_sum(packet: &[u8], v6: bool, tcp: bool, l4_len: usize) -> u64 {
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
