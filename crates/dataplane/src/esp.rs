//! ESP in place (RFC 4303 section 2, RFC 4106, RFC 7634): seal and open a packet where it lies.
//!
//! ```text
//!  0       4       8               16                                    16 + inner
//!  +-------+-------+---------------+-- - - --------------------------------+---- - - ----+----+----+-- - --+
//!  |  SPI  |seq low|      IV       |  inner packet                        | pad 1,2,... |len |next|  ICV  |
//!  +-------+-------+---------------+-- - - --------------------------------+---- - - ----+----+----+-- - --+
//!                                  |<-------------------- encrypted ------------------------------>|  16
//! ```
//!
//! Tunnel mode (next header 4 or 41) and transport mode (next header of the payload) differ only in what the inner bytes
//! are. Three suites share one overhead, so a hop opens and seals again within the same bytes.
//!
//! **The IV is the 64-bit sequence number** (RFC 4106 section 3.1 asks that an IV never repeat under one key; a counter
//! that never returns does not). The receiver infers the 64 bits from the 32 that are sent (RFC 4303 appendix A2) and then
//! wants the IV to be the same number. The ICV covers both, so a stranger gains nothing without the check; but with it a
//! sequence number has one nonce and a nonce one sequence number, so that a faulty *sender*, restored from a snapshot
//! say, which repeats a nonce is refused as a replay, and a packet whose number was inferred wrongly costs no decryption.

use std::ops::Range;
use std::time::Instant;

use ringmail_model::defence::{Defence, off};

use crate::sa::{InboundSa, OutboundSa, SequenceNumbers};
use crate::verdict::DropReason;

/// Bytes before the inner packet: SPI, sequence number, IV.
pub const HEADER_BYTES: usize = 16;
/// Bytes of pad length and next header.
const TRAILER_BYTES: usize = 2;
/// Bytes of the integrity check value.
pub const ICV_BYTES: usize = 16;
/// What the encrypted bytes align to (RFC 4303 section 2.4).
const ALIGN_BYTES: usize = 4;
/// The most that ESP adds to an inner packet.
pub const MAX_OVERHEAD_BYTES: usize = HEADER_BYTES + (ALIGN_BYTES - 1) + TRAILER_BYTES + ICV_BYTES;

/// Next header: an IPv4 packet, tunnel mode.
pub const NEXT_IPV4: u8 = 4;
/// Next header: an IPv6 packet, tunnel mode.
pub const NEXT_IPV6: u8 = 41;
/// Next header: nothing; such a packet is a dummy (RFC 4303 section 2.6) and to be dropped without further ado.
pub const NEXT_DUMMY: u8 = 59;

/// What was inside a packet that [`open`] accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the inner packet lies in the bytes that were given.
    pub inner: Range<usize>,
    /// What the inner packet is: 4, 41, or a transport protocol.
    pub next_header: u8,
    /// The packet's 64-bit sequence number.
    pub sequence: u64,
}

/// The bytes of an ESP packet, SPI to ICV, that carries an inner packet of this length.
pub const fn sealed_len_bytes(inner_len_bytes: usize) -> usize {
    HEADER_BYTES + text_len_bytes(inner_len_bytes) + ICV_BYTES
}

/// Inner packet, padding, pad length and next header.
const fn text_len_bytes(inner_len_bytes: usize) -> usize {
    (inner_len_bytes + TRAILER_BYTES).next_multiple_of(ALIGN_BYTES)
}

/// Seals the inner packet `buf[16..16 + inner_len_bytes]` in place and returns the length of the ESP packet, which begins
/// at `buf[0]` and takes [`sealed_len_bytes`].
///
/// # Errors
/// [`DropReason::LeaseExpired`], [`DropReason::SequenceExhausted`], or [`DropReason::TooBig`] when `buf` is too short;
/// then neither the association nor `buf` changed.
#[inline]
pub fn seal(
    sa: &mut OutboundSa,
    buf: &mut [u8],
    inner_len_bytes: usize,
    next_header: u8,
    now: Instant,
) -> Result<usize, DropReason> {
    if inner_len_bytes > buf.len() || sealed_len_bytes(inner_len_bytes) > buf.len() {
        return Err(DropReason::TooBig);
    }
    let sequence = sa.take_sequence(now)?;
    let text_len = text_len_bytes(inner_len_bytes);
    let (header, rest) = buf.split_at_mut(HEADER_BYTES);
    let (text, rest) = rest.split_at_mut(text_len);

    let spi = sa.spi().0.to_be_bytes();
    let iv = sequence.to_be_bytes();
    header[0..4].copy_from_slice(&spi);
    header[4..8].copy_from_slice(&iv[4..8]);
    header[8..16].copy_from_slice(&iv);

    let pad_len = text_len - TRAILER_BYTES - inner_len_bytes;
    for (at, byte) in text[inner_len_bytes..text_len - TRAILER_BYTES].iter_mut().enumerate() {
        *byte = at as u8 + 1;
    }
    text[text_len - 2] = pad_len as u8;
    text[text_len - 1] = next_header;

    let (aad, aad_len) = aad(spi, sequence, sa.numbers());
    // The library refuses only texts that are longer than a packet can be. The number stays used up even then.
    let icv = sa.cipher().seal(iv, &aad[..aad_len], text).map_err(|_| DropReason::TooBig)?;
    rest[..ICV_BYTES].copy_from_slice(icv.as_ref());
    Ok(sealed_len_bytes(inner_len_bytes))
}

