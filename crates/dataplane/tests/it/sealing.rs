//! Opens and seals frames with a segment's key and a cipher of its own, apart from the code under test.

use aws_lc_rs::aead;
use ringmail_packet::{ipv4, ipv6};

use crate::testbed::Frame;

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
