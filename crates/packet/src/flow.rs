//! Which flow an IP packet belongs to: addresses, protocol and ports (the 5-tuple of RFC 7011's flow keys).

use core::fmt;
use core::net::IpAddr;

use crate::ip::protocol;
use crate::{Error, Layer, ipv4, ipv6};

/// The 5-tuple of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; 0 if the protocol has none.
    pub src_port: u16,
    /// Destination port; 0 if the protocol has none.
    pub dst_port: u16,
    /// The transport protocol ([`protocol`]), behind all extension headers.
    pub protocol: u8,
}

/// Why a packet has no flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowError {
    /// It is part of a larger packet, so its ports may be in another part. Atomic fragments (RFC 6946) are no part.
    Fragment,
    /// The version field is neither 4 nor 6, or there is not even that.
    NotIp,
    /// A header is malformed.
    Header(Error),
}

impl From<Error> for FlowError {
    fn from(error: Error) -> FlowError {
        FlowError::Header(error)
    }
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlowError::Fragment => "the packet is a fragment",
            FlowError::NotIp => "the packet is neither IPv4 nor IPv6",
            FlowError::Header(_) => "the packet has a malformed header",
        })
    }
}

impl core::error::Error for FlowError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            FlowError::Header(error) => Some(error),
            FlowError::Fragment | FlowError::NotIp => None,
        }
    }
}

impl FlowKey {
    /// The flow of a packet that begins with its IP header. Checksums are not verified. TCP, UDP and SCTP have ports.
    ///
    /// # Errors
    /// [`FlowError`].
    pub fn of(packet: &[u8]) -> Result<FlowKey, FlowError> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => FlowKey::of_ipv4(packet),
            Some(6) => FlowKey::of_ipv6(packet),
            _ => Err(FlowError::NotIp),
        }
    }

    fn of_ipv4(packet: &[u8]) -> Result<FlowKey, FlowError> {
        let packet = ipv4::Packet::new_checked(packet)?;
        if packet.is_fragment() {
            return Err(FlowError::Fragment);
        }
        let protocol = packet.protocol();
        let (src_port, dst_port) = ports(protocol, packet.payload())?;
        let (src, dst) = (packet.src_addr().into(), packet.dst_addr().into());
        Ok(FlowKey { src, dst, src_port, dst_port, protocol })
    }

    fn of_ipv6(packet: &[u8]) -> Result<FlowKey, FlowError> {
        let packet = ipv6::Packet::new_checked(packet)?;
        let upper = packet.upper_layer()?;
        if upper.is_fragment() {
            return Err(FlowError::Fragment);
        }
        let protocol = upper.protocol;
        let (src_port, dst_port) = ports(protocol, upper.payload)?;
        let (src, dst) = (packet.src_addr().into(), packet.dst_addr().into());
        Ok(FlowKey { src, dst, src_port, dst_port, protocol })
    }

    /// The flow of the answers.
    #[must_use]
    pub fn reversed(self) -> FlowKey {
        FlowKey {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }
}

