//! TCP options (RFC 9293 section 3.2, RFC 7323 for scale and timestamps, RFC 2018 for SACK).
//!
//! ```text
//! kind 0: end        kind 1: no operation       all others:
//! +------+           +------+                   +------+--------+------------------+
//! |  0   |           |  1   |                   | kind | length | length - 2 bytes |
//! +------+           +------+                   +------+--------+------------------+
//! ```

use crate::bytes::{need_fit, need_room, read_u16, read_u32};
use crate::{Error, Layer, Result};

use super::MAX_OPTIONS_LEN_BYTES;

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MAX_SEGMENT_SIZE: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// Bytes of kind and length.
const FIXED_LEN_BYTES: usize = 2;

/// Bytes of one SACK block.
const SACK_BLOCK_LEN_BYTES: usize = 8;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// A byte of padding between options.
    NoOperation,
    /// Maximum segment size in bytes; in a SYN.
    MaxSegmentSize(u16),
    /// By how many bits the window is shifted; in a SYN. Above 14 means 14 (RFC 7323 section 2.3).
    WindowScale(u8),
    /// SACK may be used; in a SYN.
    SackPermitted,
    /// Blocks received out of order.
    Sack(SackBlocks<'a>),
    /// The sender's clock and the one that it echoes.
    Timestamps {
        /// TSval.
        value: u32,
        /// TSecr.
        echo_reply: u32,
    },
    /// Any other kind.
    Other {
        /// Its kind.
        kind: u8,
        /// Its bytes behind kind and length.
        data: &'a [u8],
    },
}

/// One to four blocks of a SACK option, as they lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlocks<'a>(&'a [u8]);

impl<'a> SackBlocks<'a> {
    /// From the bytes behind kind and length; `None` unless they are one to four blocks of 8 bytes.
    pub fn new(data: &'a [u8]) -> Option<SackBlocks<'a>> {
        let blocks = data.len() / SACK_BLOCK_LEN_BYTES;
        let whole = data.len().is_multiple_of(SACK_BLOCK_LEN_BYTES) && (1..=4).contains(&blocks);
        whole.then_some(SackBlocks(data))
    }

    /// Left and right edge of each block.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + 'a {
        let blocks = self.0.chunks_exact(SACK_BLOCK_LEN_BYTES);
        blocks.map(|block| (read_u32(block, 0..4), read_u32(block, 4..8)))
    }
}

/// A view over an option area: an iterator that ends at the end option, at the area's end, or behind the first error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    area: &'a [u8],
}

impl<'a> Options<'a> {
    /// A view over bytes as they lie in a header.
    pub fn new(area: &'a [u8]) -> Options<'a> {
        Options { area }
    }

    /// The bytes not yet walked over: all of them on a fresh view.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.area
    }

    fn split(area: &'a [u8]) -> Result<Option<(TcpOption<'a>, &'a [u8])>> {
        let Some((&kind, rest)) = area.split_first() else {
            return Ok(None);
        };
        match kind {
            kind::END => return Ok(None),
            kind::NO_OPERATION => return Ok(Some((TcpOption::NoOperation, rest))),
            _ => {}
        }
        let bad_length = Error::OptionLength { layer: Layer::Tcp, kind };
        let len_bytes = rest.first().map_or(0, |&len| usize::from(len));
        if len_bytes < FIXED_LEN_BYTES || len_bytes > area.len() {
            return Err(bad_length);
        }
        let (option, rest) = area.split_at(len_bytes);
        let data = &option[FIXED_LEN_BYTES..];
        let option = match (kind, data.len()) {
            (kind::MAX_SEGMENT_SIZE, 2) => TcpOption::MaxSegmentSize(read_u16(data, 0..2)),
            (kind::WINDOW_SCALE, 1) => TcpOption::WindowScale(data[0]),
            (kind::SACK_PERMITTED, 0) => TcpOption::SackPermitted,
            (kind::SACK, _) => TcpOption::Sack(SackBlocks::new(data).ok_or(bad_length)?),
            (kind::TIMESTAMPS, 8) => {
                let (value, echo_reply) = (read_u32(data, 0..4), read_u32(data, 4..8));
                TcpOption::Timestamps { value, echo_reply }
            }
            (
                kind::MAX_SEGMENT_SIZE
                | kind::WINDOW_SCALE
                | kind::SACK_PERMITTED
                | kind::TIMESTAMPS,
                _,
            ) => return Err(bad_length),
            _ => TcpOption::Other { kind, data },
        };
        Ok(Some((option, rest)))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<TcpOption<'a>>;

    fn next(&mut self) -> Option<Result<TcpOption<'a>>> {
        match Options::split(self.area) {
            Ok(Some((option, rest))) => {
                self.area = rest;
                Some(Ok(option))
            }
            Ok(None) => {
                self.area = &[];
                None
            }
            Err(error) => {
                self.area = &[];
                Some(Err(error))
            }
        }
    }
}

