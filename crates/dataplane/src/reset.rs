//! TCP resets that a hop makes for a connection that its function stopped (RFC 9293 section 3.5.2, case 3).

use std::time::Instant;

use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::tcp::{Flags, Options};
use ringmail_packet::{ipv4, ipv6, tcp};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::encap;
use crate::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use crate::paths::PathState;

/// The hop limit of a packet that starts here.
const FIRST_HOP_LIMIT: u8 = 64;

/// Which end a reset is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The end that the stopped packet was going to.
    Receiver,
    /// The end that it came from.
    Sender,
}

/// The TCP segment in an IP packet, if there is one.
pub(crate) fn segment(packet: &[u8]) -> Option<tcp::Packet<&[u8]>> {
    upper_layer(packet).map(|(_, segment)| segment)
}

/// Makes the reset for one end of the connection that `packet` belongs to, seals it and puts it into `made`.
/// Nothing is made for what is no TCP, or for a path without keys.
pub(crate) fn originate(
    now: Instant,
    packet: &[u8],
    towards: Towards,
    path: &mut PathState,
    made: &mut Batch,
    counters: &Counters,
) {
    let Some((addresses, segment)) = upper_layer(packet) else { return };
    // A reset is never answered by a reset.
    if segment.flags().intersects(Flags::RST) {
        return;
    }
    let reply = repr(towards, &segment);
    let addresses = match towards {
        Towards::Receiver => Some(addresses),
        Towards::Sender => Addresses::new(addresses.dst(), addresses.src()),
    };
    let Some(addresses) = addresses else { return };
    let ip_len = match addresses {
        Addresses::V4 { .. } => ipv4::MIN_HEADER_LEN_BYTES,
        Addresses::V6 { .. } => ipv6::HEADER_LEN_BYTES,
    };
    let len = ip_len + reply.buffer_len();
    let Ok(index) = made.push(HEADROOM_BYTES, len, TAILROOM_BYTES) else { return };
    if emit(addresses, &reply, made.packet_mut(index)).is_none() {
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

/// The reset's header: a sequence number that the end expects next, so that it believes it.
fn repr<'a>(towards: Towards, stopped: &tcp::Packet<&[u8]>) -> tcp::Repr<'a> {
    let acknowledges = stopped.flags().intersects(Flags::ACK);
    let control_len = u32::from(stopped.flags().intersects(Flags::SYN))
        + u32::from(stopped.flags().intersects(Flags::FIN));
    let behind =
        stopped.seq_number().wrapping_add(stopped.payload().len() as u32).wrapping_add(control_len);
    let (src_port, dst_port, seq_number, ack_number) = match towards {
        Towards::Receiver => {
            (stopped.src_port(), stopped.dst_port(), stopped.seq_number(), stopped.ack_number())
        }
        Towards::Sender if acknowledges => {
            (stopped.dst_port(), stopped.src_port(), stopped.ack_number(), behind)
        }
        Towards::Sender => (stopped.dst_port(), stopped.src_port(), 0, behind),
    };
    tcp::Repr {
        src_port,
        dst_port,
        seq_number,
        ack_number,
        flags: Flags::RST | Flags::ACK,
        window: 0,
        urgent_pointer: 0,
        options: Options::new(&[]),
    }
}

fn emit(addresses: Addresses, reply: &tcp::Repr<'_>, buffer: &mut [u8]) -> Option<()> {
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
                protocol: protocol::TCP,
                src_addr: src,
                dst_addr: dst,
                options: &[],
                payload_len: reply.buffer_len(),
            };
            header.emit(&mut ipv4::Packet::new_unchecked(&mut *buffer)).ok()?;
            ipv4::MIN_HEADER_LEN_BYTES
        }
        Addresses::V6 { src, dst } => {
            let header = ipv6::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                flow_label: 0,
                payload_len: reply.buffer_len() as u16,
                next_header: protocol::TCP,
                hop_limit: FIRST_HOP_LIMIT,
                src_addr: src,
                dst_addr: dst,
            };
            header.emit(&mut ipv6::Packet::new_unchecked(&mut *buffer)).ok()?;
            ipv6::HEADER_LEN_BYTES
        }
    };
    let mut segment = tcp::Packet::new_unchecked(buffer.get_mut(ip_len..)?);
    reply.emit(&mut segment).ok()?;
    segment.fill_checksum(addresses);
    Some(())
}

fn upper_layer(packet: &[u8]) -> Option<(Addresses, tcp::Packet<&[u8]>)> {
    let (addresses, protocol, payload) = match packet.first()? >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).ok()?;
            (packet.addresses(), packet.protocol(), packet.payload())
        }
        _ => {
            let packet = ipv6::Packet::new_checked(packet).ok()?;
            let upper = packet.upper_layer().ok()?;
            (packet.addresses(), upper.protocol, upper.payload)
        }
    };
    let tcp = (protocol == protocol::TCP).then(|| tcp::Packet::new_checked(payload).ok());
    Some((addresses, tcp??))
}
