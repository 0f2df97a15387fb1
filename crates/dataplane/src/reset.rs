//! TCP resets that a hop makes for a connection that its function stopped (RFC 9293 section 3.5.2, case 3).

use std::time::Instant;

use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::tcp::{self, Flags, Options};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::originate::{Carried, Origin};
use crate::paths::PathState;

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
    let origin = Origin { now, path, made, counters };
    origin.make(addresses, protocol::TCP, reply.buffer_len(), |payload| {
        let mut segment = tcp::Packet::new_unchecked(payload);
        reply.emit(&mut segment).ok()?;
        segment.fill_checksum(addresses);
        Some(())
    });
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

fn upper_layer(packet: &[u8]) -> Option<(Addresses, tcp::Packet<&[u8]>)> {
    let carried = Carried::by(packet).filter(|carried| carried.protocol == protocol::TCP)?;
    Some((carried.addresses, tcp::Packet::new_checked(carried.payload).ok()?))
}
