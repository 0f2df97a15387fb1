//! Which packet an ICMP error is about: its headers follow the error's own (RFC 792; RFC 4443 section 2.4 c; RFC 1122
//! section 3.2.2 asks for at least 8 bytes behind the IP header, which hold the ports).

use core::net::{Ipv4Addr, Ipv6Addr};

use super::Packet;
use crate::flow::FlowKey;
use crate::ip::protocol;
use crate::{ipv4, ipv6};

/// The flow of the packet that the ICMP error `packet`, an IP packet, is about; in the direction of that packet, which
/// is opposite to the error's. `None` for all that is no error, or that quotes too little. The quoted packet may be cut
/// short and its lengths and checksums say nothing.
pub fn subject(packet: &[u8]) -> Option<FlowKey> {
    match packet.first()? >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).ok()?;
            let error = packet.protocol() == protocol::ICMP && !packet.is_fragment();
            let message = error.then(|| Packet::new_checked(packet.payload()).ok())??;
            // Unreachable, source quench, redirect, time exceeded, parameter problem.
            matches!(message.kind(), 3..=5 | 11 | 12).then(|| quoted_ipv4(message.payload()))?
        }
        6 => {
            let packet = ipv6::Packet::new_checked(packet).ok()?;
            let upper = packet.upper_layer().ok()?;
            let error = upper.protocol == protocol::ICMPV6 && !upper.is_fragment();
            let message = error.then(|| Packet::new_checked(upper.payload).ok())??;
            // Errors are those below 128.
            (message.kind() < 128).then(|| quoted_ipv6(message.payload()))?
        }
        _ => None,
    }
}

fn quoted_ipv4(quote: &[u8]) -> Option<FlowKey> {
    let header = quote.first_chunk::<{ ipv4::MIN_HEADER_LEN_BYTES }>()?;
    let view = ipv4::Packet::new_unchecked(&header[..]);
    if view.version() != 4
        || view.header_len() < ipv4::MIN_HEADER_LEN_BYTES
        || view.fragment_offset_bytes() != 0
    {
        return None;
    }
    let (src_port, dst_port) = ports(view.protocol(), quote.get(view.header_len()..)?)?;
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (view.src_addr(), view.dst_addr());
    let protocol = view.protocol();
    Some(FlowKey { src: src.into(), dst: dst.into(), src_port, dst_port, protocol })
}

fn quoted_ipv6(quote: &[u8]) -> Option<FlowKey> {
    let header = quote.first_chunk::<{ ipv6::HEADER_LEN_BYTES }>()?;
    let view = ipv6::Packet::new_unchecked(&header[..]);
    let rest = &quote[ipv6::HEADER_LEN_BYTES..];
    let upper = ipv6::extension::walk(view.next_header(), rest).ok()?;
    if view.version() != 6 || upper.fragment.is_some_and(|part| part.offset_bytes != 0) {
        return None;
    }
    let (src_port, dst_port) = ports(upper.protocol, upper.payload)?;
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (view.src_addr(), view.dst_addr());
    let protocol = upper.protocol;
    Some(FlowKey { src: src.into(), dst: dst.into(), src_port, dst_port, protocol })
}

fn ports(protocol: u8, transport: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let [a, b, c, d] = *transport.first_chunk()?;
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;
    use std::vec::Vec;

    use super::*;

    /// IPv4 of this protocol, its total length too large for what is there: as quoted by a router.
    fn quoted(protocol: u8, offset: u16) -> Vec<u8> {
        let mut bytes = Vec::from([0x45, 0, 0x05, 0xdc, 0, 7]);
        bytes.extend((offset / 8).to_be_bytes());
        bytes.extend([63, protocol, 0xaa, 0xbb, 10, 78, 0, 1, 10, 79, 0, 10]);
        bytes.extend([0x9c, 0x40, 0, 80, 1, 2, 3, 4]);
        bytes
    }

    fn error(kind: u8, quote: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([0x45, 0, 0, (28 + quote.len()) as u8, 0, 0, 0, 0, 64, 1, 0, 0]);
        bytes.extend([10, 99, 0, 1, 10, 78, 0, 1, kind, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(quote);
        bytes
    }

    #[test]
    fn an_error_names_the_flow_it_is_about() {
        let flow = subject(&error(3, &quoted(protocol::TCP, 0))).unwrap();
        assert_eq!((flow.src, flow.src_port), (IpAddr::from([10, 78, 0, 1]), 40_000));
        assert_eq!((flow.dst, flow.dst_port), (IpAddr::from([10, 79, 0, 10]), 80));
        let ping = subject(&error(11, &quoted(protocol::ICMP, 0))).unwrap();
        assert_eq!((ping.src_port, ping.dst_port), (0, 0));
    }

    #[test]
    fn what_is_no_error_or_quotes_too_little_names_none() {
        assert_eq!(subject(&error(8, &quoted(protocol::TCP, 0))), None, "an echo");
        assert_eq!(subject(&error(3, &quoted(protocol::TCP, 8))), None, "a later fragment");
        for len in 0..24 {
            assert_eq!(subject(&error(3, &quoted(protocol::TCP, 0)[..len])), None, "{len}");
        }
        assert_eq!(subject(&[]), None);
    }

    #[test]
    fn ipv6_extension_headers_in_the_quote_are_stepped_over() {
        let mut quote = Vec::from([0x60, 0, 0, 0, 0x05, 0, protocol::DESTINATION_OPTIONS, 63]);
        quote.extend([0xfd; 32]);
        quote.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0, 0x30, 0x39, 0, 53]);
        let mut bytes = Vec::from([0x60, 0, 0, 0, 0, (8 + quote.len()) as u8, 58, 64]);
        bytes.extend([0xfc; 32]);
        bytes.extend([2, 0, 0, 0, 0, 0, 5, 0]);
        bytes.extend(&quote);
        let flow = subject(&bytes).unwrap();
        assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (12345, 53, protocol::UDP));
    }
}
