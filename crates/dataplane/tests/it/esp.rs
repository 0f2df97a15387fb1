//! ESP sealed and opened by ringmail itself: what goes in comes out, and nothing else gets in.

use std::time::{Duration, Instant};

use aws_lc_rs::aead;
use proptest::prelude::*;
use ringmail_dataplane::DropReason;
use ringmail_dataplane::esp::{self, HEADER_BYTES, ICV_BYTES, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SegmentIndex,
    SequenceNumbers, Suite,
};
use ringmail_model::{PathId, SaSpi};

const SPI: SaSpi = SaSpi(0x5eed_0100);

fn key(suite: Suite) -> SaKey {
    let material: Vec<u8> = (1..=suite.material_len_bytes() as u8).collect();
    SaKey::new(suite, &material).unwrap()
}

struct Pair {
    out: OutboundSa,
    into: InboundSa,
    now: Instant,
}

fn pair(suite: Suite, numbers: SequenceNumbers) -> Pair {
    let now = Instant::now();
    let lease = Lease::new(now, Duration::from_secs(60));
    let options = OutboundOptions { numbers, ..OutboundOptions::default() };
    let out = OutboundSa::new(SPI, &key(suite), lease.clone(), options).unwrap();
    let options = InboundOptions { numbers, ..InboundOptions::default() };
    let into =
        InboundSa::new(SPI, &key(suite), PathId(1), SegmentIndex(0), lease, options).unwrap();
    Pair { out, into, now }
}

impl Pair {
    fn seal(&mut self, inner: &[u8], next_header: u8) -> Vec<u8> {
        let mut packet = vec![0xee; sealed_len_bytes(inner.len())];
        packet[HEADER_BYTES..][..inner.len()].copy_from_slice(inner);
        let sealed = esp::seal(&mut self.out, &mut packet, inner.len(), next_header, self.now);
        assert_eq!(sealed, Ok(packet.len()));
        packet
    }

    fn open(&self, packet: &[u8]) -> Result<(Vec<u8>, u8, u64), DropReason> {
        let mut packet = packet.to_vec();
        let opened = esp::open(&self.into, &mut packet, self.now)?;
        Ok((packet[opened.inner].to_vec(), opened.next_header, opened.sequence))
    }
}

const MODES: [SequenceNumbers; 2] = [SequenceNumbers::Extended, SequenceNumbers::Short];

fn every_pair() -> impl Iterator<Item = Pair> {
    Suite::ALL.into_iter().flat_map(|suite| MODES.map(|numbers| pair(suite, numbers)))
}

proptest! {
    #[test]
    fn what_is_sealed_is_what_is_opened(
        inner in proptest::collection::vec(any::<u8>(), 0..2000),
        next_header: u8,
        suite in proptest::sample::select(&Suite::ALL),
        numbers in proptest::sample::select(&MODES),
        before in 0..u64::from(u32::MAX),
    ) {
        let mut pair = pair(suite, numbers);
        pair.out.danger_set_last_sequence(before.min(4000));
        let packet = pair.seal(&inner, next_header);
        prop_assert_eq!(pair.open(&packet), Ok((inner, next_header, before.min(4000) + 1)));
        prop_assert_eq!(pair.open(&packet), Err(DropReason::Replayed));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let pair = pair(Suite::Aes128Gcm, SequenceNumbers::Extended);
        prop_assert!(esp::open(&pair.into, &mut bytes, pair.now).is_err());
        if bytes.len() > 16 {
            bytes[..4].copy_from_slice(&SPI.0.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0, 0, 0, 1]);
            bytes[8..16].copy_from_slice(&1u64.to_be_bytes());
        }
        prop_assert!(esp::open(&pair.into, &mut bytes, pair.now).is_err());
        prop_assert_eq!(pair.into.highest_sequence(), 0);
    }
}

