//! IPv6 extension headers: Hop-by-Hop Options, Routing, Destination Options (RFC 8200 sections 4.3, 4.4, 4.6) as
//! [`Packet`], and the [`walk`] over all kinds, Fragment and AH (RFC 4302) included.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |  Hdr Ext Len  |   data up to 8 * (len + 1)    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::fragment;
use crate::bytes::{need, need_fit, need_room};
use crate::ip::protocol;
use crate::limits::IPV6_EXTENSION_HEADERS;
use crate::{Error, Layer, Result};

/// The unit of lengths, and the smallest header, in bytes.
const UNIT_BYTES: usize = 8;

/// Bytes before the data.
const FIXED_LEN_BYTES: usize = 2;

mod field {
    pub(super) const NEXT_HEADER: usize = 0;
    pub(super) const LENGTH: usize = 1;
}

/// What stands behind the extension headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer<'a> {
    /// Its protocol number; [`protocol::NONE`] if nothing follows.
    pub protocol: u8,
    /// Bytes between the fixed header and `payload`.
    pub extensions_len_bytes: usize,
    /// Its header and data; in a fragment that is not the first, data from the middle.
    pub payload: &'a [u8],
    /// The Fragment header, if there was one, even an atomic one.
    pub fragment: Option<fragment::Repr>,
}

impl UpperLayer<'_> {
    /// Whether the packet is part of a larger one; an atomic fragment (RFC 6946) is not.
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }
}

/// Walks from the header of kind `next_header`, with which `payload` begins, to the transport header. Behind a Fragment header that is not
/// the first fragment's the walk ends: what follows is not a header.
///
/// # Errors
/// [`Error::Truncated`], [`Error::TooManyExtensionHeaders`], [`Error::HopByHopNotFirst`], or [`Error::HeaderLength`]
/// for an AH shorter than its fixed part.
pub fn walk(next_header: u8, payload: &[u8]) -> Result<UpperLayer<'_>> {
    let mut upper =
        UpperLayer { protocol: next_header, extensions_len_bytes: 0, payload, fragment: None };
    for seen in 0..=IPV6_EXTENSION_HEADERS {
        let data = upper.payload;
        let (next, len_bytes) = match upper.protocol {
            protocol::HOP_BY_HOP if seen > 0 => return Err(Error::HopByHopNotFirst),
            _ if !is_extension(upper.protocol) => return Ok(upper),
            _ if seen == IPV6_EXTENSION_HEADERS => break,
            protocol::FRAGMENT => {
                let packet = fragment::Packet::new_checked(data)?;
                upper.fragment = Some(fragment::Repr::parse(&packet)?);
                (packet.next_header(), fragment::HEADER_LEN_BYTES)
            }
            protocol::AH => (next_of_ah(data)?, len_of_ah(data)?),
            _ => {
                let packet = Packet::new_checked(data)?;
                (packet.next_header(), packet.header_len())
            }
        };
        let ends_here = upper.protocol == protocol::FRAGMENT
            && upper.fragment.is_some_and(|fragment| fragment.offset_bytes > 0);
        upper.protocol = next;
        upper.extensions_len_bytes += len_bytes;
        upper.payload = &data[len_bytes..];
        if ends_here {
            return Ok(upper);
        }
    }
    Err(Error::TooManyExtensionHeaders)
}

/// Whether the walk steps over headers of this kind. ESP ends it: what follows is encrypted.
pub fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AH
            | protocol::DESTINATION_OPTIONS
    )
}

fn next_of_ah(data: &[u8]) -> Result<u8> {
    need(Layer::Ipv6Extension, data, UNIT_BYTES)?;
    Ok(data[field::NEXT_HEADER])
}

/// AH counts in words of 4 bytes, less 2 (RFC 4302 section 2.2); its fixed part is 12 bytes.
fn len_of_ah(data: &[u8]) -> Result<usize> {
    need(Layer::Ipv6Extension, data, UNIT_BYTES)?;
    let len_bytes = (usize::from(data[field::LENGTH]) + 2) * 4;
    if len_bytes < 12 {
        return Err(Error::HeaderLength { layer: Layer::Ipv6Extension, found_bytes: len_bytes });
    }
    need(Layer::Ipv6Extension, data, len_bytes)?;
    Ok(len_bytes)
}

/// A view over a Hop-by-Hop Options, Routing or Destination Options header and what follows it.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic, as long as the length is not set anew.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`].
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn check_len(&self) -> Result<()> {
        let data = self.buffer.as_ref();
        need(Layer::Ipv6Extension, data, UNIT_BYTES)?;
        need(Layer::Ipv6Extension, data, self.header_len())
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What follows this header.
    pub fn next_header(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_HEADER]
    }

    /// Bytes of the header, a multiple of 8.
    pub fn header_len(&self) -> usize {
        (usize::from(self.buffer.as_ref()[field::LENGTH]) + 1) * UNIT_BYTES
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// The header's own data: options, or routing type, segments left and addresses.
    pub fn data(&self) -> &'a [u8] {
        &self.buffer.as_ref()[FIXED_LEN_BYTES..self.header_len()]
    }

    /// Everything behind the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets what follows.
    pub fn set_next_header(&mut self, next_header: u8) {
        self.buffer.as_mut()[field::NEXT_HEADER] = next_header;
    }

    /// Sets the bytes of the header: a multiple of 8, from 8 to 2048.
    pub fn set_header_len(&mut self, header_len_bytes: usize) {
        self.buffer.as_mut()[field::LENGTH] = (header_len_bytes / UNIT_BYTES).wrapping_sub(1) as u8;
    }

    /// The header's own data, to change in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[FIXED_LEN_BYTES..end]
    }
}

