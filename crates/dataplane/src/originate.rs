//! Packets that a hop makes itself, about one that its function stopped: an IP header, what the maker writes behind it, and
//! the seal of a path.

use std::time::Instant;

use ringmail_packet::ip::{Addresses, Ecn};
use ringmail_packet::{ipv4, ipv6};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::encap;
use crate::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use crate::nsh::group::{self, Item};
use crate::nsh::link::Covered;
use crate::paths::PathState;
use crate::verdict::DropReason;

/// The hop limit of a packet that starts here.
const FIRST_HOP_LIMIT: u8 = 64;

/// What a packet carries, and between whom.
pub(crate) struct Carried<'a> {
    pub(crate) addresses: Addresses,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) is_fragment: bool,
}

impl Carried<'_> {
    /// Of an IP packet, if it is one.
    pub(crate) fn by(packet: &[u8]) -> Option<Carried<'_>> {
        match packet.first()? >> 4 {
            4 => {
                let packet = ipv4::Packet::new_checked(packet).ok()?;
                Some(Carried {
                    addresses: packet.addresses(),
                    protocol: packet.protocol(),
                    payload: packet.payload(),
                    is_fragment: packet.is_fragment(),
                })
            }
            _ => {
                let packet = ipv6::Packet::new_checked(packet).ok()?;
                let upper = packet.upper_layer().ok()?;
                Some(Carried {
                    addresses: packet.addresses(),
                    protocol: upper.protocol,
                    payload: upper.payload,
                    is_fragment: upper.is_fragment(),
                })
            }
        }
    }
}

/// Where packets go that a hop makes.
pub(crate) struct Origin<'a> {
    pub(crate) now: Instant,
    pub(crate) path: &'a mut PathState,
    pub(crate) made: &'a mut Batch,
    pub(crate) counters: &'a Counters,
}

/// Bytes of the header before the payload.
pub(crate) fn header_len_bytes(addresses: Addresses) -> usize {
    match addresses {
        Addresses::V4 { .. } => ipv4::MIN_HEADER_LEN_BYTES,
        Addresses::V6 { .. } => ipv6::HEADER_LEN_BYTES,
    }
}

impl Origin<'_> {
    /// Makes a packet whose payload `write` fills, seals it and puts it into the batch. Nothing is made for a path
    /// without keys.
    pub(crate) fn make(
        self,
        addresses: Addresses,
        protocol: u8,
        payload_len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) {
        let Origin { now, path, made, counters } = self;
        let len = header_len_bytes(addresses) + payload_len;
        let Ok(index) = made.push(HEADROOM_BYTES, len, TAILROOM_BYTES) else { return };
        let buffer = made.packet_mut(index);
        let written = header(addresses, protocol, payload_len, buffer)
            .and_then(|()| buffer.get_mut(header_len_bytes(addresses)..))
            .and_then(write);
        if written.is_none() {
            made.drop_packet(index, DropReason::MalformedInner);
            return;
        }
        match encap::encapsulate(made, index, path, now).and_then(|()| sign(now, path, made, index))
        {
            Ok(()) => {
                counters.originated.count(len);
                counters.sealed.count(len);
                counters.link_out.count(made.packet(index).len());
            }
            Err(reason) => {
                counters.count_drop(reason);
                made.drop_packet(index, reason);
            }
        }
    }
}

/// Makes tag and code of the packet, if its path wants them.
fn sign(
    now: Instant,
    path: &mut PathState,
    made: &mut Batch,
    index: usize,
) -> Result<(), DropReason> {
    match (Item::begun(index, path), &mut path.nsh) {
        (Some(item), Some(nsh)) => {
            group::finish_alike(made, &[item], nsh, &mut Covered::default(), now)
        }
        _ => Ok(()),
    }
}

fn header(addresses: Addresses, protocol: u8, payload_len: usize, buffer: &mut [u8]) -> Option<()> {
    match addresses {
        Addresses::V4 { src, dst } => {
            let header = ipv4::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                identification: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset_bytes: 0,
                ttl: FIRST_HOP_LIMIT,
                protocol,
                src_addr: src,
                dst_addr: dst,
                options: &[],
                payload_len,
            };
            header.emit(&mut ipv4::Packet::new_unchecked(buffer)).ok()
        }
        Addresses::V6 { src, dst } => {
            let header = ipv6::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                flow_label: 0,
                payload_len: payload_len as u16,
                next_header: protocol,
                hop_limit: FIRST_HOP_LIMIT,
                src_addr: src,
                dst_addr: dst,
            };
            header.emit(&mut ipv6::Packet::new_unchecked(buffer)).ok()
        }
    }
}
