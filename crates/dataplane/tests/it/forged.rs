//! What a sender that holds the key of a segment may seal, though ringmail's own never does.

use aws_lc_rs::aead;
use ringmail_dataplane::esp::{NEXT_DUMMY, NEXT_IPV4, NEXT_IPV6};
use ringmail_dataplane::{DropReason, Verdict};
use ringmail_packet::{ipv4, ipv6};

use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, material};

const ESP_HEADER_BYTES: usize = 16;

/// Where the outer IP header and ESP begin.
pub(crate) fn places(frame: &[u8]) -> (usize, usize) {
    let stack = frame.chunks(4).position(|entry| entry[2] & 1 != 0).expect("a stack");
    let outer = (stack + 1) * 4;
    let header = match frame[outer] >> 4 {
        4 => usize::from(frame[outer] & 0xf) * 4,
        _ => 40,
    };
    (outer, outer + header)
}

/// The cipher of `frame`'s segment with the nonce and the additional data of the frame.
fn cipher(frame: &Frame, key: &[u8]) -> (aead::LessSafeKey, aead::Nonce, aead::Aad<Vec<u8>>) {
    let (_, esp) = places(&frame.bytes);
    let (spi, iv) = (&frame.bytes[esp..esp + 4], &frame.bytes[esp + 8..esp + ESP_HEADER_BYTES]);
    let nonce: [u8; 12] = [&key[16..], iv].concat().try_into().expect("a nonce");
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let aad = aead::Aad::from([spi, iv].concat());
    let cipher = aead::UnboundKey::new(&aead::AES_128_GCM, &key[..16]).expect("a key");
    (aead::LessSafeKey::new(cipher), nonce, aad)
}

/// What is encrypted in `frame`, padding, pad length and next header included.
pub(crate) fn text_of(frame: &Frame, key: &[u8]) -> Vec<u8> {
    let (cipher, nonce, aad) = cipher(frame, key);
    let mut sealed = frame.bytes[places(&frame.bytes).1 + ESP_HEADER_BYTES..].to_vec();
    cipher.open_in_place(nonce, aad, &mut sealed).expect("authentic").to_vec()
}

/// `frame` with another text (inner packet, padding, pad length, next header) under the same sequence number.
pub(crate) fn reseal(frame: &Frame, key: &[u8], text: &[u8]) -> Frame {
    let (cipher, nonce, aad) = cipher(frame, key);
    let mut sealed = text.to_vec();
    cipher.seal_in_place_append_tag(nonce, aad, &mut sealed).expect("sealed");
    let (outer, esp) = places(&frame.bytes);
    let mut bytes = frame.bytes[..esp + ESP_HEADER_BYTES].to_vec();
    bytes.extend_from_slice(&sealed);
    let len = bytes.len();
    match bytes[outer] >> 4 {
        4 => {
            let mut header = ipv4::Packet::new_unchecked(&mut bytes[outer..]);
            header.set_total_len((len - outer) as u16);
            header.fill_checksum();
        }
        _ => ipv6::Packet::new_unchecked(&mut bytes[outer..]).set_payload_len((len - esp) as u16),
    }
    Frame { bytes, ..frame.clone() }
}

pub(crate) fn text(inner: &[u8], pad_len: u8, next_header: u8) -> Vec<u8> {
    let mut text = inner.to_vec();
    text.extend(1..=pad_len);
    text.extend([pad_len, next_header]);
    text
}

/// With no more padding than needed.
pub(crate) fn padded(inner: &[u8], next_header: u8) -> Vec<u8> {
    let pad_len = (inner.len() + 2).next_multiple_of(4) - 2 - inner.len();
    text(inner, pad_len as u8, next_header)
}

fn pinned(hops: usize) -> Chain {
    let mut chain = Chain::intrusive(hops);
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    chain
}

