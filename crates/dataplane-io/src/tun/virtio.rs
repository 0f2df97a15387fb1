//! The header that a TUN puts before each packet: `struct virtio_net_hdr` (Virtio 1.2 section 5.1.6, linux/virtio_net.h).
//!
//! ```text
//! | flags 1 | gso_type 1 | hdr_len 2 | gso_size 2 | csum_start 2 | csum_offset 2 |     in the machine's byte order
//! ```

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What the header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioHeader {
    /// Where the checksum begins and how far behind that it is stored, if it holds only the pseudo header's sum so far.
    pub needs_checksum: Option<(u16, u16)>,
    /// Whether the packet is several in one, and of what kind.
    pub gso: Gso,
    /// Whether the first of its TCP packets, and only that, carries CWR.
    pub ecn: bool,
    /// Bytes of headers, a hint.
    pub header_len: u16,
    /// Bytes of payload in each packet but the last.
    pub gso_size: u16,
}

/// Of what kind a super-packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gso {
    /// One packet.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either.
    Udp,
    /// One that was not asked for.
    Unknown(u8),
}

impl VirtioHeader {
    /// Reads the header.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> VirtioHeader {
        let [flags, kind, rest @ ..] = *bytes;
        let number = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        let gso = match kind & !GSO_ECN {
            0 => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::Udp,
            other => Gso::Unknown(other),
        };
        VirtioHeader {
            needs_checksum: (flags & NEEDS_CSUM != 0).then(|| (number(4), number(6))),
            gso,
            ecn: kind & GSO_ECN != 0,
            header_len: number(0),
            gso_size: number(2),
        }
    }

    /// Writes the header.
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        let kind = match self.gso {
            Gso::None => 0,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::Udp => GSO_UDP_L4,
            Gso::Unknown(other) => other,
        };
        let (start, offset) = self.needs_checksum.unwrap_or_default();
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = if self.needs_checksum.is_some() { NEEDS_CSUM } else { 0 };
        bytes[1] = kind | if self.ecn { GSO_ECN } else { 0 };
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        bytes
    }
}

impl VirtioHeader {
    /// The header of the same packet without its first `bytes`: a frame's IP packet without the Ethernet header. Nothing
    /// if a checksum begins within them.
    pub fn behind(self, bytes: u16) -> Option<VirtioHeader> {
        self.moved(|at| at.checked_sub(bytes))
    }

    /// The header of the same packet with `bytes` more before it. Nothing if numbers end before that.
    pub fn before(self, bytes: u16) -> Option<VirtioHeader> {
        self.moved(|at| at.checked_add(bytes))
    }

    fn moved(self, by: impl Fn(u16) -> Option<u16>) -> Option<VirtioHeader> {
        let needs_checksum = match self.needs_checksum {
            Some((start, offset)) => Some((by(start)?, offset)),
            None => None,
        };
        // The kernel leaves the hint 0 where there is nothing to cut.
        let header_len = if self.gso == Gso::None { 0 } else { by(self.header_len)? };
        Some(VirtioHeader { needs_checksum, header_len, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_writing_and_reading() {
        let header = VirtioHeader {
            needs_checksum: Some((20, 16)),
            gso: Gso::TcpV4,
            ecn: true,
            header_len: 52,
            gso_size: 1348,
        };
        assert_eq!(VirtioHeader::parse(&header.emit()), header);
        assert_eq!(VirtioHeader::parse(&[0; HEADER_BYTES]), VirtioHeader::default());
    }

    #[test]
    fn a_header_moves_with_what_is_before_the_packet() {
        let needs_checksum = Some((34, 16));
        let (gso, header_len) = (Gso::TcpV4, 66);
        let frame = VirtioHeader { needs_checksum, gso, header_len, ..VirtioHeader::default() };
        let packet = frame.behind(14).unwrap();
        assert_eq!((packet.needs_checksum, packet.header_len), (Some((20, 16)), 52));
        assert_eq!(packet.before(14), Some(frame));
        assert_eq!((frame.behind(35), frame.before(u16::MAX)), (None, None));
        assert_eq!(VirtioHeader::default().behind(14), Some(VirtioHeader::default()));
    }
}