/// Opens an ESP packet in place; `packet` is all of it, from the SPI through the ICV.
///
/// The steps are those of RFC 4303 section 3.4: lease, a hint from the replay window, ICV and decryption, padding, and
/// only then the window's decision.
///
/// # Errors
/// [`DropReason`]; then nothing of the association changed, though the bytes of the packet may have.
#[inline]
pub fn open(sa: &InboundSa, packet: &mut [u8], now: Instant) -> Result<Opened, DropReason> {
    if !sa.is_live(now) {
        return Err(DropReason::LeaseExpired);
    }
    let Parts { spi, low, iv, text, icv } = split(packet).ok_or(DropReason::Malformed)?;
    if u32::from_be_bytes(spi) != sa.spi().0 && !off(Defence::OwnKeys) {
        return Err(DropReason::UnknownSpi);
    }
    let sequence = match sa.numbers() {
        _ if off(Defence::OwnKeys) => u64::from_be_bytes(iv),
        SequenceNumbers::Extended => sa.window().infer(low)?,
        SequenceNumbers::Short => u64::from(low),
    };
    if sa.iv_is_sequence() && iv != sequence.to_be_bytes() {
        return Err(DropReason::BadIcv);
    }
    let window = !off(Defence::ReplayWindow) && !off(Defence::OwnKeys);
    if window {
        sa.window().check(sequence)?;
    }

    let (aad, aad_len) = aad(spi, sequence, sa.numbers());
    sa.cipher().open(iv, &aad[..aad_len], icv, text).map_err(|_| DropReason::BadIcv)?;
    let (inner_len, next_header) = unpad(text).ok_or(DropReason::BadPadding)?;
    if window {
        sa.window().commit(sequence)?;
    }
    Ok(Opened { inner: HEADER_BYTES..HEADER_BYTES + inner_len, next_header, sequence })
}

/// The parts of an ESP packet.
struct Parts<'a> {
    spi: [u8; 4],
    low: u32,
    iv: [u8; 8],
    text: &'a mut [u8],
    icv: &'a [u8; ICV_BYTES],
}

/// `None` for a packet too short or not aligned.
#[inline]
fn split(packet: &mut [u8]) -> Option<Parts<'_>> {
    let (spi, rest) = packet.split_first_chunk_mut::<4>()?;
    let (low, rest) = rest.split_first_chunk_mut::<4>()?;
    let (iv, rest) = rest.split_first_chunk_mut::<8>()?;
    let (text, icv) = rest.split_last_chunk_mut::<ICV_BYTES>()?;
    let whole = text.len() >= TRAILER_BYTES && text.len().is_multiple_of(ALIGN_BYTES);
    whole.then_some(Parts { spi: *spi, low: u32::from_be_bytes(*low), iv: *iv, text, icv })
}

/// Length of the inner packet, and the next header. `None` when the padding is not 1, 2, 3, ... (RFC 4303 section 2.4).
#[inline]
fn unpad(text: &[u8]) -> Option<(usize, u8)> {
    let (body, [pad_len, next_header]) = text.split_last_chunk::<TRAILER_BYTES>()?;
    let inner_len = body.len().checked_sub(usize::from(*pad_len))?;
    let good = body[inner_len..].iter().zip(1..=u8::MAX).all(|(byte, expected)| *byte == expected);
    good.then_some((inner_len, *next_header))
}

/// The additional authenticated data (RFC 4106 section 5): SPI ‖ 64-bit number, or SPI ‖ 32-bit number.
#[inline]
fn aad(spi: [u8; 4], sequence: u64, numbers: SequenceNumbers) -> ([u8; 12], usize) {
    let mut aad = [0; 12];
    aad[..4].copy_from_slice(&spi);
    match numbers {
        SequenceNumbers::Extended => {
            aad[4..12].copy_from_slice(&sequence.to_be_bytes());
            (aad, 12)
        }
        SequenceNumbers::Short => {
            aad[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
            (aad, 8)
        }
    }
}
