//! Fragments of one client's packets, put together before anything is decided: rules and functions see whole packets or
//! none (RFC 791 section 3.2, RFC 8200 section 4.5; overlaps end the packet as RFC 5722 asks).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use ringmail_packet::ip::protocol;
use ringmail_packet::ipv6::{extension, fragment};
use ringmail_packet::{ipv4, ipv6};

use crate::limits::{
    WIREGUARD_FRAGMENTS_A_PACKET, WIREGUARD_PACKETS_IN_PARTS, WIREGUARD_PACKETS_IN_PARTS_A_PEER,
    WIREGUARD_PARTS_MS, WIREGUARD_WHOLE_BYTES, ms,
};

/// What parts of one packet share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    peer: u32,
    src: IpAddr,
    dst: IpAddr,
    identification: u32,
    /// IPv4's protocol; in IPv6 that of the first part counts.
    protocol: u8,
}

/// A packet of which parts are there.
#[derive(Debug)]
struct Parts {
    began: Instant,
    /// The headers before what was cut into parts, as in the first part; where in it the next protocol stands.
    head: Option<Vec<u8>>,
    body: Vec<u8>,
    /// Beginning and end of each part.
    there: Vec<(usize, usize)>,
    /// Where the last part ends.
    end: Option<usize>,
}

/// One part, taken apart.
struct Part<'a> {
    key: Key,
    head: Head<'a>,
    offset: usize,
    more: bool,
    body: &'a [u8],
}

/// The headers before what was cut.
struct Head<'a> {
    bytes: &'a [u8],
    /// Where the number of what follows stands, and what it is to become.
    next: Option<(usize, u8)>,
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined<'a> {
    /// It was the last that was missing: the whole packet.
    Whole(&'a [u8]),
    /// Others are missing.
    Waits,
    /// It is no proper part, contradicts another, or there are too many.
    Refused,
}

/// All packets of which parts are there.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    packets: HashMap<Key, Parts>,
    whole: Vec<u8>,
}

impl Reassembly {
    /// Takes a part that `peer` sent.
    pub(super) fn join(&mut self, now: Instant, peer: u32, packet: &[u8]) -> Joined<'_> {
        let Some(part) = Part::of(peer, packet) else { return Joined::Refused };
        let key = part.key;
        if !self.packets.contains_key(&key) {
            let own = self.packets.keys().filter(|known| known.peer == peer).count();
            if self.packets.len() >= WIREGUARD_PACKETS_IN_PARTS
                || own >= WIREGUARD_PACKETS_IN_PARTS_A_PEER
            {
                return Joined::Refused;
            }
        }
        let parts = self.packets.entry(key).or_insert_with(|| Parts {
            began: now,
            head: None,
            body: Vec::new(),
            there: Vec::new(),
            end: None,
        });
        if parts.add(&part).is_none() {
            self.packets.remove(&key);
            return Joined::Refused;
        }
        if !parts.is_whole() {
            return Joined::Waits;
        }
        let Some(parts) = self.packets.remove(&key) else { return Joined::Refused };
        match parts.write(&mut self.whole) {
            Some(()) => Joined::Whole(&self.whole),
            None => Joined::Refused,
        }
    }

    /// Forgets packets whose parts did not come in time, and says how many.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> usize {
        let before = self.packets.len();
        self.packets
            .retain(|_, parts| now.saturating_duration_since(parts.began) < ms(WIREGUARD_PARTS_MS));
        before - self.packets.len()
    }
}

impl<'a> Part<'a> {
    fn of(peer: u32, packet: &'a [u8]) -> Option<Part<'a>> {
        match packet.first()? >> 4 {
            4 => {
                let view = ipv4::Packet::new_checked(packet).ok()?;
                let key = Key {
                    peer,
                    src: view.src_addr().into(),
                    dst: view.dst_addr().into(),
                    identification: view.identification().into(),
                    protocol: view.protocol(),
                };
                Some(Part {
                    key,
                    head: Head { bytes: packet.get(..view.header_len())?, next: None },
                    offset: view.fragment_offset_bytes().into(),
                    more: view.more_fragments(),
                    body: view.payload(),
                })
            }
            6 => {
                let view = ipv6::Packet::new_checked(packet).ok()?;
                // Where the number of the next header stands, and where that header begins.
                let (mut stands, mut at) = (NEXT_HEADER_AT, ipv6::HEADER_LEN_BYTES);
                let mut next = view.next_header();
                let end = ipv6::HEADER_LEN_BYTES + view.payload().len();
                while next != protocol::FRAGMENT {
                    if !extension::is_extension(next) {
                        return None;
                    }
                    let header = extension::Packet::new_checked(packet.get(at..end)?).ok()?;
                    (stands, next) = (at, header.next_header());
                    at += header.header_len();
                }
                let cut = fragment::Packet::new_checked(packet.get(at..end)?).ok()?;
                let key = Key {
                    peer,
                    src: view.src_addr().into(),
                    dst: view.dst_addr().into(),
                    identification: cut.identification(),
                    protocol: 0,
                };
                Some(Part {
                    key,
                    head: Head {
                        bytes: packet.get(..at)?,
                        next: Some((stands, cut.next_header())),
                    },
                    offset: cut.offset_bytes().into(),
                    more: cut.more_fragments(),
                    body: cut.payload(),
                })
            }
            _ => None,
        }
    }
}

/// Where IPv6's header says what follows it.
const NEXT_HEADER_AT: usize = 6;

impl Parts {
    /// `None`: the packet can never be whole.
    fn add(&mut self, part: &Part<'_>) -> Option<()> {
        let (from, to) = (part.offset, part.offset.checked_add(part.body.len())?);
        // All parts but the last are multiples of 8 bytes long.
        let fits = !part.body.is_empty() && (!part.more || part.body.len().is_multiple_of(8));
        let overlaps = self.there.iter().any(|(begin, end)| from < *end && *begin < to);
        let beyond = self.end.is_some_and(|end| to > end || (!part.more && to != end));
        if !fits
            || overlaps
            || beyond
            || to > WIREGUARD_WHOLE_BYTES
            || self.there.len() >= WIREGUARD_FRAGMENTS_A_PACKET
        {
            return None;
        }
        if !part.more {
            if self.there.iter().any(|(_, end)| *end > to) {
                return None;
            }
            self.end = Some(to);
        }
        if part.offset == 0 {
            let mut head = part.head.bytes.to_vec();
            if let Some((at, next)) = part.head.next {
                *head.get_mut(at)? = next;
            }
            self.head = Some(head);
        }
        if self.body.len() < to {
            self.body.resize(to, 0);
        }
        self.body.get_mut(from..to)?.copy_from_slice(part.body);
        self.there.push((from, to));
        Some(())
    }

    /// Parts never overlap, so it is whole when they add up.
    fn is_whole(&self) -> bool {
        let there: usize = self.there.iter().map(|(begin, end)| end - begin).sum();
        self.head.is_some() && self.end == Some(there)
    }

    fn write(self, whole: &mut Vec<u8>) -> Option<()> {
        let head = self.head?;
        whole.clear();
        whole.extend_from_slice(&head);
        whole.extend_from_slice(&self.body);
        match head.first()? >> 4 {
            4 => {
                let len = u16::try_from(whole.len()).ok()?;
                let mut packet = ipv4::Packet::new_unchecked(&mut whole[..]);
                packet.set_fragment(false, false, 0);
                packet.set_total_len(len);
                packet.fill_checksum();
            }
            _ => {
                let len = u16::try_from(whole.len() - ipv6::HEADER_LEN_BYTES).ok()?;
                whole.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
            }
        }
        Some(())
    }
}
