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

use ringmail_model::PathId;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The packet behind so many bytes goes on along this path.
    Packet(PathId, usize),
    /// A packet of this path was dropped.
    Dropped(PathId),
}

/// Writes what goes before a packet of this path into `out`, which is that long. `stack` are the label stack entries that
/// it came with.
pub(super) fn write(path: PathId, direction: Direction, stack: &[u8], out: &mut [u8]) {
    let (header, labels) = out.split_at_mut(HEADER_BYTES);
    let direction = match direction {
        Direction::Forward => FORWARD,
        Direction::Return => RETURN,
    };
    header.fill(0);
    header[..4].copy_from_slice(&[VERSION, PACKET, direction, (stack.len() / ENTRY_BYTES) as u8]);
    header[4..8].copy_from_slice(&path.0.to_be_bytes());
    labels.copy_from_slice(stack);
}

/// Reads what a function answers.
pub(super) fn read(message: &[u8]) -> Result<Answer, DropReason> {
    let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(DropReason::MalformedInner)?;
    let [version, kind, _, labels, a, b, c, d, e, f, ..] = *header;
    let path = PathId(u32::from_be_bytes([a, b, c, d]));
    let metadata = usize::from(u16::from_be_bytes([e, f]));
    let at = HEADER_BYTES + usize::from(labels) * ENTRY_BYTES + metadata;
    match (version, kind) {
        (VERSION, PACKET) if at <= message.len() => Ok(Answer::Packet(path, at)),
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
        let mut message = [0xff; HEADER_BYTES + 8];
        write(PathId(0x0102_0304), Direction::Return, &stack, &mut message);
        assert_eq!(message[..HEADER_BYTES], [1, 1, 2, 2, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(read(&message), Ok(Answer::Packet(PathId(0x0102_0304), 20)));
        for len in 0..message.len() {
            assert_eq!(read(&message[..len]), Err(DropReason::MalformedInner), "{len}");
        }
        message[1] = DROP;
        assert_eq!(read(&message[..12]), Ok(Answer::Dropped(PathId(0x0102_0304))));
        message[0] = 2;
        assert_eq!(read(&message), Err(DropReason::MalformedInner));
    }
}
