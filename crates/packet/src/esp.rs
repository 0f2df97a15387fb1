//! ESP with an AEAD (RFC 4303 section 2): header, explicit IV of 8 bytes, ciphertext, ICV of 16 bytes, as AES-GCM (RFC
//! 4106 section 3) and ChaCha20-Poly1305 (RFC 7634 section 2) both lay it out. The plaintext's end is in [`trailer`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ----
//! |               Security Parameters Index (SPI)                 | ^ AAD, with the
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ | high half of
//! |                 Sequence Number, low 32 bits                  | v the ESN between
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ----
//! |                          IV (8 bytes)                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ----
//! |  payload, padding 1, 2, 3, … , pad length, next header        |   ciphertext
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ----
//! |                         ICV (16 bytes)                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::{need, need_room, read_u32, read_u64, write_u32, write_u64};
use crate::{Layer, Result};

pub mod trailer;

pub use trailer::Trailer;

/// Bytes of SPI, sequence number and IV.
pub const HEADER_LEN_BYTES: usize = 16;

/// Bytes of the ICV.
pub const ICV_LEN_BYTES: usize = 16;

/// The shortest ESP packet: an empty payload padded to one word.
pub const MIN_LEN_BYTES: usize = HEADER_LEN_BYTES + trailer::ALIGNMENT_BYTES + ICV_LEN_BYTES;

/// SPIs up to here are reserved (RFC 4303 section 2.1).
pub const LAST_RESERVED_SPI: u32 = 255;

mod field {
    use crate::bytes::Field;

    pub(super) const SPI: Field = 0..4;
    pub(super) const SEQUENCE: Field = 4..8;
    pub(super) const IV: Field = 8..16;
}

/// A view over an ESP packet.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header, or than header and
    /// ICV where these take part.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic. Nothing is authenticated.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`]: header, the shortest ciphertext and ICV are there.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn check_len(&self) -> Result<()> {
        need(Layer::Esp, self.buffer.as_ref(), MIN_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Security parameters index.
    pub fn spi(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::SPI)
    }

    /// The low half of the extended sequence number.
    pub fn seq_low(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::SEQUENCE)
    }

    /// The explicit IV as a number.
    pub fn iv(&self) -> u64 {
        read_u64(self.buffer.as_ref(), field::IV)
    }

    /// Where the ciphertext lies in the buffer, the ICV not included.
    pub fn ciphertext_range(&self) -> core::ops::Range<usize> {
        HEADER_LEN_BYTES..self.buffer.as_ref().len() - ICV_LEN_BYTES
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// The ciphertext, the ICV not included.
    pub fn ciphertext(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.ciphertext_range()]
    }

    /// The integrity check value.
    pub fn icv(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.ciphertext_range().end..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the SPI.
    pub fn set_spi(&mut self, spi: u32) {
        write_u32(self.buffer.as_mut(), field::SPI, spi);
    }

    /// Sets the low half of the extended sequence number.
    pub fn set_seq_low(&mut self, seq_low: u32) {
        write_u32(self.buffer.as_mut(), field::SEQUENCE, seq_low);
    }

    /// Sets the explicit IV.
    pub fn set_iv(&mut self, iv: u64) {
        write_u64(self.buffer.as_mut(), field::IV, iv);
    }

    /// What an AEAD works on in place: ciphertext and ICV apart.
    pub fn split_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let ciphertext = self.ciphertext_range();
        let (front, icv) = self.buffer.as_mut().split_at_mut(ciphertext.end);
        (&mut front[ciphertext.start..], icv)
    }
}

/// An ESP header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Security parameters index.
    pub spi: u32,
    /// The low half of the extended sequence number.
    pub seq_low: u32,
    /// The explicit IV.
    pub iv: u64,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr { spi: packet.spi(), seq_low: packet.seq_low(), iv: packet.iv() })
    }

    /// Bytes that [`Repr::emit`] writes: SPI, sequence number and IV.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes SPI, sequence number and IV.
    ///
    /// # Errors
    /// [`Error::NoRoom`](crate::Error::NoRoom); nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Esp, packet.buffer.as_ref(), self.buffer_len())?;
        packet.set_spi(self.spi);
        packet.set_seq_low(self.seq_low);
        packet.set_iv(self.iv);
        Ok(())
    }
}

/// Bytes of the ESP packet around a payload of this length: header, payload, padding, trailer and ICV.
pub fn packet_len_bytes(payload_len_bytes: usize) -> usize {
    HEADER_LEN_BYTES + payload_len_bytes + trailer::len_bytes(payload_len_bytes) + ICV_LEN_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    const PACKET: [u8; 36] = [
        0x00, 0x00, 0x10, 0x01, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x2a, 0xc1, 0xc2, 0xc3, 0xc4, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9,
        0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf,
    ];
    const REPR: Repr = Repr { spi: 0x1001, seq_low: 42, iv: 1 << 32 | 42 };

    #[test]
    fn a_packet_is_read_and_written() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert_eq!(packet.ciphertext(), [0xc1, 0xc2, 0xc3, 0xc4]);
        assert_eq!(packet.icv(), &PACKET[20..]);
        let mut bytes = [0xff; 16];
        REPR.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, PACKET[..16]);
    }

    #[test]
    fn ciphertext_and_icv_are_apart() {
        let mut packet = Packet::new_checked(PACKET).unwrap();
        let (ciphertext, icv) = packet.split_mut();
        assert_eq!((&*ciphertext, &*icv), (&PACKET[16..20], &PACKET[20..]));
    }

    #[test]
    fn a_length_is_that_of_all_parts() {
        assert_eq!(packet_len_bytes(0), MIN_LEN_BYTES);
        assert_eq!(packet_len_bytes(2), 36);
        assert_eq!(packet_len_bytes(3), 40);
        assert_eq!(packet_len_bytes(1400), 1436);
    }

    #[test]
    fn what_cannot_be_read_or_written_is_refused() {
        let layer = Layer::Esp;
        let short = Packet::new_checked(&PACKET[..35]).map(|_| ());
        assert_eq!(short, Err(Error::Truncated { layer, needed_bytes: 36, present_bytes: 35 }));
        let emitted = REPR.emit(&mut Packet::new_unchecked([0; 15]));
        assert_eq!(emitted, Err(Error::NoRoom { layer, needed_bytes: 16, present_bytes: 15 }));
    }
}