#[test]
fn every_corrupted_byte_is_refused_and_changes_nothing() {
    for mut pair in every_pair() {
        for inner_len in [0, 1, 40, 61] {
            let packet = pair.seal(&vec![0x45; inner_len], NEXT_IPV4);
            let before = pair.into.highest_sequence();
            for at in 0..packet.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut corrupt = packet.clone();
                    corrupt[at] ^= flip;
                    let expected = match at {
                        0..4 => DropReason::UnknownSpi,
                        _ => DropReason::BadIcv,
                    };
                    assert_eq!(pair.open(&corrupt), Err(expected), "byte {at}");
                    assert_eq!(pair.into.highest_sequence(), before);
                }
            }
            assert!(pair.open(&packet).is_ok(), "the true packet is still welcome");
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for mut pair in every_pair() {
        let packet = pair.seal(&[0x45; 100], NEXT_IPV4);
        for len in 0..packet.len() {
            let refused = pair.open(&packet[..len]).unwrap_err();
            let expected = if len < HEADER_BYTES + 4 + ICV_BYTES || len % 4 != 0 {
                DropReason::Malformed
            } else {
                DropReason::BadIcv
            };
            assert_eq!(refused, expected, "{len} bytes");
        }
        for more in 1..9 {
            let longer = [&packet[..], &[0; 8][..more]].concat();
            assert!(pair.open(&longer).is_err());
        }
        assert!(pair.open(&packet).is_ok());
    }
}

/// A packet whose text (inner packet, padding, pad length, next header) is as given, with a good ICV.
fn authentic(text: &[u8]) -> Vec<u8> {
    let material: Vec<u8> = (1..=20).collect();
    let key = aead::UnboundKey::new(&aead::AES_128_GCM, &material[..16]).unwrap();
    let iv = 1_u64.to_be_bytes();
    let nonce: [u8; 12] = [&material[16..], &iv].concat().try_into().unwrap();
    let spi = SPI.0.to_be_bytes();
    let (aad, mut text) = (aead::Aad::from([&spi[..], &iv].concat()), text.to_vec());
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    aead::LessSafeKey::new(key).seal_in_place_append_tag(nonce, aad, &mut text).unwrap();
    [&spi[..], &iv[4..], &iv, &text].concat()
}

/// RFC 4303 section 2.4: "When this padding scheme is employed, the receiver SHOULD inspect the Padding field."
#[test]
fn an_authentic_packet_with_wrong_padding_is_refused_and_changes_nothing() {
    let wrong: [&[u8]; 7] = [
        &[9, 9, 9, 9, 1, 3, 2, 4],
        &[9, 9, 9, 9, 0, 0, 2, 4],
        &[9, 9, 9, 9, 2, 1, 2, 4],
        &[9, 9, 9, 1, 2, 4, 3, 4],
        &[1, 2, 3, 4, 5, 6, 7, 4],
        &[1, 2, 3, 4, 5, 6, 255, 4],
        &[0, 0, 1, 4],
    ];
    let pair = pair(Suite::Aes128Gcm, SequenceNumbers::Extended);
    for text in wrong {
        assert_eq!(pair.open(&authentic(text)), Err(DropReason::BadPadding), "{text:?}");
        assert_eq!(pair.into.highest_sequence(), 0);
    }
    let good = [9, 9, 9, 9, 9, 1, 1, 4];
    assert_eq!(pair.open(&authentic(&good)), Ok((vec![9; 5], NEXT_IPV4, 1)));
}

#[test]
fn more_padding_than_needed_is_taken_off() {
    for (pad_len, inner_len) in [(255_u8, 3), (254, 0), (6, 0), (4, 2)] {
        let pair = pair(Suite::Aes128Gcm, SequenceNumbers::Extended);
        let mut text = vec![9; inner_len];
        text.extend(1..=pad_len);
        text.extend([pad_len, esp::NEXT_DUMMY]);
        let inner = vec![9; inner_len];
        assert_eq!(pair.open(&authentic(&text)), Ok((inner, esp::NEXT_DUMMY, 1)), "{pad_len}");
    }
}
