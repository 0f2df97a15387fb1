//! ICMP errors that a hop makes for a packet that its function rejects (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1):
//! "communication administratively prohibited", towards whoever sent it.

use std::net::IpAddr;
use std::time::Instant;

use ringmail_packet::icmp::{self, quoted};
use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::{ipv4, ipv6};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::encap;
use crate::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use crate::paths::PathState;

/// The hop limit of a packet that starts here.
const FIRST_HOP_LIMIT: u8 = 64;

/// Bytes of the whole error over IPv4 (RFC 1812 section 4.3.2.3) and over IPv6 (RFC 4443 section 3.1).
const ERROR_MAX_BYTES: [usize; 2] = [576, 1280];

/// Code of ICMP's and of ICMPv6's destination-unreachable message.
const PROHIBITED: [u8; 2] = [13, 1];

/// Makes the error for `packet`, seals it and puts it into `made`. Errors, fragments and what is for many or from nobody
/// are answered by none (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).
pub(crate) fn originate(
    now: Instant,
    packet: &[u8],
    path: &mut PathState,
    made: &mut Batch,
    counters: &Counters,
) {
    let Some(towards) = answerable(packet) else { return };
    let (header_len, most) = match towards {
        Addresses::V4 { .. } => (ipv4::MIN_HEADER_LEN_BYTES, ERROR_MAX_BYTES[0]),
        Addresses::V6 { .. } => (ipv6::HEADER_LEN_BYTES, ERROR_MAX_BYTES[1]),
    };
    let most = most.min(path.config.inner_mtu_bytes.into());
    let Some(room) = most.checked_sub(header_len + icmp::HEADER_LEN_BYTES) else { return };
    let quoted = &packet[..packet.len().min(room)];
    let len = header_len + icmp::HEADER_LEN_BYTES + quoted.len();
    let Ok(index) = made.push(HEADROOM_BYTES, len, TAILROOM_BYTES) else { return };
    if emit(towards, quoted, made.packet_mut(index)).is_none() {
        made.drop_packet(index, crate::DropReason::MalformedInner);
        return;
    }
    match encap::encapsulate(made, index, path, now) {
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

/// The addresses of an answer to `packet`, if it may have one.
fn answerable(packet: &[u8]) -> Option<Addresses> {
    let (addresses, upper, payload) = match packet.first()? >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).ok().filter(|p| !p.is_fragment())?;
            (packet.addresses(), packet.protocol(), packet.payload())
        }
        _ => {
            let packet = ipv6::Packet::new_checked(packet).ok()?;
            let upper = packet.upper_layer().ok().filter(|upper| !upper.is_fragment())?;
            (packet.addresses(), upper.protocol, upper.payload)
        }
    };
    let is_error = payload.first().is_some_and(|kind| quoted::is_error(upper, *kind));
    let one = |address: IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    };
    let (src, dst) = (addresses.src(), addresses.dst());
    (!is_error && one(src) && one(dst)).then(|| Addresses::new(dst, src))?
}

fn emit(addresses: Addresses, quoted: &[u8], buffer: &mut [u8]) -> Option<()> {
    let message_len = icmp::HEADER_LEN_BYTES + quoted.len();
    let ip_len = match addresses {
        Addresses::V4 { src, dst } => {
            let header = ipv4::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                identification: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset_bytes: 0,
                ttl: FIRST_HOP_LIMIT,
                protocol: protocol::ICMP,
                src_addr: src,
                dst_addr: dst,
                options: &[],
                payload_len: message_len,
            };
            header.emit(&mut ipv4::Packet::new_unchecked(&mut *buffer)).ok()?;
            ipv4::MIN_HEADER_LEN_BYTES
        }
        Addresses::V6 { src, dst } => {
            let header = ipv6::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                flow_label: 0,
                payload_len: message_len as u16,
                next_header: protocol::ICMPV6,
                hop_limit: FIRST_HOP_LIMIT,
                src_addr: src,
                dst_addr: dst,
            };
            header.emit(&mut ipv6::Packet::new_unchecked(&mut *buffer)).ok()?;
            ipv6::HEADER_LEN_BYTES
        }
    };
    let mut message = icmp::Packet::new_unchecked(buffer.get_mut(ip_len..)?);
    match addresses {
        Addresses::V4 { .. } => {
            icmp::v4::Repr::unreachable(PROHIBITED[0]).emit(&mut message).ok()?;
        }
        Addresses::V6 { .. } => {
            icmp::v6::Repr::unreachable(PROHIBITED[1]).emit(&mut message).ok()?;
        }
    }
    message.payload_mut().get_mut(..quoted.len())?.copy_from_slice(quoted);
    message.fill_checksum(addresses);
    Some(())
}