/// What becomes of this text at the first element behind the gateway, and whether it counted it.
fn verdict_on(hops: usize, text: &[u8]) -> Verdict {
    let mut chain = pinned(hops);
    let frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    let verdict = chain.step(&reseal(&frame, &material(FORWARD, 0), text)).verdict;
    if let Verdict::Drop(reason) = verdict {
        let counters = match chain.hops.first() {
            Some(hop) => hop.counters(),
            None => chain.egress.counters(),
        };
        assert_eq!((counters.dropped(reason), counters.dropped_total()), (1, 1));
    }
    verdict
}

#[test]
fn a_packet_padded_by_more_than_it_needs_leaves_a_hop_with_what_it_needs() {
    let mut chain = pinned(2);
    let packet = packets::tcp(b"hello");
    let first = chain.enter(&packet).expect("a frame");
    // 45 bytes need one of padding.
    for more in [4, 100, 252] {
        let frame = chain.enter(&packet).expect("a frame");
        let longer = text(&packet, 1 + more, NEXT_IPV4);
        let longer = reseal(&frame, &material(FORWARD, 0), &longer);
        assert_eq!(longer.bytes.len(), first.bytes.len() + usize::from(more));
        let second = chain.step(&longer).frame.expect("a frame");
        assert_eq!(second.bytes.len(), first.bytes.len() - 4);
        let counted = chain.hops[0].counters().link_out.bytes.get();
        assert_eq!(counted % second.bytes.len() as u64, 0);
        assert_eq!(chain.run(second).as_ref(), Ok(&packet));
    }
}

/// RFC 4303 section 2.7: a sender in tunnel mode may put padding behind the inner packet as well.
#[test]
fn padding_against_traffic_analysis_is_taken_off() {
    for hops in [0, 1] {
        let mut chain = pinned(hops);
        let packet = packets::tcp(b"hello");
        let frame = chain.enter(&packet).expect("a frame");
        let longer = padded(&[&packet[..], &[0xaa; 99]].concat(), NEXT_IPV4);
        let longer = reseal(&frame, &material(FORWARD, 0), &longer);
        assert_eq!(chain.run(longer).as_ref(), Ok(&packet), "{hops} hops");
    }
}

/// RFC 4303 section 2.6: "A receiver MUST be prepared to discard dummy packets without any error".
#[test]
fn dummies_are_dropped_and_counted_as_such() {
    for hops in [0, 1] {
        for inner in [&packets::tcp(b"hello")[..], &[0; 38], &[]] {
            let dummy = padded(inner, NEXT_DUMMY);
            assert_eq!(verdict_on(hops, &dummy), Verdict::Drop(DropReason::Dummy), "{hops} hops");
        }
    }
}

#[test]
fn in_tunnel_mode_only_ip_of_the_version_that_esp_names_is_accepted() {
    let packet = packets::tcp(b"hello");
    let six = [&[0x60, 0, 0, 0, 0, 5, 59, 64][..], &[0; 32], b"hello"].concat();
    for hops in [0, 1] {
        for (inner, next_header) in
            [(&packet, 6), (&packet, 0), (&packet, NEXT_IPV6), (&six, NEXT_IPV4)]
        {
            let verdict = verdict_on(hops, &padded(inner, next_header));
            let expected = Verdict::Drop(DropReason::WrongNextHeader);
            assert_eq!(verdict, expected, "next header {next_header}, {hops} hops");
        }
    }
    assert!(matches!(verdict_on(1, &padded(&six, NEXT_IPV6)), Verdict::Send(_)));
}

#[test]
fn an_inner_packet_that_is_shorter_than_it_says_is_refused() {
    let packet = packets::tcp(b"hello");
    let mut short = packet.clone();
    short[3] = 19;
    for hops in [0, 1] {
        for inner in [&packet[..42], &[], &[0x45, 0], &short] {
            let verdict = verdict_on(hops, &padded(inner, NEXT_IPV4));
            assert_eq!(verdict, Verdict::Drop(DropReason::MalformedInner), "{hops} hops");
        }
    }
}
