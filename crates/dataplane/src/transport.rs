//! ESP in transport mode (RFC 4303 section 3.1.1), the paper's choice (section VI.C): the packet keeps its own IP header.
//!
//! ```text
//!          | IPv4 with options, or IPv6 | TCP, UDP, ...            |
//! | labels | the same, protocol 50      | ESP | encrypted ... | ICV |
//! ```
//!
//! Protocol, length and the IPv4 checksum are all that changes, so that opening gives back the same bytes. Only whole
//! packets are carried, and of IPv6 only those without extension headers: which of these ESP follows depends on what
//! they are (RFC 4303 section 3.1.1), and a forged one could change what an inner packet is.
//!
//! What is lost against tunnel mode: everyone on the link sees the addresses, and they are not authentic. ESP covers
//! nothing in front of itself, so whoever is on the link may change them, and only a flow check or a transport
//! checksum would notice. Of the IPv6 header nothing is protected, not even by a checksum.

use ringmail_packet::{ipv4, ipv6};

use crate::esp::NEXT_DUMMY;
use crate::verdict::DropReason;

/// The header of a packet that transport mode can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len_bytes: usize,
    /// What the packet carries: the next header of its ESP packet.
    pub(crate) protocol: u8,
}

/// Looks at the header of an inner packet that is to be sealed.
pub(crate) fn carriable(packet: &[u8]) -> Result<Header, DropReason> {
    let malformed = |_| DropReason::MalformedInner;
    let (header, whole) = match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let view = ipv4::Packet::new_checked(packet).map_err(malformed)?;
            if view.is_fragment() {
                return Err(DropReason::Fragment);
            }
            let whole = usize::from(view.total_len()) == packet.len() && view.verify_checksum();
            (Header { len_bytes: view.header_len(), protocol: view.protocol() }, whole)
        }
        _ => {
            let view = ipv6::Packet::new_checked(packet).map_err(malformed)?;
            let len_bytes = ipv6::HEADER_LEN_BYTES;
            if ipv6::extension::is_extension(view.next_header()) {
                return Err(DropReason::NotForTransport);
            }
            let whole = len_bytes + usize::from(view.payload_len()) == packet.len();
            (Header { len_bytes, protocol: view.next_header() }, whole)
        }
    };
    match whole {
        false => Err(DropReason::MalformedInner),
        true if header.protocol == NEXT_DUMMY => Err(DropReason::NotForTransport),
        true => Ok(header),
    }
}

/// Whether `next_header`, which ESP was found to carry, may follow this header again.
pub(crate) fn check_opened(header: &[u8], next_header: u8) -> Result<(), DropReason> {
    match header[0] >> 4 {
        4 if ipv4::Packet::new_unchecked(header).is_fragment() => Err(DropReason::Fragment),
        6 if ipv6::extension::is_extension(next_header) => Err(DropReason::WrongNextHeader),
        _ => Ok(()),
    }
}

/// Bytes of the IP header that `packet` begins with. The header was checked before.
pub(crate) fn header_len_bytes(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => ipv4::Packet::new_unchecked(packet).header_len(),
        _ => ipv6::HEADER_LEN_BYTES,
    }
}

/// Makes `header`, an IPv4 header with all its options or an IPv6 header, that of a packet which carries
/// `payload_len_bytes` of `protocol`.
pub(crate) fn rewrite(header: &mut [u8], protocol: u8, payload_len_bytes: usize) {
    match header[0] >> 4 {
        4 => {
            let total_len = header.len() + payload_len_bytes;
            let mut packet = ipv4::Packet::new_unchecked(header);
            packet.set_protocol(protocol);
            packet.set_total_len(total_len as u16);
            packet.fill_checksum();
        }
        _ => {
            let mut packet = ipv6::Packet::new_unchecked(header);
            packet.set_next_header(protocol);
            packet.set_payload_len(payload_len_bytes as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The edges refuse fragments before, since they have no flow; this does not rely on it.
    #[test]
    fn fragments_are_not_carried() {
        let mut packet = [0x45, 0, 0, 20, 0, 1, 0x20, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ipv4::Packet::new_unchecked(&mut packet[..]).fill_checksum();
        assert_eq!(carriable(&packet), Err(DropReason::Fragment));
        packet[6] = 0;
        ipv4::Packet::new_unchecked(&mut packet[..]).fill_checksum();
        assert_eq!(carriable(&packet), Ok(Header { len_bytes: 20, protocol: 6 }));
    }
}
