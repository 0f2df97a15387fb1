//! What IPv4 and IPv6 share: protocol numbers, the ECN field (RFC 3168) and the pair of addresses below a transport
//! header.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

/// Protocol numbers, the same in IPv4's protocol and IPv6's next-header field (IANA registry "Protocol Numbers").
pub mod protocol {
    /// Hop-by-Hop Options, directly behind an IPv6 header only (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// IPv4 inside (RFC 2003); ESP's next header in tunnel mode.
    pub const IPV4: u8 = 4;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 inside (RFC 2473); ESP's next header in tunnel mode.
    pub const IPV6: u8 = 41;
    /// IPv6 Routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 Fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// ESP (RFC 4303).
    pub const ESP: u8 = 50;
    /// AH (RFC 4302).
    pub const AH: u8 = 51;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Nothing follows (RFC 8200 section 4.7); ESP's dummy packets (RFC 4303 section 2.6).
    pub const NONE: u8 = 59;
    /// IPv6 Destination Options (RFC 8200 section 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// MPLS in IP (RFC 4023).
    pub const MPLS: u8 = 137;
}

/// The ECN field (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotEct,
    /// ECN-capable, codepoint 01 (L4S, RFC 9331).
    Ect1,
    /// ECN-capable, codepoint 10.
    Ect0,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// From the two low bits; the others are ignored.
    pub fn from_bits(bits: u8) -> Ecn {
        match bits & 0b11 {
            0b00 => Ecn::NotEct,
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The two bits.
    pub fn bits(self) -> u8 {
        self as u8
    }
}

/// Source and destination of one IP packet, of one version by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Of an IPv4 packet.
    V4 {
        /// Source.
        src: Ipv4Addr,
        /// Destination.
        dst: Ipv4Addr,
    },
    /// Of an IPv6 packet.
    V6 {
        /// Source.
        src: Ipv6Addr,
        /// Destination.
        dst: Ipv6Addr,
    },
}

impl Addresses {
    /// The pair, if both are of one version.
    pub fn new(src: IpAddr, dst: IpAddr) -> Option<Addresses> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Addresses::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Addresses::V6 { src, dst }),
            _ => None,
        }
    }

    /// The source.
    pub fn src(self) -> IpAddr {
        match self {
            Addresses::V4 { src, .. } => src.into(),
            Addresses::V6 { src, .. } => src.into(),
        }
    }

    /// The destination.
    pub fn dst(self) -> IpAddr {
        match self {
            Addresses::V4 { dst, .. } => dst.into(),
            Addresses::V6 { dst, .. } => dst.into(),
        }
    }

    /// The sum of the pseudo-header above `upper_len_bytes` of upper-layer header and data, as [`checksum::combine`]
    /// takes it. Over IPv4 there are at most 65,535 of them.
    pub fn pseudo_header(self, protocol: u8, upper_len_bytes: usize) -> u16 {
        match self {
            Addresses::V4 { src, dst } => {
                checksum::pseudo_header_v4(src, dst, protocol, upper_len_bytes as u16)
            }
            Addresses::V6 { src, dst } => {
                checksum::pseudo_header_v6(src, dst, protocol, upper_len_bytes as u32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecn_codepoints_are_those_of_rfc_3168_figure_1() {
        let codepoints = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];
        for (bits, ecn) in codepoints.into_iter().enumerate() {
            assert_eq!(Ecn::from_bits(bits as u8), ecn);
            assert_eq!(ecn.bits(), bits as u8);
        }
        assert_eq!(Ecn::from_bits(0xfe), Ecn::Ect0);
    }

    #[test]
    fn addresses_of_two_versions_are_no_pair() {
        let four = IpAddr::from([10, 0, 0, 1]);
        let six = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        assert_eq!(Addresses::new(four, six), None);
        assert_eq!(Addresses::new(six, six).map(|pair| pair.dst()), Some(six));
        assert_eq!(Addresses::new(four, four).map(|pair| pair.src()), Some(four));
    }
}