/// Where the value of the MSS option lies in the area, if the options before it are sound.
pub(super) fn find_mss(area: &[u8]) -> Option<usize> {
    let mut rest = area;
    loop {
        let at = area.len() - rest.len();
        match Options::split(rest) {
            Ok(Some((TcpOption::MaxSegmentSize(_), _))) => return Some(at + FIXED_LEN_BYTES),
            Ok(Some((_, behind))) => rest = behind,
            Ok(None) | Err(_) => return None,
        }
    }
}

impl TcpOption<'_> {
    /// Bytes that it takes.
    pub fn buffer_len(&self) -> usize {
        match self {
            TcpOption::NoOperation => 1,
            TcpOption::MaxSegmentSize(_) => 4,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 2,
            TcpOption::Sack(blocks) => FIXED_LEN_BYTES + blocks.0.len(),
            TcpOption::Timestamps { .. } => 10,
            TcpOption::Other { data, .. } => FIXED_LEN_BYTES + data.len(),
        }
    }

    /// `place` is exactly as long as the option.
    fn emit(&self, place: &mut [u8]) {
        let (kind, len_byte) = match self {
            TcpOption::NoOperation => return place.fill(kind::NO_OPERATION),
            TcpOption::MaxSegmentSize(_) => (kind::MAX_SEGMENT_SIZE, 4),
            TcpOption::WindowScale(_) => (kind::WINDOW_SCALE, 3),
            TcpOption::SackPermitted => (kind::SACK_PERMITTED, 2),
            TcpOption::Sack(_) => (kind::SACK, place.len() as u8),
            TcpOption::Timestamps { .. } => (kind::TIMESTAMPS, 10),
            TcpOption::Other { kind, .. } => (*kind, place.len() as u8),
        };
        let (head, data) = place.split_at_mut(FIXED_LEN_BYTES);
        head.copy_from_slice(&[kind, len_byte]);
        match self {
            TcpOption::NoOperation | TcpOption::SackPermitted => {}
            TcpOption::MaxSegmentSize(size) => data.copy_from_slice(&size.to_be_bytes()),
            TcpOption::WindowScale(shift) => data.copy_from_slice(&[*shift]),
            TcpOption::Sack(blocks) => data.copy_from_slice(blocks.0),
            TcpOption::Timestamps { value, echo_reply } => {
                data[..4].copy_from_slice(&value.to_be_bytes());
                data[4..].copy_from_slice(&echo_reply.to_be_bytes());
            }
            TcpOption::Other { data: bytes, .. } => data.copy_from_slice(bytes),
        }
    }
}

