//! Context headers of MD type 2 (RFC 8300 section 2.5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Metadata Class       |      Type     |U|    Length   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 value, padded to whole words                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The length is that of the value without its padding.

use core::iter::FusedIterator;

use super::WORD_BYTES;
use crate::bytes::{need_fit, need_room, read_u16, write_u16};
use crate::{Error, Layer, Result};

/// Bytes in front of the value.
pub const HEADER_LEN_BYTES: usize = 4;

/// Bytes of the longest value.
pub const MAX_VALUE_LEN_BYTES: usize = 127;

/// Metadata classes from here to [`LAST_EXPERIMENTAL_CLASS`] are for experiments (RFC 8300 section 9.1.4).
pub const FIRST_EXPERIMENTAL_CLASS: u16 = 0xfff6;

/// See [`FIRST_EXPERIMENTAL_CLASS`].
pub const LAST_EXPERIMENTAL_CLASS: u16 = 0xfffe;

mod field {
    use crate::bytes::Field;

    pub(super) const CLASS: Field = 0..2;
    pub(super) const TYPE: usize = 2;
    pub(super) const LENGTH: usize = 3;
}

const LENGTH_MASK: u8 = 0x7f;

/// One context header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// Who defines the types.
    pub class: u16,
    /// What the value is.
    pub kind: u8,
    /// The value without padding.
    pub value: &'a [u8],
}

impl Context<'_> {
    /// Bytes on the wire, padding included.
    pub fn buffer_len(&self) -> usize {
        len_bytes(self.value.len())
    }

    /// Writes header, value and padding to the front of `buffer`, and says how many bytes those are.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value that is too long; nothing was written.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize> {
        let len = self.buffer_len();
        need_room(Layer::Nsh, buffer, len)?;
        emit_header(self.class, self.kind, self.value.len(), buffer)?;
        let (value, padding) = buffer[HEADER_LEN_BYTES..len].split_at_mut(self.value.len());
        value.copy_from_slice(self.value);
        padding.fill(0);
        Ok(len)
    }
}

/// Bytes on the wire of a context header whose value has this length.
pub const fn len_bytes(value_len: usize) -> usize {
    HEADER_LEN_BYTES + value_len.next_multiple_of(WORD_BYTES)
}

/// Writes what stands in front of a value of this length.
///
/// # Errors
/// As [`Context::emit`].
pub fn emit_header(class: u16, kind: u8, value_len: usize, buffer: &mut [u8]) -> Result<()> {
    need_room(Layer::Nsh, buffer, HEADER_LEN_BYTES)?;
    need_fit(Layer::Nsh, "context length", value_len <= MAX_VALUE_LEN_BYTES)?;
    write_u16(buffer, field::CLASS, class);
    buffer[field::TYPE] = kind;
    buffer[field::LENGTH] = value_len as u8;
    Ok(())
}

/// The context headers in a row. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Contexts<'a> {
    rest: &'a [u8],
}

impl<'a> Contexts<'a> {
    /// Those that `bytes` hold.
    pub fn new(bytes: &'a [u8]) -> Contexts<'a> {
        Contexts { rest: bytes }
    }

    fn first(&self) -> Result<Context<'a>> {
        let header = self.rest.first_chunk::<HEADER_LEN_BYTES>();
        let header = header.ok_or(Error::OptionLength { layer: Layer::Nsh, kind: 0 })?;
        let kind = header[field::TYPE];
        let len = usize::from(header[field::LENGTH] & LENGTH_MASK);
        // The padding has to be there, too.
        if self.rest.len() < len_bytes(len) {
            return Err(Error::OptionLength { layer: Layer::Nsh, kind });
        }
        let value = &self.rest[HEADER_LEN_BYTES..HEADER_LEN_BYTES + len];
        Ok(Context { class: read_u16(header, field::CLASS), kind, value })
    }
}

impl<'a> Iterator for Contexts<'a> {
    type Item = Result<Context<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let first = self.first();
        self.rest = match &first {
            Ok(context) => &self.rest[context.buffer_len()..],
            Err(_) => &[],
        };
        Some(first)
    }
}

impl FusedIterator for Contexts<'_> {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const TWO: [u8; 12] = [0xff, 0xf6, 0x05, 0x03, 0xaa, 0xbb, 0xcc, 0x00, 0x01, 0x02, 0x80, 0x00];
    const FIRST: Context<'_> = Context { class: 0xfff6, kind: 5, value: &[0xaa, 0xbb, 0xcc] };
    const SECOND: Context<'_> = Context { class: 0x0102, kind: 0x80, value: &[] };

    #[test]
    fn contexts_are_read_and_written() {
        let read: Result<Vec<_>> = Contexts::new(&TWO).collect();
        assert_eq!(read, Ok([FIRST, SECOND].to_vec()));
        let mut bytes = [0xee; 12];
        assert_eq!(FIRST.emit(&mut bytes), Ok(8));
        assert_eq!(SECOND.emit(&mut bytes[8..]), Ok(4));
        assert_eq!(bytes, TWO);
    }

    #[test]
    fn the_unassigned_bit_is_no_part_of_the_length() {
        let mut bytes = TWO;
        bytes[3] |= 0x80;
        assert_eq!(Contexts::new(&bytes).next(), Some(Ok(FIRST)));
    }

    #[test]
    fn one_that_leaves_the_header_ends_the_walk() {
        let leaves = |kind| Some(Err(Error::OptionLength { layer: Layer::Nsh, kind }));
        let mut contexts = Contexts::new(&TWO[..7]);
        assert_eq!((contexts.next(), contexts.next()), (leaves(5), None));
        let mut contexts = Contexts::new(&TWO[..11]);
        assert_eq!((contexts.next(), contexts.next()), (Some(Ok(FIRST)), leaves(0)));
    }

    #[test]
    fn a_value_that_is_too_long_or_has_no_room_is_refused() {
        let layer = Layer::Nsh;
        let mut bytes = [0; 140];
        let long = Context { value: &[1; 128], ..SECOND };
        let refused = Err(Error::FieldValue { layer, field: "context length" });
        assert_eq!(long.emit(&mut bytes), refused);
        assert_eq!(bytes, [0; 140]);
        let room = Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 });
        assert_eq!(FIRST.emit(&mut bytes[..7]), room);
        assert_eq!(bytes, [0; 140]);
    }
}
