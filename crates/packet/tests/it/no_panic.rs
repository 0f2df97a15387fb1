//! No bytes make any codec panic or break what it promises: the fuzz targets' bodies on bytes from proptest, both wild and
//! damaged from real frames.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::capture;
use crate::fuzz_bodies::TARGETS;

/// Headers of every kind, cut out of the captures at every place where one begins.
fn real_headers() -> Vec<Vec<u8>> {
    let mut headers = Vec::new();
    for frame in capture::ALL.iter().flat_map(|name| capture::frames(name)) {
        let link = capture::link(&frame);
        headers.extend([frame.clone(), frame[14..].to_vec(), link.payload.to_vec()]);
        let (_, inner) = capture::steered(&frame);
        if link.is_ip {
            headers.push(capture::network(inner).payload.to_vec());
        }
    }
    headers.iter_mut().for_each(|header| header.truncate(200));
    headers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn wild_bytes_break_nothing(bytes in vec(any::<u8>(), 0..160)) {
        TARGETS.iter().for_each(|(_, body)| body(&bytes));
    }

    #[test]
    fn wild_bytes_behind_a_version_break_nothing(
        version in prop_oneof![0x45..=0x4fu8, Just(0x60)],
        length in 0..120u8,
        next in prop_oneof![Just(0u8), Just(6), Just(17), Just(43), Just(44), Just(51), Just(60), any::<u8>()],
        mut bytes in vec(any::<u8>(), 40..160),
    ) {
        bytes[0] = version;
        let (length_at, next_at) = if version == 0x60 { (4, 6) } else { (2, 9) };
        bytes[length_at..length_at + 2].copy_from_slice(&[0, length]);
        bytes[next_at] = next;
        TARGETS.iter().for_each(|(_, body)| body(&bytes));
    }
}

#[test]
fn every_real_header_cut_anywhere_breaks_nothing() {
    for header in real_headers() {
        for cut in (0..header.len()).filter(|cut| *cut < 80 || cut % 16 == 0) {
            TARGETS.iter().for_each(|(_, body)| body(&header[..cut]));
        }
    }
}

#[test]
fn every_real_header_with_one_byte_changed_breaks_nothing() {
    let mut headers = real_headers();
    headers.sort_by_key(Vec::len);
    headers.dedup_by_key(|header| header.len());
    for mut header in headers {
        for at in 0..header.len().min(60) {
            for flip in [0x01, 0x0f, 0x80, 0xff] {
                header[at] ^= flip;
                TARGETS.iter().for_each(|(_, body)| body(&header));
                header[at] ^= flip;
            }
        }
    }
}
