//! The packet that an ICMP error is about (RFC 792, RFC 4443 section 3): every error carries its beginning.
//!
//! ```text
//! +-----------+------------------+-----------------+--------------------------+
//! | IP header | ICMP, type, code | subject's IP    | its first 8 bytes or more|
//! +-----------+------------------+-----------------+--------------------------+
//! ```

use core::net::IpAddr;

use super::{HEADER_LEN_BYTES, Packet};
use crate::ip::{Addresses, protocol};
use crate::ipv6::extension;
use crate::{ipv4, ipv6};

/// What is known of the subject. Only its beginning is there, so lengths and checksums were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its source and destination.
    pub addresses: Addresses,
    /// Its transport protocol, behind all extension headers.
    pub protocol: u8,
    /// What is there of its transport header and data.
    pub transport: &'a [u8],
}

/// Whether an ICMP message of this type reports an error. A redirect is none: nobody needs it behind a function.
pub fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(kind, 3 | 11 | 12),
        protocol::ICMPV6 => matches!(kind, 1..=4),
        _ => false,
    }
}

/// The subject of an error that goes from one to another address, if `message` is an error and goes to whoever sent
/// the subject. `message` begins with the ICMP header.
pub fn of(addresses: Addresses, icmp: u8, message: &[u8]) -> Option<Subject<'_>> {
    let packet = Packet::new_checked(message).ok()?;
    if !is_error(icmp, packet.kind()) {
        return None;
    }
    let bytes = message.get(HEADER_LEN_BYTES..)?;
    let subject = match (icmp, bytes.first()? >> 4) {
        (protocol::ICMP, 4) => v4(bytes)?,
        (protocol::ICMPV6, 6) => v6(bytes)?,
        _ => return None,
    };
    (subject.addresses.src() == addresses.dst()).then_some(subject)
}

/// The subject of an IP packet that is an ICMP error.
pub fn of_packet(packet: &[u8]) -> Option<Subject<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).ok()?;
            if packet.is_fragment() {
                return None;
            }
            of(packet.addresses(), packet.protocol(), packet.payload())
        }
        6 => {
            let packet = ipv6::Packet::new_checked(packet).ok()?;
            let upper = packet.upper_layer().ok().filter(|upper| !upper.is_fragment())?;
            of(packet.addresses(), upper.protocol, upper.payload)
        }
        _ => None,
    }
}

fn v4(bytes: &[u8]) -> Option<Subject<'_>> {
    let fixed: &[u8; ipv4::MIN_HEADER_LEN_BYTES] = bytes.first_chunk()?;
    let header_len = usize::from(fixed[0] & 0xf) * 4;
    let offset = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff;
    if header_len < ipv4::MIN_HEADER_LEN_BYTES || offset != 0 {
        return None;
    }
    let address =
        |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    Some(Subject {
        addresses: Addresses::new(address(12), address(16))?,
        protocol: fixed[9],
        transport: bytes.get(header_len..)?,
    })
}

fn v6(bytes: &[u8]) -> Option<Subject<'_>> {
    let (fixed, payload) = bytes.split_first_chunk::<{ ipv6::HEADER_LEN_BYTES }>()?;
    let packet = ipv6::Packet::new_unchecked(&fixed[..]);
    let upper = extension::walk(packet.next_header(), payload).ok()?;
    let first = upper.fragment.is_none_or(|fragment| fragment.offset_bytes == 0);
    first.then_some(Subject {
        addresses: packet.addresses(),
        protocol: upper.protocol,
        transport: upper.payload,
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const HOST: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 4] = [10, 0, 0, 2];

    fn packet(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([0x45, 0, 0, 20 + payload.len() as u8, 0, 0, 0, 0, 64, protocol]);
        bytes.extend([0, 0]);
        bytes.extend(src);
        bytes.extend(dst);
        bytes.extend(payload);
        bytes
    }

    fn error(kind: u8, to: [u8; 4], about: &[u8]) -> Vec<u8> {
        let message = [&[kind, 3, 0, 0, 0, 0, 0, 0], about].concat();
        packet(protocol::ICMP, [192, 0, 2, 1], to, &message)
    }

    #[test]
    fn an_error_to_the_sender_has_its_packet_as_subject() {
        let sent = packet(protocol::UDP, HOST, OTHER, &[0x30, 0x39, 0, 53, 0, 200, 0, 0]);
        let bytes = error(3, HOST, &sent);
        let subject = of_packet(&bytes).expect("a subject");
        assert_eq!(subject.addresses, Addresses::new(HOST.into(), OTHER.into()).expect("a pair"));
        assert_eq!((subject.protocol, subject.transport), (protocol::UDP, &sent[20..]));
    }

    #[test]
    fn what_is_no_error_or_goes_elsewhere_has_none() {
        let sent = packet(protocol::UDP, HOST, OTHER, &[0; 8]);
        for kind in [0, 5, 8] {
            assert_eq!(of_packet(&error(kind, HOST, &sent)), None, "type {kind}");
        }
        assert_eq!(of_packet(&error(3, OTHER, &sent)), None, "not to the sender");
        assert_eq!(of_packet(&error(3, HOST, &sent[..19])), None, "cut");
        let mut later = sent.clone();
        later[7] = 1;
        assert_eq!(of_packet(&error(3, HOST, &later)), None, "no first fragment");
        assert_eq!(of_packet(&sent), None, "UDP");
    }

    #[test]
    fn extension_headers_of_the_subject_are_stepped_over() {
        let (host, other) = ([0x20; 16], [0x30; 16]);
        let mut sent = Vec::from([0x60, 0, 0, 0, 0, 100, protocol::DESTINATION_OPTIONS, 64]);
        sent.extend(host);
        sent.extend(other);
        sent.extend([protocol::TCP, 0, 1, 4, 0, 0, 0, 0, 1, 2, 3, 4]);
        let mut bytes = Vec::from([0x60, 0, 0, 0, 0, 8 + sent.len() as u8, protocol::ICMPV6, 64]);
        bytes.extend(other);
        bytes.extend(host);
        bytes.extend([2, 0, 0, 0, 0, 0, 5, 0]);
        bytes.extend(&sent);
        let subject = of_packet(&bytes).expect("a subject");
        assert_eq!((subject.protocol, subject.transport), (protocol::TCP, &[1, 2, 3, 4][..]));
    }
}
