//! The Network Service Header (RFC 8300 section 2): base header, service path header, context headers of MD type 1 or 2.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Ver|O|U|    TTL    |   Length  |U|U|U|U|MD Type| Next Protocol |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Service Path Identifier              | Service Index |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  MD type 1: 16 bytes.  MD type 2: context headers, see context |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::{need, need_fit, need_room, read_u16, read_u32, write_u16, write_u32};
use crate::{Error, Layer, Result};

pub mod context;

/// Bytes of base header and service path header.
pub const HEADER_LEN_BYTES: usize = 8;

/// Bytes of the fixed context header of MD type 1.
pub const MD1_LEN_BYTES: usize = 16;

/// Bytes of the longest header: its length field counts words in six bits.
pub const MAX_LEN_BYTES: usize = 63 * WORD_BYTES;

/// The TTL of a packet that enters a path, unless another is configured (RFC 8300 section 2.2).
pub const FIRST_TTL: u8 = 63;

/// The greatest service path identifier.
pub const MAX_SPI: u32 = 0xff_ffff;

/// What the length field counts in.
pub const WORD_BYTES: usize = 4;

/// Metadata types (RFC 8300 section 9.1.3).
pub mod md_type {
    /// A fixed context header of 16 bytes.
    pub const FIXED: u8 = 1;
    /// Context headers of variable length, or none.
    pub const VARIABLE: u8 = 2;
}

/// Next protocols (RFC 8300 section 9.1.5).
pub mod next_protocol {
    /// IPv4.
    pub const IPV4: u8 = 1;
    /// IPv6.
    pub const IPV6: u8 = 2;
    /// Ethernet.
    pub const ETHERNET: u8 = 3;
    /// Another NSH.
    pub const NSH: u8 = 4;
    /// MPLS.
    pub const MPLS: u8 = 5;
}

mod field {
    use crate::bytes::Field;

    pub(super) const FLAGS: Field = 0..2;
    pub(super) const MD_TYPE: usize = 2;
    pub(super) const NEXT_PROTOCOL: usize = 3;
    pub(super) const PATH: Field = 4..8;
    pub(super) const INDEX: usize = 7;
}

const VERSION_SHIFT: u32 = 14;
const OAM_BIT: u16 = 1 << 13;
const TTL_SHIFT: u32 = 6;
const TTL_MASK: u16 = 0x3f << TTL_SHIFT;
const LENGTH_MASK: u16 = 0x3f;
const MD_TYPE_MASK: u8 = 0x0f;
const SPI_SHIFT: u32 = 8;