/// A Hop-by-Hop Options, Routing or Destination Options header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a> {
    /// What follows this header.
    pub next_header: u8,
    /// The header's own data: 6 bytes and a multiple of 8.
    pub data: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse<T: AsRef<[u8]> + ?Sized>(packet: &Packet<&'a T>) -> Result<Repr<'a>> {
        packet.check_len()?;
        Ok(Repr { next_header: packet.next_header(), data: packet.data() })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        FIXED_LEN_BYTES + self.data.len()
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] if the data does not fill the header to a multiple of 8 bytes or is
    /// longer than 2046; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let len_bytes = self.buffer_len();
        let fits = len_bytes.is_multiple_of(UNIT_BYTES)
            && (UNIT_BYTES..=256 * UNIT_BYTES).contains(&len_bytes);
        need_fit(Layer::Ipv6Extension, "data", fits)?;
        need_room(Layer::Ipv6Extension, packet.buffer.as_ref(), len_bytes)?;
        packet.set_next_header(self.next_header);
        packet.set_header_len(len_bytes);
        packet.data_mut().copy_from_slice(self.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// Hop-by-Hop Options with a router alert as scapy writes it, ICMPv6 behind it.
    const ROUTER_ALERT: [u8; 12] =
        [0x3a, 0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00, 0x8f, 0x00, 0xca, 0xfe];

    #[test]
    fn a_header_is_read_and_written() {
        let packet = Packet::new_checked(&ROUTER_ALERT[..]).unwrap();
        let repr = Repr::parse(&packet).unwrap();
        let data = [0x05, 0x02, 0x00, 0x00, 0x01, 0x00];
        assert_eq!(repr, Repr { next_header: protocol::ICMPV6, data: &data });
        assert_eq!(packet.payload(), &ROUTER_ALERT[8..]);
        let mut bytes = [0xff; 8];
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, ROUTER_ALERT[..8]);
    }

    #[test]
    fn the_walk_steps_over_every_kind() {
        let mut bytes = vec![protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0];
        bytes.extend([protocol::FRAGMENT, 1]);
        bytes.extend([0; 14]);
        bytes.extend([protocol::AH, 0, 0, 1, 0, 0, 0, 7]);
        bytes.extend([protocol::DESTINATION_OPTIONS, 4]);
        bytes.extend([0; 22]);
        bytes.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([0xab, 0xcd]);
        let upper = walk(protocol::HOP_BY_HOP, &bytes).unwrap();
        assert_eq!(upper.protocol, protocol::UDP);
        assert_eq!(upper.payload, [0xab, 0xcd]);
        assert_eq!(upper.extensions_len_bytes, bytes.len() - 2);
        assert!(upper.is_fragment());
    }

    #[test]
    fn the_walk_ends_at_a_later_fragment_and_passes_an_atomic_one() {
        let later = [protocol::DESTINATION_OPTIONS, 0, 0x00, 0x08, 0, 0, 0, 7, 0xff];
        let upper = walk(protocol::FRAGMENT, &later).unwrap();
        assert_eq!((upper.protocol, upper.payload), (protocol::DESTINATION_OPTIONS, &[0xff][..]));
        assert!(upper.is_fragment());
        let atomic = [protocol::TCP, 0, 0, 0, 0, 0, 0, 7, 0xff];
        let upper = walk(protocol::FRAGMENT, &atomic).unwrap();
        assert!(!upper.is_fragment() && upper.fragment.is_some());
        assert_eq!(upper.protocol, protocol::TCP);
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |headers: usize| -> Vec<u8> {
            let mut bytes = [protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(headers);
            bytes[(headers - 1) * 8] = protocol::TCP;
            bytes
        };
        let longest = chain(IPV6_EXTENSION_HEADERS);
        assert_eq!(walk(protocol::DESTINATION_OPTIONS, &longest).unwrap().protocol, protocol::TCP);
        let longer = chain(IPV6_EXTENSION_HEADERS + 1);
        let refused = walk(protocol::DESTINATION_OPTIONS, &longer);
        assert_eq!(refused, Err(Error::TooManyExtensionHeaders));
    }

    #[test]
    fn bad_headers_are_refused() {
        let layer = Layer::Ipv6Extension;
        let cut = Err(Error::Truncated { layer, needed_bytes: 8, present_bytes: 7 });
        for kind in [protocol::HOP_BY_HOP, protocol::FRAGMENT, protocol::AH] {
            assert_eq!(walk(kind, &ROUTER_ALERT[..7]), cut, "{kind}");
        }
        let long = walk(protocol::ROUTING, &[0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(long, Err(Error::Truncated { layer, needed_bytes: 16, present_bytes: 8 }));
        let ah = walk(protocol::AH, &[6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ah, Err(Error::HeaderLength { layer, found_bytes: 8 }));
        let second = walk(protocol::ROUTING, &[protocol::HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(second, Err(Error::HopByHopNotFirst));
    }

    #[test]
    fn data_that_does_not_fill_the_header_cannot_be_written() {
        let refused = Err(Error::FieldValue { layer: Layer::Ipv6Extension, field: "data" });
        for len_bytes in [0, 5, 7, 2054] {
            let data = vec![0; len_bytes];
            let repr = Repr { next_header: 6, data: &data };
            let emitted = repr.emit(&mut Packet::new_unchecked([0; 2064]));
            assert_eq!(emitted, refused, "{len_bytes}");
        }
        let data = [7; 2046];
        let mut bytes = [0; 2048];
        let repr = Repr { next_header: 6, data: &data };
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        assert!(repr.emit(&mut Packet::new_unchecked([0; 2047])).is_err());
    }
}
