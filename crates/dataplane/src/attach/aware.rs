//! What an SFC-aware function is told of a packet, and what it answers (docs/sfc-aware.md): a header before the packet.
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |  version = 1  |     kind      |   direction   |  labels n     |
//! +---------------+---------------+---------------+---------------+
//! |                            path id                            |
//! +-------------------------------+-------------------------------+
//! |     bytes m of metadata       |           reserved = 0        |
//! +-------------------------------+-------------------------------+
//! |  n label stack entries (RFC 3032 section 2.1), the hop's own first, S on the last
//! |  m bytes of metadata: type 16 bits, length 16 bits, value
//! |  the packet, an IP packet
//! ```

use std::ops::Range;

use ringmail_model::PathId;
use ringmail_model::metadata::{Facts, Kind, Kinds, Said};
use ringmail_model::pathset::Direction;

use crate::labels::ENTRY_BYTES;
use crate::verdict::DropReason;

/// Bytes before the labels.
pub const HEADER_BYTES: usize = 12;

const VERSION: u8 = 1;
const PACKET: u8 = 1;
const DROP: u8 = 2;
const FORWARD: u8 = 1;
const RETURN: u8 = 2;

/// What a function answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The packet behind so many bytes goes on along this path, with the metadata that is there in the message.
    Packet(PathId, usize, Range<usize>),
    /// A packet of this path was dropped.
    Dropped(PathId),
}

/// Writes what goes before a packet of this path into `out`, which is that long. `stack` are the label stack entries that
/// it came with, `metadata` what the function is told of it.
pub(super) fn write(
    path: PathId,
    direction: Direction,
    stack: &[u8],
    metadata: &[u8],
    out: &mut [u8],
) {
    let (header, rest) = out.split_at_mut(HEADER_BYTES);
    let (labels, told) = rest.split_at_mut(stack.len());
    let direction = match direction {
        Direction::Forward => FORWARD,
        Direction::Return => RETURN,
    };
    header.fill(0);
    header[..4].copy_from_slice(&[VERSION, PACKET, direction, (stack.len() / ENTRY_BYTES) as u8]);
    header[4..8].copy_from_slice(&path.0.to_be_bytes());
    header[8..10].copy_from_slice(&(metadata.len() as u16).to_be_bytes());
    labels.copy_from_slice(stack);
    told.copy_from_slice(metadata);
}

/// Metadata as it stands in a message: type 16 bits, length 16 bits, value.
pub(super) struct Metadata {
    bytes: [u8; MOST_BYTES],
    len: usize,
}

/// All items of the longest header, each with two bytes more than there.
const MOST_BYTES: usize = 106 + 2 * Kind::ALL.len();

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata { bytes: [0; MOST_BYTES], len: 0 }
    }
}

impl Metadata {
    /// Takes the items of a header.
    pub(super) fn lay_down(&mut self, items: &[u8]) {
        let Ok(said) = Said::parse(items, Kinds::ALL) else { return };
        for (code, value) in said.raw() {
            let room = self.bytes.get_mut(self.len..self.len + 4 + value.len());
            let Some(room) = room else { return };
            room[..4].copy_from_slice(&[0, code, 0, value.len() as u8]);
            room[4..].copy_from_slice(value);
            self.len += room.len();
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a function says of a packet. Types that nobody knows are stepped over.
///
/// # Errors
/// [`DropReason::MalformedInner`]: cut, or no values of the types that they are said to be.
pub(super) fn facts(metadata: &[u8]) -> Result<Facts, DropReason> {
    let (mut items, mut len) = ([0; MOST_BYTES], 0);
    let mut rest = metadata;
    while let [a, code, b, c, behind @ ..] = rest {
        let (kind, bytes) = (u16::from_be_bytes([*a, *code]), u16::from_be_bytes([*b, *c]));
        let value = behind.split_at_checked(bytes.into());
        let (value, behind) = value.ok_or(DropReason::MalformedInner)?;
        rest = behind;
        if !Said::is_known(kind) {
            continue;
        }
        let room = items.get_mut(len..len + 2 + value.len()).ok_or(DropReason::MalformedInner)?;
        room[..2].copy_from_slice(&[*code, value.len() as u8]);
        room[2..].copy_from_slice(value);
        len += room.len();
    }
    let said = Said::parse(&items[..len], Kinds::ALL).ok().filter(|_| rest.is_empty());
    Ok(Facts::of(&said.ok_or(DropReason::MalformedInner)?))
}

/// Reads what a function answers.
pub(super) fn read(message: &[u8]) -> Result<Answer, DropReason> {
    let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(DropReason::MalformedInner)?;
    let [version, kind, _, labels, a, b, c, d, e, f, ..] = *header;
    let path = PathId(u32::from_be_bytes([a, b, c, d]));
    let metadata = usize::from(u16::from_be_bytes([e, f]));
    let at = HEADER_BYTES + usize::from(labels) * ENTRY_BYTES + metadata;
    match (version, kind) {
        (VERSION, PACKET) if at <= message.len() => Ok(Answer::Packet(path, at, at - metadata..at)),
        (VERSION, DROP) => Ok(Answer::Dropped(path)),
        _ => Err(DropReason::MalformedInner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_every_truncation_refused() {
        let stack = [0, 0x3e, 0x90, 63, 0, 0x3e, 0xa1, 63];
        let mut metadata = Metadata::default();
        metadata.lay_down(&[2, 5, 0, 1, 0, 2, 6, 0, 0]);
        let mut message = [0xff; HEADER_BYTES + 8 + 9];
        write(PathId(0x0102_0304), Direction::Return, &stack, metadata.bytes(), &mut message);
        assert_eq!(message[..HEADER_BYTES], [1, 1, 2, 2, 1, 2, 3, 4, 0, 9, 0, 0]);
        assert_eq!(message[20..], [0, 2, 0, 5, 0, 1, 0, 2, 6]);
        assert_eq!(read(&message), Ok(Answer::Packet(PathId(0x0102_0304), 29, 20..29)));
        for len in 0..message.len() {
            assert_eq!(read(&message[..len]), Err(DropReason::MalformedInner), "{len}");
        }
        message[1] = DROP;
        assert_eq!(read(&message[..12]), Ok(Answer::Dropped(PathId(0x0102_0304))));
        message[0] = 2;
        assert_eq!(read(&message), Err(DropReason::MalformedInner));
    }

    #[test]
    fn what_a_function_says_is_taken_and_what_is_no_statement_refused() {
        let ports = [0, 2, 0, 5, 0, 1, 0, 2, 6];
        let foreign = [0x12, 2, 0, 1, 9];
        let said = facts(&[&foreign[..], &ports].concat()).expect("well-formed");
        let mut expected = Facts::NONE;
        expected.set_ports(ringmail_model::metadata::Ports {
            source: 1,
            destination: 2,
            protocol: 6,
        });
        assert_eq!((said, facts(&[])), (expected, Ok(Facts::NONE)));
        for len in 1..ports.len() {
            assert_eq!(facts(&ports[..len]), Err(DropReason::MalformedInner), "{len}");
        }
        let twice = [ports, ports].concat();
        let long = [&[0, 4, 1, 0][..], &[b'a'; 256]].concat();
        for wrong in [&twice[..], &[0, 2, 0, 1, 9], &long] {
            assert_eq!(facts(wrong), Err(DropReason::MalformedInner));
        }
    }
}