/// Writes options one behind the other, pads with the end option to a multiple of 4 bytes, and returns that length: what
/// [`Options::new`] takes for a [`Repr`](super::Repr).
///
/// # Errors
/// [`Error::FieldValue`] if they take more than 40 bytes or [`TcpOption::Other`] has a kind that is not other;
/// [`Error::NoRoom`]. Nothing was written.
pub fn emit(options: &[TcpOption<'_>], buffer: &mut [u8]) -> Result<usize> {
    let mut len_bytes = 0usize;
    for option in options {
        len_bytes = len_bytes.saturating_add(option.buffer_len());
        let known = matches!(option, TcpOption::Other { kind: 0..=5 | kind::TIMESTAMPS, .. });
        need_fit(Layer::Tcp, "kind", !known)?;
    }
    need_fit(Layer::Tcp, "options", len_bytes <= MAX_OPTIONS_LEN_BYTES)?;
    let padded_bytes = len_bytes.next_multiple_of(4);
    need_room(Layer::Tcp, buffer, padded_bytes)?;
    let mut rest = &mut buffer[..padded_bytes];
    for option in options {
        let (place, behind) = rest.split_at_mut(option.buffer_len());
        option.emit(place);
        rest = behind;
    }
    rest.fill(kind::END);
    Ok(padded_bytes)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// What Linux puts into a SYN.
    const SYN: [u8; 20] = [
        0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44, 0x00, 0x00, 0x00,
        0x00, 0x01, 0x03, 0x03, 0x07,
    ];
    const SYN_OPTIONS: [TcpOption<'static>; 5] = [
        TcpOption::MaxSegmentSize(1460),
        TcpOption::SackPermitted,
        TcpOption::Timestamps { value: 0x1122_3344, echo_reply: 0 },
        TcpOption::NoOperation,
        TcpOption::WindowScale(7),
    ];
    /// Two SACK blocks behind two bytes of padding.
    const SACK: [u8; 20] = [
        0x01, 0x01, 0x05, 0x12, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
        0x05, 0x00, 0x00, 0x00, 0x09,
    ];

    #[test]
    fn options_are_read_and_written() {
        let options: Result<Vec<_>> = Options::new(&SYN).collect();
        assert_eq!(options.unwrap(), SYN_OPTIONS);
        let mut bytes = [0xff; 20];
        assert_eq!(emit(&SYN_OPTIONS, &mut bytes), Ok(20));
        assert_eq!(bytes, SYN);
    }

    #[test]
    fn sack_blocks_are_read() {
        let Some(Ok(TcpOption::Sack(blocks))) = Options::new(&SACK).nth(2) else {
            panic!("no SACK");
        };
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [(1, 2), (5, 9)]);
        assert_eq!(SackBlocks::new(&[0; 40]), None);
        assert_eq!(SackBlocks::new(&[]), None);
    }

    #[test]
    fn the_end_option_ends_the_walk() {
        let bytes = [0x01, 0x00, 0x02, 0x04];
        assert_eq!(Options::new(&bytes).collect::<Vec<_>>(), [Ok(TcpOption::NoOperation)]);
    }

    #[test]
    fn bad_lengths_end_the_walk_with_one_error() {
        let bad: [&[u8]; 10] = [
            &[2],
            &[2, 0],
            &[2, 1, 0, 0],
            &[2, 3, 0, 1],
            &[3, 4, 0, 1],
            &[4, 3, 0, 1],
            &[5, 9, 0, 0, 0, 0, 0, 0, 0, 1],
            &[5, 2, 1, 1],
            &[8, 9, 0, 0, 0, 0, 0, 0, 0, 1],
            &[254, 5, 0, 0],
        ];
        for area in bad {
            let expected = Err(Error::OptionLength { layer: Layer::Tcp, kind: area[0] });
            assert_eq!(Options::new(area).collect::<Vec<_>>(), [expected], "{area:?}");
        }
    }

    #[test]
    fn unknown_kinds_are_kept() {
        let fast_open = TcpOption::Other { kind: 34, data: &[1, 2, 3, 4, 5] };
        let mut bytes = [0xff; 8];
        assert_eq!(emit(&[fast_open], &mut bytes), Ok(8));
        assert_eq!(bytes, [34, 7, 1, 2, 3, 4, 5, 0]);
        assert_eq!(Options::new(&bytes).collect::<Vec<_>>(), [Ok(fast_open)]);
    }

    #[test]
    fn options_that_cannot_be_written_are_refused() {
        let layer = Layer::Tcp;
        let mut bytes = [0xff; 64];
        let refused = Err(Error::FieldValue { layer, field: "options" });
        assert_eq!(emit(&[TcpOption::NoOperation; 41], &mut bytes), refused);
        let refused = Err(Error::FieldValue { layer, field: "kind" });
        assert_eq!(emit(&[TcpOption::Other { kind: 2, data: &[] }], &mut bytes), refused);
        let refused = Err(Error::NoRoom { layer, needed_bytes: 4, present_bytes: 3 });
        assert_eq!(emit(&[TcpOption::NoOperation], &mut bytes[..3]), refused);
        assert_eq!(bytes, [0xff; 64]);
    }
}
