//! The messages of ICMP (RFC 792; RFC 1191 section 4 for the next-hop MTU).

use super::{HEADER_LEN_BYTES, Packet, echo_from, echo_into};
use crate::bytes::need_fit;
use crate::{Layer, Result};

mod kind {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
}

/// Code of a destination-unreachable message: fragmentation needed and DF set.
const FRAGMENTATION_NEEDED: u8 = 4;

/// An ICMP header as values. The checksum is not among them: it covers the payload, so it is filled or verified on the
/// [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// Type 8.
    EchoRequest {
        /// Whose echo it is.
        identifier: u16,
        /// Which of them.
        sequence: u16,
    },
    /// Type 0.
    EchoReply {
        /// As in the request.
        identifier: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Type 3, code 4.
    FragmentationNeeded {
        /// Bytes that fit the next hop; 0 from routers older than RFC 1191.
        mtu_bytes: u16,
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
    /// A destination-unreachable message (type 3) of this code, 0 to 15 without 4.
    pub fn unreachable(code: u8) -> Repr {
        Repr::Other { kind: kind::UNREACHABLE, code, rest: [0; 4] }
    }

    /// Time to live exceeded in transit (type 11, code 0).
    pub const TTL_EXCEEDED: Repr = Repr::Other { kind: kind::TIME_EXCEEDED, code: 0, rest: [0; 4] };

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len(Layer::Icmpv4)?;
        Ok(Repr::of(packet.kind(), packet.code(), packet.rest_of_header()))
    }

    fn of(kind: u8, code: u8, rest: [u8; 4]) -> Repr {
        let (first, second) = echo_from(rest);
        match (kind, code) {
            (kind::ECHO_REQUEST, 0) => Repr::EchoRequest { identifier: first, sequence: second },
            (kind::ECHO_REPLY, 0) => Repr::EchoReply { identifier: first, sequence: second },
            (kind::UNREACHABLE, FRAGMENTATION_NEEDED) if first == 0 => {
                Repr::FragmentationNeeded { mtu_bytes: second }
            }
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
            Repr::FragmentationNeeded { mtu_bytes } => {
                (kind::UNREACHABLE, FRAGMENTATION_NEEDED, echo_into(0, mtu_bytes))
            }
            Repr::Other { kind, code, rest } => (kind, code, rest),
        };
        need_fit(Layer::Icmpv4, "kind", Repr::of(kind, code, rest) == *self)?;
        packet.emit(Layer::Icmpv4, kind, code, rest)
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::Error;
    use crate::ip::Addresses;

    /// An echo request with four bytes of data, as smoltcp's test has it.
    const ECHO: [u8; 12] = [0x08, 0x00, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];
    const ADDRESSES: Addresses =
        Addresses::V4 { src: Ipv4Addr::LOCALHOST, dst: Ipv4Addr::LOCALHOST };
    const REPR: Repr = Repr::EchoRequest { identifier: 0x1234, sequence: 0xabcd };

    #[test]
    fn an_echo_is_read_and_written() {
        let packet = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert!(packet.verify_checksum(ADDRESSES));
        assert_eq!(packet.payload(), [0xaa, 0x00, 0x00, 0xff]);
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
            (Repr::EchoReply { identifier: 1, sequence: 2 }, [0, 0, 0, 0, 0, 1, 0, 2]),
            (Repr::FragmentationNeeded { mtu_bytes: 1400 }, [3, 4, 0, 0, 0, 0, 0x05, 0x78]),
            (Repr::unreachable(3), [3, 3, 0, 0, 0, 0, 0, 0]),
            (Repr::TTL_EXCEEDED, [11, 0, 0, 0, 0, 0, 0, 0]),
            // RFC 4884 uses the first half: it must not be lost.
            (Repr::Other { kind: 3, code: 4, rest: [0, 5, 5, 0x78] }, [3, 4, 0, 0, 0, 5, 5, 0x78]),
            (Repr::Other { kind: 8, code: 1, rest: [9; 4] }, [8, 1, 0, 0, 9, 9, 9, 9]),
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
        let layer = Layer::Icmpv4;
        assert!(Packet::new_checked(&ECHO[..7]).is_err());
        let twice = Repr::Other { kind: 8, code: 0, rest: [0; 4] };
        let emitted = twice.emit(&mut Packet::new_unchecked([0; 8]));
        assert_eq!(emitted, Err(Error::FieldValue { layer, field: "kind" }));
        let emitted = REPR.emit(&mut Packet::new_unchecked([0; 7]));
        assert_eq!(emitted, Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 }));
    }
}
