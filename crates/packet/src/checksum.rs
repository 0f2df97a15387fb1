//! The Internet checksum: computed (RFC 1071), updated in place (RFC 1624), over pseudo-headers (RFC 9293 section 3.1,
//! RFC 8200 section 8.1).
//!
//! A *sum* is the ones'-complement sum of big-endian 16-bit words, not yet complemented; a *checksum* is the complement
//! of a sum, as it stands in a header. Sums of parts that each begin at an even offset combine into the sum of the whole.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Bytes that one round of the wide loop takes.
const BLOCK_BYTES: usize = 64;

/// The sum of `bytes`; an odd last byte counts as if a zero followed.
///
/// The order of bytes in a word does not matter but for a swap at the end (RFC 1071 section 2(B)), and carries may be
/// kept for later (section 2(C)): words of 32 bits, as they lie, are added into numbers of 64 bits, which cannot
/// overflow below 16 GiB of data.
#[inline]
pub fn data(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let mut sum = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
    let (words, rest) = rest.as_chunks::<4>();
    for &word in words {
        sum += u64::from(u32::from_ne_bytes(word));
    }
    let last = match *rest {
        [a, b, c] => [a, b, c, 0],
        [a, b] => [a, b, 0, 0],
        [a] => [a, 0, 0, 0],
        _ => [0; 4],
    };
    sum += u64::from(u32::from_ne_bytes(last));
    u16::from_be_bytes(fold(sum).to_ne_bytes())
}

/// A lane for each word of a block, so that compilers make vector instructions of it.
fn sum_blocks(blocks: &[[u8; BLOCK_BYTES]]) -> u64 {
    let mut lanes = [0u64; BLOCK_BYTES / 4];
    for block in blocks {
        for (lane, &word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(word));
        }
    }
    lanes.iter().map(|lane| (lane & 0xffff_ffff) + (lane >> 32)).sum()
}

/// A wide sum as 16 bits, end-around carries added (RFC 1071 section 4.1).
#[inline]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of parts, given the sum of each. Every part but the last has an even length.
#[inline]
pub fn combine(sums: &[u16]) -> u16 {
    fold(sums.iter().map(|&sum| u64::from(sum)).sum())
}

/// The sum of the IPv4 pseudo-header (RFC 9293 section 3.1). `upper_len_bytes` counts transport header and data.
#[inline]
pub fn pseudo_header_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, upper_len_bytes: u16) -> u16 {
    let addresses = u64::from(src.to_bits()) + u64::from(dst.to_bits());
    fold(addresses + u64::from(protocol) + u64::from(upper_len_bytes))
}

/// The sum of the IPv6 pseudo-header (RFC 8200 section 8.1). `upper_len_bytes` counts transport header and data.
pub fn pseudo_header_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, upper_len_bytes: u32) -> u16 {
    let addresses = combine(&[data(&src.octets()), data(&dst.octets())]);
    fold(u64::from(addresses) + u64::from(protocol) + u64::from(upper_len_bytes))
}

/// The checksum after one 16-bit word under it changed from `old` to `new`: HC' = ~(~HC + ~m + m') (RFC 1624
/// equation 3). In UDP a result of 0 is written as 0xffff.
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// The checksum after one 32-bit word under it, at an even offset, changed from `old` to `new`.
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// RFC 1071 section 1, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(data(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn every_length_agrees_with_the_book() {
        let bytes: Vec<u8> = (0..2000u32).map(|i| (i * i * 31 + 255 - i) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(data(&bytes[..len]), by_the_book(&bytes[..len]), "{len} bytes");
        }
        assert_eq!(data(&[0xff; 65_535]), by_the_book(&[0xff; 65_535]));
    }

    #[test]
    fn parts_of_even_length_combine() {
        let bytes: Vec<u8> = (0..=254).collect();
        let parts = [data(&bytes[..14]), data(&bytes[14..100]), data(&bytes[100..])];
        assert_eq!(combine(&parts), data(&bytes));
    }

    #[test]
    fn fold_keeps_every_carry() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(0xffff_0000_ffff_0001), 1);
    }

    /// RFC 1624 section 4: the case in which equation 2 of RFC 1141 gives 0xffff.
    #[test]
    fn the_example_of_rfc_1624_section_4() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_update_is_what_computing_anew_gives() {
        let mut bytes: Vec<u8> = (1..=40).collect();
        let before = !data(&bytes);
        let old = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        bytes[12..16].copy_from_slice(&[0xc0, 0xa8, 0xff, 0x01]);
        assert_eq!(update_u32(before, old, 0xc0a8_ff01), !data(&bytes));
    }
}
