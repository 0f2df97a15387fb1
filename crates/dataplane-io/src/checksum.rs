//! The Internet checksum (RFC 1071) over payloads, alone or together with their copy, by the widest instructions there are.
//!
//! Sums here are of 16-bit words in the machine's byte order, unfolded, and add up by `+`; [`finish`] folds and complements.
//! The bytes of a folded sum, written in the machine's order, are right on the wire (RFC 1071 section 2, part B).

/// Adds up `data`, which stands at an even offset; an odd last byte is padded with zero.
pub(crate) fn sum(data: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { sum_avx2(data) };
    }
    sum_body(data)
}

/// Copies `from` to `to` and adds it up on the way. Copies what both hold if they differ in length.
pub(crate) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { copy_and_sum_avx2(to, from) };
    }
    copy_and_sum_body(to, from)
}

/// The sum of one word as it stands in memory.
pub(crate) fn word(bytes: [u8; 2]) -> u64 {
    u64::from(u16::from_ne_bytes(bytes))
}

/// The sum of one number that stands in network order on the wire.
pub(crate) fn number(value: u16) -> u64 {
    word(value.to_be_bytes())
}

/// Folds to 16 bits: the bytes of a partial checksum as they go on the wire.
pub(crate) fn fold(sum: u64) -> [u8; 2] {
    let mut sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    (sum as u16).to_ne_bytes()
}

/// Folds and complements: the bytes of a checksum as they go on the wire.
pub(crate) fn finish(sum: u64) -> [u8; 2] {
    fold(sum).map(|byte| !byte)
}

/// [`finish`], where zero means "no checksum" and is sent as all ones (RFC 768).
pub(crate) fn finish_nonzero(sum: u64) -> [u8; 2] {
    match finish(sum) {
        [0, 0] => [0xff, 0xff],
        checksum => checksum,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(data: &[u8]) -> u64 {
    sum_body(data)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn copy_and_sum_avx2(to: &mut [u8], from: &[u8]) -> u64 {
    copy_and_sum_body(to, from)
}

const LANES: usize = 8;
const BLOCK_BYTES: usize = LANES * 8;

/// Each lane adds the low and the high halves of its words apart, so that nothing carries: 2^32 words would have to come.
#[inline(always)]
fn add_block(low: &mut [u64; LANES], high: &mut [u64; LANES], block: &[u8; BLOCK_BYTES]) {
    for lane in 0..LANES {
        let at = lane * 8;
        let bytes: [u8; 8] = [
            block[at],
            block[at + 1],
            block[at + 2],
            block[at + 3],
            block[at + 4],
            block[at + 5],
            block[at + 6],
            block[at + 7],
        ];
        let value = u64::from_ne_bytes(bytes);
        low[lane] += value & 0xffff_ffff;
        high[lane] += value >> 32;
    }
}

#[inline(always)]
fn sum_body(data: &[u8]) -> u64 {
    let (mut low, mut high) = ([0; LANES], [0; LANES]);
    let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
    for block in blocks {
        add_block(&mut low, &mut high, block);
    }
    low.iter().sum::<u64>() + high.iter().sum::<u64>() + sum_rest(rest)
}

#[inline(always)]
fn copy_and_sum_body(to: &mut [u8], from: &[u8]) -> u64 {
    let len = to.len().min(from.len());
    let (to, from) = (&mut to[..len], &from[..len]);
    let (mut low, mut high) = ([0; LANES], [0; LANES]);
    let (to_blocks, to_rest) = to.as_chunks_mut::<BLOCK_BYTES>();
    let (blocks, rest) = from.as_chunks::<BLOCK_BYTES>();
    for (to, block) in to_blocks.iter_mut().zip(blocks) {
        *to = *block;
        add_block(&mut low, &mut high, block);
    }
    to_rest.copy_from_slice(rest);
    low.iter().sum::<u64>() + high.iter().sum::<u64>() + sum_rest(rest)
}

#[inline(always)]
fn sum_rest(data: &[u8]) -> u64 {
    let (words, last) = data.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (words, last) = last.as_chunks::<2>();
    sum += words.iter().map(|bytes| word(*bytes)).sum::<u64>();
    if let [byte] = last {
        sum += word([*byte, 0]);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn plain(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    #[test]
    fn sums_agree_with_the_rfc_at_every_length() {
        let data: Vec<u8> = (0..700u32).map(|i| (i * 37 + i / 256) as u8).collect();
        for len in 0..data.len() {
            let mut copy = vec![0; len];
            let expected = plain(&data[..len]).to_be_bytes();
            assert_eq!(finish(sum(&data[..len])), expected, "{len} bytes");
            assert_eq!(finish(sum_body(&data[..len])), expected, "{len} bytes");
            assert_eq!(finish(copy_and_sum(&mut copy, &data[..len])), expected, "{len} bytes");
            assert_eq!(copy, data[..len]);
        }
        let ones = [0xff; 65_535];
        assert_eq!(finish(sum(&ones)), plain(&ones).to_be_bytes());
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_comes_out() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&data)), [0xdd, 0xf2]);
    }
}
