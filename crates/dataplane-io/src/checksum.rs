//! The Internet checksum (RFC 1071) over payloads, alone or together with their copy, by the widest instructions there are.
//!
//! Sums here are of 16-bit words in the machine's byte order, unfolded, and add up by `+`; [`finish`] folds and complements.
//! The bytes of a folded sum, written in the machine's order, are right on the wire (RFC 1071 section 2, part B).

/// Adds up `data`, which stands at an even offset; an odd last byte is padded with zero.
#[inline]
pub(crate) fn sum(data: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= WIDE_BYTES_MIN && std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { wide::sum(data) };
    }
    sum_words(data)
}

/// Copies `from` to `to` and adds it up on the way. Copies what both hold if they differ in length.
#[inline]
pub(crate) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    let len = to.len().min(from.len());
    let (to, from) = (&mut to[..len], &from[..len]);
    #[cfg(target_arch = "x86_64")]
    if len >= WIDE_BYTES_MIN && std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { wide::copy_and_sum(to, from) };
    }
    to.copy_from_slice(from);
    sum_words(from)
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

/// Shorter data is not worth a call.
const WIDE_BYTES_MIN: usize = 64;

#[inline]
fn sum_words(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (words, last) = rest.as_chunks::<2>();
    sum += words.iter().map(|bytes| word(*bytes)).sum::<u64>();
    if let [byte] = last {
        sum += word([*byte, 0]);
    }
    sum
}

/// With AVX2: each 64-bit lane adds the low and the high halves of its words apart, so that nothing carries before 2^32
/// words have come. The compiler's own vectors took twice as long.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_set1_epi64x,
        _mm256_setzero_si256, _mm256_srli_epi64, _mm256_storeu_si256,
    };

    use super::sum_words;

    const BLOCK_BYTES: usize = 64;

    #[target_feature(enable = "avx2")]
    pub(super) fn sum(data: &[u8]) -> u64 {
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        let mut lanes = Lanes::new();
        for block in blocks {
            lanes.add(load(block));
        }
        lanes.total() + sum_words(rest)
    }

    /// Both are of one length.
    #[target_feature(enable = "avx2")]
    pub(super) fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
        let (to_blocks, to_rest) = to.as_chunks_mut::<BLOCK_BYTES>();
        let (blocks, rest) = from.as_chunks::<BLOCK_BYTES>();
        let mut lanes = Lanes::new();
        for (to, block) in to_blocks.iter_mut().zip(blocks) {
            let values = load(block);
            lanes.add(values);
            store(to, values);
        }
        to_rest.copy_from_slice(rest);
        lanes.total() + sum_words(rest)
    }

    struct Lanes([__m256i; 4]);

    impl Lanes {
        #[target_feature(enable = "avx2")]
        fn new() -> Lanes {
            Lanes([_mm256_setzero_si256(); 4])
        }

        #[target_feature(enable = "avx2")]
        fn add(&mut self, values: [__m256i; 2]) {
            let mask = _mm256_set1_epi64x(0xffff_ffff);
            for (half, value) in values.into_iter().enumerate() {
                let low = _mm256_and_si256(value, mask);
                let high = _mm256_srli_epi64::<32>(value);
                self.0[2 * half] = _mm256_add_epi64(self.0[2 * half], low);
                self.0[2 * half + 1] = _mm256_add_epi64(self.0[2 * half + 1], high);
            }
        }

        #[target_feature(enable = "avx2")]
        fn total(self) -> u64 {
            let [a, b, c, d] = self.0;
            let sum = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
            let mut bytes = [0; BLOCK_BYTES];
            store(&mut bytes, [sum, _mm256_setzero_si256()]);
            let (lanes, _) = bytes.as_chunks::<8>();
            lanes.iter().map(|lane| u64::from_ne_bytes(*lane)).sum()
        }
    }

    #[target_feature(enable = "avx2")]
    fn load(block: &[u8; BLOCK_BYTES]) -> [__m256i; 2] {
        let at = block.as_ptr();
        // SAFETY: two unaligned loads of 32 bytes each from 64.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
    }

    #[target_feature(enable = "avx2")]
    fn store(block: &mut [u8; BLOCK_BYTES], values: [__m256i; 2]) {
        let at = block.as_mut_ptr();
        // SAFETY: two unaligned stores of 32 bytes each to 64.
        unsafe {
            _mm256_storeu_si256(at.cast(), values[0]);
            _mm256_storeu_si256(at.add(32).cast(), values[1]);
        }
    }
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
            assert_eq!(finish(sum_words(&data[..len])), expected, "{len} bytes");
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
