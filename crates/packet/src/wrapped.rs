//! Packets in which another packet is wrapped: whoever looks at addresses and ports alone does not see that one.

use crate::ip::protocol;
use crate::ipv6::{self, extension};
use crate::{ipv4, udp};

/// Protocols that wrap another packet: IP and IPv6 in IP (RFC 2003, RFC 2473), GRE (RFC 2784), ESP (RFC 4303), EtherIP
/// (RFC 3378), L2TP (RFC 3931), MPLS in IP (RFC 4023), Ethernet (RFC 8986 section 10.1), NSH (RFC 8300's, by IANA).
const WRAPPERS: [u8; 9] =
    [protocol::IPV4, protocol::IPV6, 47, protocol::ESP, 97, 115, protocol::MPLS, 143, 145];

/// UDP ports of what wraps another packet: VXLAN (RFC 7348), VXLAN-GPE, Geneve (RFC 8926), MPLS in UDP (RFC 7510).
const WRAPPER_PORTS: [u16; 4] = [4789, 4790, 6081, 6635];

/// Whether something is wrapped in an IP packet, or the packet says itself by which routers it goes (RFC 5095). UDP to the
/// port `own` counts, besides those that are well known.
pub fn is_wrapped(packet: &[u8], own: u16) -> bool {
    let (number, payload) = match packet.first().map(|byte| byte >> 4) {
        Some(4) => match ipv4::Packet::new_checked(packet) {
            Ok(packet) => (packet.protocol(), packet.payload()),
            Err(_) => return false,
        },
        _ => match ipv6::Packet::new_checked(packet) {
            Ok(packet) if is_routed(packet.next_header(), packet.payload()) => return true,
            Ok(packet) => match packet.upper_layer() {
                Ok(upper) => (upper.protocol, upper.payload),
                Err(_) => return false,
            },
            Err(_) => return false,
        },
    };
    if number == protocol::UDP {
        let port = udp::Packet::new_checked(payload).map(|datagram| datagram.dst_port());
        return port.is_ok_and(|port| port == own || WRAPPER_PORTS.contains(&port));
    }
    WRAPPERS.contains(&number)
}

/// Whether a Routing header is among the extension headers.
fn is_routed(first: u8, payload: &[u8]) -> bool {
    let (mut next, mut rest) = (first, payload);
    while extension::is_extension(next) {
        if next == protocol::ROUTING {
            return true;
        }
        if next == protocol::FRAGMENT {
            let Some((head, behind)) = rest.split_first_chunk::<8>() else { return false };
            (next, rest) = (head[0], behind);
            continue;
        }
        let Ok(header) = extension::Packet::new_checked(rest) else { return false };
        (next, rest) = (header.next_header(), header.payload());
    }
    false
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn wraps(packet: &[u8]) -> bool {
        is_wrapped(packet, 7000)
    }

    fn v4(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0xb8, 0, 20 + payload.len() as u8, 0, 0, 0, 0, 64, number, 0, 0];
        bytes.extend([10, 78, 0, 2, 10, 79, 0, 10]);
        bytes.extend(payload);
        bytes
    }

    fn v6(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6b, 0x80, 0, 0, 0, payload.len() as u8, number, 64];
        bytes.extend([0xfd; 32]);
        bytes.extend(payload);
        bytes
    }

    fn to_port(port: u16) -> [u8; 8] {
        let [high, low] = port.to_be_bytes();
        [0x30, 0x39, high, low, 0, 8, 0, 0]
    }

    #[test]
    fn what_wraps_a_packet_is_seen_in_both_ip_versions_and_behind_extension_headers() {
        for number in WRAPPERS {
            assert!(wraps(&v4(number, &[0; 8])), "{number}");
            assert!(wraps(&v6(number, &[0; 8])), "{number}");
            let options = [&[number, 0, 1, 4, 0, 0, 0, 0][..], &[0; 8]].concat();
            assert!(wraps(&v6(protocol::DESTINATION_OPTIONS, &options)), "{number}");
        }
        for port in [4789, 4790, 6081, 6635, 7000] {
            assert!(wraps(&v4(protocol::UDP, &to_port(port))), "{port}");
            assert!(wraps(&v6(protocol::UDP, &to_port(port))), "{port}");
        }
    }

    #[test]
    fn ordinary_packets_wrap_nothing() {
        for number in [protocol::ICMP, protocol::TCP, protocol::SCTP, 99] {
            assert!(!wraps(&v4(number, &[0; 20])), "{number}");
        }
        for port in [53, 443, 51820] {
            assert!(!wraps(&v4(protocol::UDP, &to_port(port))), "{port}");
        }
        assert!(!wraps(&[]));
        assert!(!wraps(&v4(protocol::UDP, &[0; 4])));
    }

    #[test]
    fn a_packet_that_names_its_routers_is_seen() {
        let routed = [&[protocol::TCP, 0, 0, 1, 0, 0, 0, 0][..], &[0; 20]].concat();
        assert!(wraps(&v6(protocol::ROUTING, &routed)));
        let behind = [&[protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0][..], &routed].concat();
        assert!(wraps(&v6(protocol::DESTINATION_OPTIONS, &behind)));
    }
}
