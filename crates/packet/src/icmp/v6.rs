//! The messages of ICMPv6 (RFC 4443).

use super::{HEADER_LEN_BYTES, Packet, echo_from, echo_into};
use crate::bytes::need_fit;
use crate::{Layer, Result};

mod kind {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const PACKET_TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
}

/// An ICMPv6 header as values. The checksum is not among them: it covers the payload, so it is filled or verified on
/// the [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// Type 128.
    EchoRequest {
        /// Whose echo it is.
        identifier: u16,
        /// Which of them.
        sequence: u16,
    },
    /// Type 129.
    EchoReply {
        /// As in the request.
        identifier: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Type 2.
    PacketTooBig {
        /// Bytes that fit the next hop.
        mtu_bytes: u32,
    },
    /// Any other message, as it is.
    Other {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// The four bytes behind the checksum.
        rest: [u8; 4],
    },
}

impl Repr {
    /// A destination-unreachable message (type 1) of this code.
    pub fn unreachable(code: u8) -> Repr {
        Repr::Other { kind: kind::UNREACHABLE, code, rest: [0; 4] }
    }

    /// Hop limit exceeded in transit (type 3, code 0).
    pub const HOP_LIMIT_EXCEEDED: Repr =
        Repr::Other { kind: kind::TIME_EXCEEDED, code: 0, rest: [0; 4] };

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len(Layer::Icmpv6)?;
        Ok(Repr::of(packet.kind(), packet.code(), packet.rest_of_header()))
    }

    fn of(kind: u8, code: u8, rest: [u8; 4]) -> Repr {
        let (identifier, sequence) = echo_from(rest);
        match (kind, code) {
            (kind::ECHO_REQUEST, 0) => Repr::EchoRequest { identifier, sequence },
            (kind::ECHO_REPLY, 0) => Repr::EchoReply { identifier, sequence },
            (kind::PACKET_TOO_BIG, 0) => Repr::PacketTooBig { mtu_bytes: u32::from_be_bytes(rest) },
            _ => Repr::Other { kind, code, rest },
        }
    }

    /// Bytes that [`Repr::emit`] writes: the header.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the header with checksum 0.
    ///
    /// # Errors
    /// [`Error::NoRoom`](crate::Error::NoRoom), or [`Error::FieldValue`](crate::Error::FieldValue) for a
    /// [`Repr::Other`] that another variant says; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let (kind, code, rest) = match *self {
            Repr::EchoRequest { identifier, sequence } => {
                (kind::ECHO_REQUEST, 0, echo_into(identifier, sequence))
            }
            Repr::EchoReply { identifier, sequence } => {
                (kind::ECHO_REPLY, 0, echo_into(identifier, sequence))
            }
            Repr::PacketTooBig { mtu_bytes } => (kind::PACKET_TOO_BIG, 0, mtu_bytes.to_be_bytes()),
            Repr::Other { kind, code, rest } => (kind, code, rest),
        };
        need_fit(Layer::Icmpv6, "kind", Repr::of(kind, code, rest) == *self)?;
        packet.emit(Layer::Icmpv6, kind, code, rest)
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::Error;
    use crate::ip::Addresses;

    /// An echo reply between link-local addresses with four bytes of data, as scapy writes it.
    const ECHO: [u8; 12] = [0x81, 0x00, 0x18, 0xb3, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];
    const ADDRESSES: Addresses = Addresses::V6 {
        src: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        dst: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),
    };
    const REPR: Repr = Repr::EchoReply { identifier: 0x1234, sequence: 0xabcd };

    #[test]
    fn an_echo_is_read_and_written() {
        let packet = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert!(packet.verify_checksum(ADDRESSES));
        let mut bytes = ECHO;
        bytes[..8].fill(0xff);
        let mut packet = Packet::new_unchecked(&mut bytes);
        REPR.emit(&mut packet).unwrap();
        packet.fill_checksum(ADDRESSES);
        assert_eq!(bytes, ECHO);
    }

    #[test]
    fn each_message_has_its_bytes() {
        let cases = [
            (Repr::EchoRequest { identifier: 1, sequence: 2 }, [128, 0, 0, 0, 0, 1, 0, 2]),
            (Repr::PacketTooBig { mtu_bytes: 1280 }, [2, 0, 0, 0, 0, 0, 0x05, 0x00]),
            (Repr::unreachable(4), [1, 4, 0, 0, 0, 0, 0, 0]),
            (Repr::HOP_LIMIT_EXCEEDED, [3, 0, 0, 0, 0, 0, 0, 0]),
            (Repr::Other { kind: 135, code: 0, rest: [0; 4] }, [135, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (repr, bytes) in cases {
            let mut packet = Packet::new_unchecked([0xff; 8]);
            repr.emit(&mut packet).unwrap();
            assert_eq!(Repr::parse(&packet), Ok(repr));
            assert_eq!(packet.into_inner(), bytes);
        }
    }

    #[test]
    fn what_cannot_be_read_or_written_is_refused() {
        let layer = Layer::Icmpv6;
        let short = Repr::parse(&Packet::new_unchecked(&ECHO[..7]));
        assert_eq!(short, Err(Error::Truncated { layer, needed_bytes: 8, present_bytes: 7 }));
        let twice = Repr::Other { kind: 2, code: 0, rest: [0; 4] };
        let emitted = twice.emit(&mut Packet::new_unchecked([0; 8]));
        assert_eq!(emitted, Err(Error::FieldValue { layer, field: "kind" }));
        let emitted = REPR.emit(&mut Packet::new_unchecked([0; 7]));
        assert_eq!(emitted, Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 }));
    }
}
