//! The blocks of pcapng that a capture needs (draft-ietf-opsawg-pcapng sections 4.1 to 4.3 and 4.6).

use crate::limits::COMMENT_BYTES_MAX;

/// Raw IP, version by its first nibble.
pub(super) const LINKTYPE_RAW: u16 = 101;
/// Ethernet frames without their check sequence.
pub(super) const LINKTYPE_ETHERNET: u16 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const INTERFACE_STATISTICS: u32 = 5;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_PACKET_FLAGS: u16 = 2;
const OPTION_RECEIVED: u16 = 4;
const OPTION_DROPPED: u16 = 5;

/// Bytes of an enhanced packet block besides the packet, its padding and a comment.
pub(super) const PACKET_OVERHEAD_BYTES: usize = 44;

/// Which way a packet went (section 4.3.1, bits 0 and 1 of `epb_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into the element.
    In = 1,
    /// Out of it.
    Out = 2,
}

/// Begins a section of unknown length.
pub(super) fn section_header(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |out| {
        number(out, BYTE_ORDER_MAGIC);
        out.extend([1u16, 0].into_iter().flat_map(u16::to_ne_bytes));
        out.extend((-1i64).to_ne_bytes());
    });
}

/// Describes an interface of such packets with times in nanoseconds.
pub(super) fn interface(out: &mut Vec<u8>, name: &str, link_type: u16, snap_len_bytes: u32) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend([link_type, 0].into_iter().flat_map(u16::to_ne_bytes));
        number(out, snap_len_bytes);
        option(out, OPTION_INTERFACE_NAME, &name.as_bytes()[..name.len().min(255)]);
        option(out, OPTION_TIME_RESOLUTION, &[9]);
        option(out, OPTION_END, &[]);
    });
}

/// One packet: headers that were never on this link in memory, and what was, together cut at `snap_len`.
pub(super) fn packet(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: u64,
    parts: [&[u8]; 2],
    snap_len_bytes: usize,
    way: Way,
    remark: &str,
) {
    let original: usize = parts.iter().map(|part| part.len()).sum();
    let captured = original.min(snap_len_bytes);
    block(out, ENHANCED_PACKET, |out| {
        for value in
            [interface, (time_ns >> 32) as u32, time_ns as u32, captured as u32, original as u32]
        {
            number(out, value);
        }
        let first = parts[0].len().min(captured);
        out.extend_from_slice(&parts[0][..first]);
        out.extend_from_slice(&parts[1][..captured - first]);
        pad(out, captured);
        option(out, OPTION_PACKET_FLAGS, &(way as u32).to_ne_bytes());
        comment(out, remark);
        option(out, OPTION_END, &[]);
    });
}

/// One packet of raw IP, of which `bytes` were kept.
pub(super) fn kept_packet(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: u64,
    bytes: &[u8],
    original_bytes: u32,
    remark: &str,
) {
    block(out, ENHANCED_PACKET, |out| {
        let kept = bytes.len() as u32;
        for value in [interface, (time_ns >> 32) as u32, time_ns as u32, kept, original_bytes] {
            number(out, value);
        }
        out.extend_from_slice(bytes);
        pad(out, bytes.len());
        if !remark.is_empty() {
            comment(out, remark);
            option(out, OPTION_END, &[]);
        }
    });
}

/// What the first interface received so far, and what of it is not in the capture.
pub(super) fn statistics(out: &mut Vec<u8>, time_ns: u64, received: u64, dropped: u64) {
    block(out, INTERFACE_STATISTICS, |out| {
        for value in [0, (time_ns >> 32) as u32, time_ns as u32] {
            number(out, value);
        }
        option(out, OPTION_RECEIVED, &received.to_ne_bytes());
        option(out, OPTION_DROPPED, &dropped.to_ne_bytes());
        option(out, OPTION_END, &[]);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    number(out, kind);
    number(out, 0);
    body(out);
    let len = (out.len() - start + 4) as u32;
    number(out, len);
    out[start + 4..start + 8].copy_from_slice(&len.to_ne_bytes());
}

/// Bytes that a comment adds to a block.
pub(super) fn comment_bytes(remark: &str) -> usize {
    match remark.len() {
        0 => 0,
        len => 4 + len.min(COMMENT_BYTES_MAX).next_multiple_of(4),
    }
}

/// What people read beside a packet, cut at a length that no comment of ours has; nothing where there is nothing to say.
fn comment(out: &mut Vec<u8>, remark: &str) {
    if !remark.is_empty() {
        let end = remark.floor_char_boundary(COMMENT_BYTES_MAX);
        option(out, OPTION_COMMENT, &remark.as_bytes()[..end]);
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_ne_bytes());
    out.extend((value.len() as u16).to_ne_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Pads what has `len` bytes to 32 bits.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&[0; 3][..len.next_multiple_of(4) - len]);
}

fn number(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_an_option_of_the_packet() {
        let (mut bare, mut out) = (Vec::new(), Vec::new());
        packet(&mut bare, 0, 0, [b"", b"bytes"], 9, Way::In, "");
        packet(&mut out, 0, 0, [b"", b"bytes"], 9, Way::In, "a path");
        assert_eq!(out.len(), bare.len() + comment_bytes("a path"));
        let option = [&1_u16.to_ne_bytes()[..], &6_u16.to_ne_bytes(), b"a path\0\0"].concat();
        assert!(out.windows(option.len()).any(|part| part == option));
        let (mut kept, long) = (Vec::new(), "é".repeat(COMMENT_BYTES_MAX));
        kept_packet(&mut kept, 0, 0, b"bytes", 9, &long);
        assert_eq!(kept.len(), 32 + 8 + comment_bytes(&long) + 4);
        assert_eq!(kept[4..8], (kept.len() as u32).to_ne_bytes());
    }

    #[test]
    fn blocks_are_whole_words_and_say_their_length_twice() {
        let mut out = Vec::new();
        section_header(&mut out);
        interface(&mut out, "hop1", LINKTYPE_RAW, 9000);
        let before = out.len();
        packet(&mut out, 0, 1 << 40, [b"head", b"bytes"], 7, Way::Out, "");
        assert_eq!(out.len() - before, PACKET_OVERHEAD_BYTES + 8);
        let mut at = 0;
        while at < out.len() {
            let len = |at: usize| u32::from_ne_bytes(out[at..at + 4].try_into().unwrap()) as usize;
            let total = len(at + 4);
            assert!(total.is_multiple_of(4));
            assert_eq!(len(at + total - 4), total);
            at += total;
        }
        assert_eq!(at, out.len());
        assert_eq!(out[before + 28..before + 36], *b"headbyt\0");
    }
}
