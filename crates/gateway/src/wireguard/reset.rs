//! The TCP reset that the gateway sends to a client whose connection went through a replica that is dead (RFC 9293 section
//! 3.10.7.1), so that it begins anew at once.

use std::net::IpAddr;

use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::tcp::{self, Flags};
use ringmail_packet::{ipv4, ipv6};

use super::answer::header;

/// The segment of a packet of TCP that is whole, and its addresses.
fn segment(packet: &[u8]) -> Option<(Addresses, tcp::Packet<&[u8]>)> {
    let (addresses, payload) = match packet.first()? >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).ok()?;
            (packet.addresses(), (packet.protocol() == protocol::TCP).then(|| packet.payload())?)
        }
        _ => {
            let packet = ipv6::Packet::new_checked(packet).ok()?;
            let upper = packet.upper_layer().ok()?;
            (packet.addresses(), (upper.protocol == protocol::TCP).then_some(upper.payload)?)
        }
    };
    Some((addresses, tcp::Packet::new_checked(payload).ok()?))
}

/// Whether a packet begins a TCP connection.
pub(super) fn begins(packet: &[u8]) -> bool {
    let flags = segment(packet).map(|(_, segment)| segment.flags());
    flags.is_some_and(|flags| flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK))
}

/// Writes an empty segment that the other end of a connection might have sent, at a place where no window is: a client
/// answers with where it stands (RFC 9293 section 3.10.7.4), and [`reset`] answers that.
pub(super) fn probe<'a>(flow: &FlowKey, room: &'a mut [u8]) -> Option<&'a [u8]> {
    write(flow.dst, flow.src, (flow.dst_port, flow.src_port), (0, 0, Flags::ACK), room)
}

/// Writes the reset that answers `packet` into `room`; `None` where there may be none: it is one itself.
pub(super) fn reset<'a>(packet: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let (of, came) = segment(packet)?;
    if came.flags().intersects(Flags::RST) {
        return None;
    }
    let spans = [Flags::SYN, Flags::FIN].into_iter().filter(|flag| came.flags().contains(*flag));
    let len = came.payload().len() as u32 + spans.count() as u32;
    let place = match came.flags().contains(Flags::ACK) {
        true => (came.ack_number(), 0, Flags::RST),
        false => (0, came.seq_number().wrapping_add(len), Flags(Flags::RST.0 | Flags::ACK.0)),
    };
    write(of.dst(), of.src(), (came.dst_port(), came.src_port()), place, room)
}

fn write(
    src: IpAddr,
    dst: IpAddr,
    (src_port, dst_port): (u16, u16),
    (seq_number, ack_number, flags): (u32, u32, Flags),
    room: &mut [u8],
) -> Option<&[u8]> {
    let addresses = Addresses::new(src, dst)?;
    let head = match addresses {
        Addresses::V4 { .. } => ipv4::MIN_HEADER_LEN_BYTES,
        Addresses::V6 { .. } => ipv6::HEADER_LEN_BYTES,
    };
    let written = room.get_mut(..head + tcp::MIN_HEADER_LEN_BYTES)?;
    header(addresses, protocol::TCP, tcp::MIN_HEADER_LEN_BYTES, written)?;
    let mut segment = tcp::Packet::new_unchecked(&mut written[head..]);
    let repr = tcp::Repr {
        src_port,
        dst_port,
        seq_number,
        ack_number,
        flags,
        window: 0,
        urgent_pointer: 0,
        options: tcp::Options::new(&[]),
    };
    repr.emit(&mut segment).ok()?;
    segment.fill_checksum(addresses);
    Some(written)
}