/// A view over a packet that begins with an NSH.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than what they touch.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic. Context headers of MD type 2 are checked when they are walked.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`]: version 0, and a length that fits the MD type and the bytes that are there.
    /// The length of an MD type that is not known must only hold the service path header: it says where the next
    /// protocol begins (RFC 8300 section 2.2).
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Version`], or [`Error::HeaderLength`].
    pub fn check_len(&self) -> Result<()> {
        let bytes = self.buffer.as_ref();
        need(Layer::Nsh, bytes, HEADER_LEN_BYTES)?;
        if self.version() != 0 {
            return Err(Error::Version { layer: Layer::Nsh, found: self.version() });
        }
        let found_bytes = self.header_len();
        let possible = match self.md_type() {
            md_type::FIXED => found_bytes == HEADER_LEN_BYTES + MD1_LEN_BYTES,
            _ => found_bytes >= HEADER_LEN_BYTES,
        };
        if !possible {
            return Err(Error::HeaderLength { layer: Layer::Nsh, found_bytes });
        }
        need(Layer::Nsh, bytes, found_bytes)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    fn flags(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::FLAGS)
    }

    fn path(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::PATH)
    }

    /// The version; 0 is the only one.
    pub fn version(&self) -> u8 {
        (self.flags() >> VERSION_SHIFT) as u8
    }

    /// Whether it is a packet of operations, administration and maintenance.
    pub fn oam(&self) -> bool {
        self.flags() & OAM_BIT != 0
    }

    /// Forwarders that the packet may still pass, 6 bits.
    pub fn ttl(&self) -> u8 {
        ((self.flags() & TTL_MASK) >> TTL_SHIFT) as u8
    }

    /// Bytes of the whole header, by its length field.
    pub fn header_len(&self) -> usize {
        usize::from(self.flags() & LENGTH_MASK) * WORD_BYTES
    }

    /// The metadata type, 4 bits; see [`md_type`].
    pub fn md_type(&self) -> u8 {
        self.buffer.as_ref()[field::MD_TYPE] & MD_TYPE_MASK
    }

    /// What follows the header; see [`next_protocol`].
    pub fn next_protocol(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_PROTOCOL]
    }

    /// Service path identifier, 24 bits.
    pub fn spi(&self) -> u32 {
        self.path() >> SPI_SHIFT
    }

    /// Service index: where on the path the packet is; each function lessens it.
    pub fn si(&self) -> u8 {
        self.buffer.as_ref()[field::INDEX]
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything between the service path header and the next protocol.
    pub fn metadata(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..self.header_len()]
    }

    /// The context headers of MD type 2; none of another type.
    pub fn contexts(&self) -> context::Contexts<'a> {
        let bytes = if self.md_type() == md_type::VARIABLE { self.metadata() } else { &[] };
        context::Contexts::new(bytes)
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the time to live; only its low six bits count.
    pub fn set_ttl(&mut self, ttl: u8) {
        let flags = self.flags() & !TTL_MASK | (u16::from(ttl) << TTL_SHIFT & TTL_MASK);
        write_u16(self.buffer.as_mut(), field::FLAGS, flags);
    }

    /// Sets the service index.
    pub fn set_si(&mut self, si: u8) {
        self.buffer.as_mut()[field::INDEX] = si;
    }

    /// Everything between the service path header and the next protocol, to change in place.
    pub fn metadata_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..end]
    }
}

/// Base header and service path header as values. Unassigned bits are not kept: they are written as zero and not looked
/// at when read (RFC 8300 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Whether it is a packet of operations, administration and maintenance.
    pub oam: bool,
    /// Time to live, 6 bits.
    pub ttl: u8,
    /// The metadata type; 1 or 2 to be written.
    pub md_type: u8,
    /// What follows the header.
    pub next_protocol: u8,
    /// Service path identifier, 24 bits.
    pub spi: u32,
    /// Service index.
    pub si: u8,
    /// Bytes of metadata behind the service path header: whole words, 16 for MD type 1.
    pub metadata_len: usize,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            oam: packet.oam(),
            ttl: packet.ttl(),
            md_type: packet.md_type(),
            next_protocol: packet.next_protocol(),
            spi: packet.spi(),
            si: packet.si(),
            metadata_len: packet.header_len() - HEADER_LEN_BYTES,
        })
    }

    /// Bytes of the header with its metadata.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES + self.metadata_len
    }

    /// Writes base header and service path header; metadata is left as it is.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value that its field cannot hold; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Nsh, packet.buffer.as_ref(), self.buffer_len())?;
        let words = self.buffer_len() / WORD_BYTES;
        let metadata_fits = match self.md_type {
            md_type::FIXED => self.metadata_len == MD1_LEN_BYTES,
            _ => self.metadata_len.is_multiple_of(WORD_BYTES) && self.buffer_len() <= MAX_LEN_BYTES,
        };
        need_fit(Layer::Nsh, "ttl", u16::from(self.ttl) <= TTL_MASK >> TTL_SHIFT)?;
        need_fit(Layer::Nsh, "metadata type", (1..=2).contains(&self.md_type))?;
        need_fit(Layer::Nsh, "length", metadata_fits)?;
        need_fit(Layer::Nsh, "service path identifier", self.spi <= MAX_SPI)?;
        let oam = if self.oam { OAM_BIT } else { 0 };
        let bytes = packet.buffer.as_mut();
        write_u16(bytes, field::FLAGS, oam | u16::from(self.ttl) << TTL_SHIFT | words as u16);
        bytes[field::MD_TYPE] = self.md_type;
        bytes[field::NEXT_PROTOCOL] = self.next_protocol;
        write_u32(bytes, field::PATH, self.spi << SPI_SHIFT | u32::from(self.si));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TTL 63, MD type 2 with one context header, IPv4, path 0x010203, index 255, as scapy writes it; then IPv4.
    const PACKET: [u8; 18] = [
        0x0f, 0xc4, 0x02, 0x01, 0x01, 0x02, 0x03, 0xff, 0xff, 0xf6, 0x05, 0x03, 0xaa, 0xbb, 0xcc,
        0x00, 0x45, 0x00,
    ];
    const REPR: Repr = Repr {
        oam: false,
        ttl: 63,
        md_type: md_type::VARIABLE,
        next_protocol: next_protocol::IPV4,
        spi: 0x01_0203,
        si: 255,
        metadata_len: 8,
    };

    #[test]
    fn a_header_is_read_and_written() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert_eq!((packet.metadata(), packet.payload()), (&PACKET[8..16], &PACKET[16..]));
        let mut bytes = [0xee; 18];
        REPR.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes[..8], PACKET[..8]);
        assert_eq!(bytes[8..], [0xee; 10]);
    }

    #[test]
    fn ttl_and_index_are_changed_in_place() {
        let mut bytes = PACKET;
        let mut packet = Packet::new_checked(&mut bytes).unwrap();
        packet.set_ttl(1);
        packet.set_si(254);
        packet.metadata_mut()[4] = 0xab;
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(Repr { ttl: 1, si: 254, ..REPR }));
        assert_eq!(packet.metadata()[4], 0xab);
    }

    #[test]
    fn oam_and_unassigned_bits_do_not_change_the_rest() {
        let mut bytes = PACKET;
        bytes[0] |= 0x30;
        bytes[2] |= 0xf0;
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(Repr { oam: true, ..REPR }));
    }

    #[test]
    fn the_fixed_metadata_has_no_context_headers() {
        let mut bytes = [0; 24];
        let fixed = Repr { md_type: md_type::FIXED, metadata_len: MD1_LEN_BYTES, ..REPR };
        fixed.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(fixed));
        assert_eq!((packet.contexts().count(), packet.metadata()), (0, &[0; 16][..]));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let layer = Layer::Nsh;
        let read = |bytes: &[u8]| Packet::new_checked(bytes).map(|_| ());
        let cut = Error::Truncated { layer, needed_bytes: 16, present_bytes: 15 };
        assert_eq!(read(&PACKET[..15]), Err(cut));
        let cut = Error::Truncated { layer, needed_bytes: 8, present_bytes: 7 };
        assert_eq!(read(&PACKET[..7]), Err(cut));
        let with = |at: usize, byte: u8| {
            let mut bytes = PACKET;
            bytes[at] = byte;
            read(&bytes)
        };
        assert_eq!(with(0, 0x4f), Err(Error::Version { layer, found: 1 }));
        assert_eq!(with(1, 0xc1), Err(Error::HeaderLength { layer, found_bytes: 4 }));
        assert_eq!(with(2, 0x01), Err(Error::HeaderLength { layer, found_bytes: 16 }));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let layer = Layer::Nsh;
        let write = |repr: Repr| {
            let mut bytes = [0; 300];
            let written = repr.emit(&mut Packet::new_unchecked(&mut bytes[..]));
            assert!(written.is_ok() || bytes == [0; 300]);
            written
        };
        let refused = |field| Err(Error::FieldValue { layer, field });
        assert_eq!(write(Repr { ttl: 64, ..REPR }), refused("ttl"));
        assert_eq!(write(Repr { md_type: 3, ..REPR }), refused("metadata type"));
        assert_eq!(write(Repr { md_type: 1, ..REPR }), refused("length"));
        assert_eq!(write(Repr { metadata_len: 6, ..REPR }), refused("length"));
        assert_eq!(write(Repr { metadata_len: 248, ..REPR }), refused("length"));
        assert_eq!(write(Repr { metadata_len: 244, ..REPR }), Ok(()));
        assert_eq!(write(Repr { spi: MAX_SPI + 1, ..REPR }), refused("service path identifier"));
        let room = REPR.emit(&mut Packet::new_unchecked(&mut [0; 15]));
        assert_eq!(room, Err(Error::NoRoom { layer, needed_bytes: 16, present_bytes: 15 }));
    }
}
