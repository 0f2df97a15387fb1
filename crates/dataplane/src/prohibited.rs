//! ICMP errors that a hop makes for a packet that its function rejects (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1):
//! "communication administratively prohibited", towards whoever sent it.

use std::net::IpAddr;
use std::time::Instant;

use ringmail_packet::icmp::{self, quoted};
use ringmail_packet::ip::{Addresses, protocol};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::originate::{Carried, Origin, header_len_bytes};
use crate::paths::PathState;

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
    let (protocol, most) = match towards {
        Addresses::V4 { .. } => (protocol::ICMP, ERROR_MAX_BYTES[0]),
        Addresses::V6 { .. } => (protocol::ICMPV6, ERROR_MAX_BYTES[1]),
    };
    let most = most.min(path.config.inner_mtu_bytes.into());
    let head = header_len_bytes(towards) + icmp::HEADER_LEN_BYTES;
    let Some(room) = most.checked_sub(head) else { return };
    let quoted = &packet[..packet.len().min(room)];
    let origin = Origin { now, path, made, counters };
    origin.make(towards, protocol, icmp::HEADER_LEN_BYTES + quoted.len(), |payload| {
        write(towards, quoted, payload)
    });
}

/// The addresses of an answer to `packet`, if it may have one.
fn answerable(packet: &[u8]) -> Option<Addresses> {
    let carried = Carried::by(packet).filter(|carried| !carried.is_fragment)?;
    let kind = carried.payload.first();
    let is_error = kind.is_some_and(|kind| quoted::is_error(carried.protocol, *kind));
    let one = |address: IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    };
    let (src, dst) = (carried.addresses.src(), carried.addresses.dst());
    (!is_error && one(src) && one(dst)).then(|| Addresses::new(dst, src))?
}

fn write(addresses: Addresses, quoted: &[u8], payload: &mut [u8]) -> Option<()> {
    let mut message = icmp::Packet::new_unchecked(payload);
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