/// TCP, UDP and SCTP all begin with source and destination port.
fn ports(protocol: u8, transport: &[u8]) -> Result<(u16, u16), Error> {
    let layer = match protocol {
        protocol::TCP => Layer::Tcp,
        protocol::UDP => Layer::Udp,
        protocol::SCTP => Layer::Transport,
        _ => return Ok((0, 0)),
    };
    match *transport {
        [a, b, c, d, ..] => Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => Err(Error::Truncated { layer, needed_bytes: 4, present_bytes: transport.len() }),
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::ip::Ecn;

    const SRC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn v4(protocol: u8, fragment_offset_bytes: u16, more_fragments: bool) -> Vec<u8> {
        let repr = ipv4::Repr {
            dscp: 0,
            ecn: Ecn::NotEct,
            identification: 7,
            dont_fragment: false,
            more_fragments,
            fragment_offset_bytes,
            ttl: 64,
            protocol,
            src_addr: Ipv4Addr::new(10, 0, 0, 1),
            dst_addr: Ipv4Addr::new(10, 0, 0, 2),
            options: &[0x94, 4, 0, 0],
            payload_len: 4,
        };
        let mut bytes = [0; 28];
        repr.emit(&mut ipv4::Packet::new_unchecked(&mut bytes)).unwrap();
        bytes[24..].copy_from_slice(&[0x30, 0x39, 0x00, 0x50]);
        bytes.to_vec()
    }

    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let repr = ipv6::Repr {
            dscp: 0,
            ecn: Ecn::NotEct,
            flow_label: 0,
            payload_len: payload.len() as u16,
            next_header,
            hop_limit: 64,
            src_addr: SRC,
            dst_addr: DST,
        };
        let mut bytes = [0; 40];
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut bytes)).unwrap();
        [&bytes[..], payload].concat()
    }

    #[test]
    fn ports_are_those_of_tcp_udp_and_sctp() {
        for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
            let key = FlowKey::of(&v4(protocol, 0, false)).unwrap();
            assert_eq!((key.src_port, key.dst_port, key.protocol), (12345, 80, protocol));
            assert_eq!(key.src, IpAddr::from([10, 0, 0, 1]));
            assert_eq!(key.dst, IpAddr::from([10, 0, 0, 2]));
        }
        for protocol in [protocol::ICMP, protocol::ESP, 99] {
            let key = FlowKey::of(&v4(protocol, 0, false)).unwrap();
            assert_eq!((key.src_port, key.dst_port, key.protocol), (0, 0, protocol));
        }
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let mut payload = Vec::from([protocol::FRAGMENT, 0, 5, 2, 0, 0, 1, 0]);
        payload.extend([protocol::UDP, 0, 0, 0, 0, 0, 0, 7]);
        payload.extend([0x30, 0x39, 0x00, 0x35]);
        let key = FlowKey::of(&v6(protocol::HOP_BY_HOP, &payload)).unwrap();
        let (src, dst) = (SRC.into(), DST.into());
        let expected = FlowKey { src, dst, src_port: 12345, dst_port: 53, protocol: protocol::UDP };
        assert_eq!(key, expected);
    }

    #[test]
    fn fragments_have_no_key() {
        assert_eq!(FlowKey::of(&v4(protocol::UDP, 0, true)), Err(FlowError::Fragment));
        assert_eq!(FlowKey::of(&v4(protocol::UDP, 8, false)), Err(FlowError::Fragment));
        let first = [protocol::UDP, 0, 0, 1, 0, 0, 0, 7, 0x30, 0x39, 0x00, 0x35];
        assert_eq!(FlowKey::of(&v6(protocol::FRAGMENT, &first)), Err(FlowError::Fragment));
        let last = [protocol::UDP, 0, 0, 8, 0, 0, 0, 7];
        assert_eq!(FlowKey::of(&v6(protocol::FRAGMENT, &last)), Err(FlowError::Fragment));
    }

    #[test]
    fn the_reverse_of_the_reverse_is_the_flow() {
        let key = FlowKey::of(&v4(protocol::TCP, 0, false)).unwrap();
        assert_eq!((key.reversed().src, key.reversed().src_port), (key.dst, key.dst_port));
        assert_eq!((key.reversed().dst, key.reversed().dst_port), (key.src, key.src_port));
        assert_eq!(key.reversed().reversed(), key);
    }

    #[test]
    fn what_is_no_packet_has_no_key() {
        assert_eq!(FlowKey::of(&[]), Err(FlowError::NotIp));
        assert_eq!(FlowKey::of(&[0x50; 40]), Err(FlowError::NotIp));
        let cut = Error::Truncated { layer: Layer::Udp, needed_bytes: 4, present_bytes: 3 };
        let key = FlowKey::of(&v6(protocol::UDP, &[0x30, 0x39, 0x00]));
        assert_eq!(key, Err(FlowError::Header(cut)));
        let source = core::error::Error::source(&FlowError::Header(cut)).unwrap().to_string();
        assert_eq!(source, "the UDP header needs 4 bytes and 3 are there");
        assert_ne!(FlowError::Header(cut).to_string(), source);
        assert!(matches!(FlowKey::of(&v4(6, 0, false)[..27]), Err(FlowError::Header(_))));
    }
}
