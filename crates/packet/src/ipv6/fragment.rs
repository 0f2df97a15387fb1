//! The IPv6 Fragment header (RFC 8200 section 4.5).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Identification                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::{need, need_fit, need_room, read_u16, read_u32, write_u16, write_u32};
use crate::{Layer, Result};

/// Bytes of the header.
pub const HEADER_LEN_BYTES: usize = 8;

mod field {
    use crate::bytes::Field;

    pub(super) const NEXT_HEADER: usize = 0;
    pub(super) const RESERVED: usize = 1;
    pub(super) const OFFSET: Field = 2..4;
    pub(super) const IDENTIFICATION: Field = 4..8;
}

const MORE_BIT: u16 = 1;
const OFFSET_BITS: u16 = !0b111;

/// A view over a Fragment header and what follows it.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`].
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn check_len(&self) -> Result<()> {
        need(Layer::Ipv6Extension, self.buffer.as_ref(), HEADER_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What the fragmented part begins with.
    pub fn next_header(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_HEADER]
    }

    /// Where the payload begins in the fragmented part, in bytes.
    pub fn offset_bytes(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::OFFSET) & OFFSET_BITS
    }

    /// Whether further fragments follow.
    pub fn more_fragments(&self) -> bool {
        read_u16(self.buffer.as_ref(), field::OFFSET) & MORE_BIT != 0
    }

    /// What fragments of one packet share.
    pub fn identification(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::IDENTIFICATION)
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets what the fragmented part begins with.
    pub fn set_next_header(&mut self, next_header: u8) {
        self.buffer.as_mut()[field::NEXT_HEADER] = next_header;
    }

    /// Sets the offset in bytes, of which the low three bits do not count, and whether further fragments follow; clears
    /// the reserved bits.
    pub fn set_offset(&mut self, offset_bytes: u16, more: bool) {
        self.buffer.as_mut()[field::RESERVED] = 0;
        let more = if more { MORE_BIT } else { 0 };
        write_u16(self.buffer.as_mut(), field::OFFSET, offset_bytes & OFFSET_BITS | more);
    }

    /// Sets the identification.
    pub fn set_identification(&mut self, identification: u32) {
        write_u32(self.buffer.as_mut(), field::IDENTIFICATION, identification);
    }
}

/// A Fragment header as values. The reserved bits are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// What the fragmented part begins with.
    pub next_header: u8,
    /// Where the payload begins in the fragmented part, in bytes, a multiple of 8.
    pub offset_bytes: u16,
    /// Whether further fragments follow.
    pub more_fragments: bool,
    /// What fragments of one packet share.
    pub identification: u32,
}

impl Repr {
    /// Whether it is the first and the last fragment in one, and so a whole packet (RFC 6946).
    pub fn is_atomic(&self) -> bool {
        self.offset_bytes == 0 && !self.more_fragments
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            next_header: packet.next_header(),
            offset_bytes: packet.offset_bytes(),
            more_fragments: packet.more_fragments(),
            identification: packet.identification(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::NoRoom`](crate::Error::NoRoom), or [`Error::FieldValue`](crate::Error::FieldValue) for an offset that
    /// is no multiple of 8; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let layer = Layer::Ipv6Extension;
        need_room(layer, packet.buffer.as_ref(), self.buffer_len())?;
        need_fit(layer, "offset_bytes", self.offset_bytes.is_multiple_of(8))?;
        packet.set_next_header(self.next_header);
        packet.set_offset(self.offset_bytes, self.more_fragments);
        packet.set_identification(self.identification);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// A fragment from the middle, as scapy writes it.
    const SECOND: [u8; 9] = [0x3a, 0x00, 0x05, 0xa9, 0x8b, 0x1c, 0x2d, 0x3e, 0xff];

    #[test]
    fn a_header_is_read_and_written() {
        let packet = Packet::new_checked(&SECOND[..]).unwrap();
        let repr = Repr::parse(&packet).unwrap();
        assert_eq!((repr.offset_bytes, repr.more_fragments), (1448, true));
        assert_eq!((repr.next_header, repr.identification), (58, 0x8b1c_2d3e));
        assert!(!repr.is_atomic());
        assert_eq!(packet.payload(), [0xff]);
        let mut bytes = [0xff; 8];
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, SECOND[..8]);
    }

    #[test]
    fn what_cannot_be_read_or_written_is_refused() {
        let repr =
            Repr { next_header: 6, offset_bytes: 4, more_fragments: false, identification: 0 };
        let layer = Layer::Ipv6Extension;
        let emitted = repr.emit(&mut Packet::new_unchecked([0; 8]));
        assert_eq!(emitted, Err(Error::FieldValue { layer, field: "offset_bytes" }));
        let emitted = repr.emit(&mut Packet::new_unchecked([0; 7]));
        assert_eq!(emitted, Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 }));
        assert!(Packet::new_checked(&SECOND[..7]).is_err());
    }
}
