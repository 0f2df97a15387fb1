//! ICMP errors that the gateway sends to a client itself: a packet that is larger than its path carries is answered with
//! what fits (RFC 1191 section 4, RFC 4443 section 3.2), so that path MTU discovery works.

use std::net::IpAddr;

use ringmail_packet::icmp::{self, quoted};
use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::{ipv4, ipv6};

/// Bytes of the whole error over IPv4 (RFC 1812 section 4.3.2.3) and over IPv6 (RFC 4443 section 3.2).
const ERROR_MAX_BYTES: [usize; 2] = [576, 1280];

/// The hop limit of a packet that starts here.
const FIRST_HOP_LIMIT: u8 = 64;

/// Writes "packet too big", or IPv4's "fragmentation needed", about `packet` into `room`, from the router of the packet's
/// IP version. `None` where there may be none: it is about an ICMP error, or goes to many or comes from nobody.
pub(super) fn too_big<'a>(
    packet: &[u8],
    mtu_bytes: u16,
    routers: &[IpAddr],
    room: &'a mut [u8],
) -> Option<&'a [u8]> {
    let of = match packet.first()? >> 4 {
        4 => ipv4::Packet::new_checked(packet).ok()?.addresses(),
        6 => ipv6::Packet::new_checked(packet).ok()?.addresses(),
        _ => return None,
    };
    if quoted::of_packet(packet).is_some() || of.dst().is_multicast() || of.src().is_multicast() {
        return None;
    }
    let router = routers.iter().find(|router| router.is_ipv4() == of.src().is_ipv4())?;
    let addresses = Addresses::new(*router, of.src())?;
    let (head, most) = match addresses {
        Addresses::V4 { .. } => (ipv4::MIN_HEADER_LEN_BYTES, ERROR_MAX_BYTES[0]),
        Addresses::V6 { .. } => (ipv6::HEADER_LEN_BYTES, ERROR_MAX_BYTES[1]),
    };
    let quote = &packet[..packet.len().min(most - head - icmp::HEADER_LEN_BYTES)];
    let len = head + icmp::HEADER_LEN_BYTES + quote.len();
    let written = room.get_mut(..len)?;
    let protocol = match addresses {
        Addresses::V4 { .. } => protocol::ICMP,
        Addresses::V6 { .. } => protocol::ICMPV6,
    };
    header(addresses, protocol, len - head, written)?;
    let mut message = icmp::Packet::new_unchecked(&mut written[head..]);
    match addresses {
        Addresses::V4 { .. } => {
            let error = icmp::v4::Repr::FragmentationNeeded { mtu_bytes };
            error.emit(&mut message).ok()?;
        }
        Addresses::V6 { .. } => {
            let error = icmp::v6::Repr::PacketTooBig { mtu_bytes: mtu_bytes.into() };
            error.emit(&mut message).ok()?;
        }
    }
    message.payload_mut().get_mut(..quote.len())?.copy_from_slice(quote);
    message.fill_checksum(addresses);
    Some(written)
}

/// Writes the ICMP error `packet` into `room` as if the router of its IP version had sent it.
pub(super) fn in_the_name_of<'a>(
    packet: &[u8],
    routers: &[IpAddr],
    room: &'a mut [u8],
) -> Option<&'a [u8]> {
    let is_v4 = packet.first()? >> 4 == 4;
    let router = routers.iter().find(|router| router.is_ipv4() == is_v4)?;
    let renamed = room.get_mut(..packet.len())?;
    renamed.copy_from_slice(packet);
    match router {
        IpAddr::V4(router) => {
            let mut view = ipv4::Packet::new_checked(&mut renamed[..]).ok()?;
            view.set_src_addr(*router);
            view.fill_checksum();
        }
        IpAddr::V6(router) => {
            // The checksum of ICMPv6 covers the addresses.
            let view = ipv6::Packet::new_checked(&renamed[..]).ok()?;
            let addresses = Addresses::new((*router).into(), view.dst_addr().into())?;
            let message = view.upper_layer().ok()?.payload.len();
            renamed.get_mut(8..24)?.copy_from_slice(&router.octets());
            let begin = packet.len().checked_sub(message)?;
            icmp::Packet::new_checked(renamed.get_mut(begin..)?).ok()?.fill_checksum(addresses);
        }
    }
    Some(renamed)
}

pub(super) fn header(
    addresses: Addresses,
    protocol: u8,
    payload_len: usize,
    buffer: &mut [u8],
) -> Option<()> {
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
