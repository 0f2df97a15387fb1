//! The end of ESP's plaintext (RFC 4303 sections 2.4 to 2.6): padding, pad length, next header.
//!
//! ```text
//! +---------------+------------------------+------------+-------------+
//! | payload       | padding 1, 2, 3, …     | pad length | next header |
//! +---------------+------------------------+------------+-------------+
//!                                          ends at a multiple of 4 bytes
//! ```

use crate::bytes::{need, need_room};
use crate::{Error, Layer, Result};

/// The plaintext's length is a multiple of this.
pub const ALIGNMENT_BYTES: usize = 4;

/// Bytes of pad length and next header.
const FIXED_LEN_BYTES: usize = 2;

/// The most padding that the pad length can say.
const MAX_PADDING_BYTES: usize = 255;

/// Bytes that padding, pad length and next header take behind a payload of this length: 2 to 5.
pub fn len_bytes(payload_len_bytes: usize) -> usize {
    let over = payload_len_bytes.wrapping_add(FIXED_LEN_BYTES) % ALIGNMENT_BYTES;
    FIXED_LEN_BYTES + (ALIGNMENT_BYTES - over) % ALIGNMENT_BYTES
}

/// A trailer as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes of the payload before it.
    pub payload_len: usize,
    /// What the payload is ([`crate::ip::protocol`]).
    pub next_header: u8,
}

impl Trailer {
    /// Reads the trailer of a decrypted plaintext. Padding must be 1, 2, 3, … (RFC 4303 section 2.4); any length up to 255 is
    /// accepted. All padding is looked at before anything is said, so the time taken tells no more than its length.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Padding`].
    pub fn parse(plaintext: &[u8]) -> Result<Trailer> {
        need(Layer::Esp, plaintext, FIXED_LEN_BYTES)?;
        let (front, fixed) = plaintext.split_at(plaintext.len() - FIXED_LEN_BYTES);
        let (pad_len, next_header) = (usize::from(fixed[0]), fixed[1]);
        let payload_len = front.len().checked_sub(pad_len).ok_or(Error::Padding)?;
        let mut difference = 0;
        for (expected, found) in (1..=MAX_PADDING_BYTES as u8).zip(&front[payload_len..]) {
            difference |= expected ^ found;
        }
        if difference != 0 {
            return Err(Error::Padding);
        }
        Ok(Trailer { payload_len, next_header })
    }

    /// Bytes that [`Trailer::emit`] writes: 2 to 5.
    pub fn buffer_len(&self) -> usize {
        len_bytes(self.payload_len)
    }

    /// Writes padding, pad length and next header behind the payload, and returns the length of the plaintext.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `plaintext` does not hold payload and trailer; nothing was written.
    pub fn emit(&self, plaintext: &mut [u8]) -> Result<usize> {
        let end = self.payload_len.saturating_add(self.buffer_len());
        need_room(Layer::Esp, plaintext, end)?;
        let pad_len = self.buffer_len() - FIXED_LEN_BYTES;
        let (padding, fixed) = plaintext[self.payload_len..end].split_at_mut(pad_len);
        for (byte, value) in padding.iter_mut().zip(1..) {
            *byte = value;
        }
        fixed.copy_from_slice(&[pad_len as u8, self.next_header]);
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_written_and_read() {
        let cases: [(usize, &[u8]); 4] =
            [(0, &[1, 2, 2, 4]), (1, &[1, 1, 4]), (2, &[0, 4]), (3, &[1, 2, 3, 3, 4])];
        for (payload_len, expected) in cases {
            let trailer = Trailer { payload_len, next_header: 4 };
            let mut bytes = [0xee; 16];
            let end = trailer.emit(&mut bytes).unwrap();
            assert_eq!(&bytes[payload_len..end], expected);
            assert!(bytes[..payload_len].iter().chain(&bytes[end..]).all(|&byte| byte == 0xee));
            assert_eq!(end % ALIGNMENT_BYTES, 0);
            assert_eq!(Trailer::parse(&bytes[..end]), Ok(trailer));
        }
    }

    #[test]
    fn every_length_of_padding_is_accepted_when_sound() {
        let mut bytes = [0; 258];
        for pad_len in 0..=255 {
            let end = 1 + pad_len + 2;
            for (byte, value) in bytes[1..].iter_mut().zip(1..=255) {
                *byte = value;
            }
            bytes[end - 2..end].copy_from_slice(&[pad_len as u8, 41]);
            let expected = Trailer { payload_len: 1, next_header: 41 };
            assert_eq!(Trailer::parse(&bytes[..end]), Ok(expected), "{pad_len}");
            for at in 1..=pad_len {
                bytes[at] ^= 0x80;
                assert_eq!(Trailer::parse(&bytes[..end]), Err(Error::Padding), "{pad_len} {at}");
                bytes[at] ^= 0x80;
            }
        }
    }

    #[test]
    fn what_cannot_be_read_or_written_is_refused() {
        assert_eq!(Trailer::parse(&[1, 2, 3, 4]), Err(Error::Padding));
        let layer = Layer::Esp;
        let short = Err(Error::Truncated { layer, needed_bytes: 2, present_bytes: 1 });
        assert_eq!(Trailer::parse(&[4]), short);
        let trailer = Trailer { payload_len: 3, next_header: 4 };
        let full = Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 });
        assert_eq!(trailer.emit(&mut [0; 7]), full);
        let huge = Trailer { payload_len: usize::MAX, next_header: 4 };
        assert!(huge.emit(&mut [0; 7]).is_err());
    }
}
