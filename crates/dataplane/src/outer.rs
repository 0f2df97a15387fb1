//! The encapsulation around ESP, profile `mpls`: label stack, outer IPv4, and where they end.
//!
//! ```text
//! | my label | labels of those behind me … S | IPv4, protocol 50, 20 bytes | ESP …
//! ```
//!
//! In tunnel mode every segment sender writes an outer header of its own without options. In transport mode the inner
//! packet's header stands there, of either IP version. Anything else is refused.

use ringmail_model::overhead::EspMode;
use ringmail_model::{Label, SaSpi};
use ringmail_packet::ip::{self, Ecn};
use ringmail_packet::{ipv4, ipv6, mpls};

use crate::labels::{ENTRY_BYTES, LabelStack};
use crate::limits::MAX_LABELS;
use crate::paths::Tunnel;
use crate::verdict::DropReason;

/// Bytes of the outer IPv4 header.
pub(crate) const OUTER_BYTES: usize = 20;

/// The TTL of label entries and outer headers where a segment begins.
pub(crate) const FIRST_TTL: u8 = 64;

/// Version 4, five words of header: what the first byte of an outer header is.
const VERSION_AND_LENGTH: u8 = 0x45;

/// What stands where in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The TTL of the top label.
    pub(crate) ttl: u8,
    /// Where the outer IP header begins.
    pub(crate) outer: usize,
    /// Where ESP begins.
    pub(crate) esp: usize,
    /// Whether the outer header is one that a sender in tunnel mode writes.
    plain: bool,
    /// The ECN field of the outer header.
    pub(crate) ecn: Ecn,
    /// The SPI that ESP begins with.
    pub(crate) spi: SaSpi,
}

/// Looks at a frame that came from the link: the top label must be `mine`, and ESP must follow the stack.
pub(crate) fn parse(frame: &[u8], mine: Label) -> Result<Frame, DropReason> {
    let mut entries = frame
        .chunks_exact(ENTRY_BYTES)
        .take(MAX_LABELS)
        .map(|entry| mpls::Entry::from_bytes([entry[0], entry[1], entry[2], entry[3]]));
    let top = entries.next().ok_or(DropReason::Malformed)?;
    if top.label != mine.get() {
        return Err(DropReason::UnknownLabel);
    }
    let below = if top.bottom {
        0
    } else {
        1 + entries.position(|entry| entry.bottom).ok_or(DropReason::Malformed)?
    };
    let outer = (1 + below) * ENTRY_BYTES;
    let packet = &frame[outer..];
    let plain = packet.first() == Some(&VERSION_AND_LENGTH);
    let (header_len, protocol, ecn) = match packet.first_chunk::<OUTER_BYTES>() {
        // The header that nearly every frame has; its length is known here and the checksum quickly done.
        Some(header) if plain => {
            let header = ipv4::Packet::new_unchecked(&header[..]);
            if packet.len() != usize::from(header.total_len()) || !header.verify_checksum() {
                return Err(DropReason::Malformed);
            }
            (OUTER_BYTES, header.protocol(), header.ecn())
        }
        _ => kept_header(packet)?,
    };
    if protocol != ip::protocol::ESP {
        return Err(DropReason::NotEsp);
    }
    let esp = outer + header_len;
    let spi = frame[esp..].first_chunk().ok_or(DropReason::Malformed)?;
    let spi = SaSpi(u32::from_be_bytes(*spi));
    Ok(Frame { ttl: top.ttl, outer, esp, plain, ecn, spi })
}

/// Length, protocol and ECN of a header that only transport mode has.
#[cold]
fn kept_header(packet: &[u8]) -> Result<(usize, u8, Ecn), DropReason> {
    let malformed = |_| DropReason::Malformed;
    let (header, whole) = match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let view = ipv4::Packet::new_checked(packet).map_err(malformed)?;
            let whole = packet.len() == usize::from(view.total_len()) && view.verify_checksum();
            ((view.header_len(), view.protocol(), view.ecn()), whole)
        }
        _ => {
            let view = ipv6::Packet::new_checked(packet).map_err(malformed)?;
            let len = ipv6::HEADER_LEN_BYTES;
            let whole = packet.len() == len + usize::from(view.payload_len());
            ((len, view.next_header(), view.ecn()), whole)
        }
    };
    if whole { Ok(header) } else { Err(DropReason::Malformed) }
}

impl Frame {
    /// Whether the outer header is one that a path of this mode has.
    pub(crate) fn check_mode(&self, mode: EspMode) -> Result<(), DropReason> {
        match mode {
            EspMode::Tunnel if !self.plain => Err(DropReason::Malformed),
            EspMode::Tunnel | EspMode::Transport => Ok(()),
        }
    }
}

/// Writes labels and outer header of tunnel mode to the front of `frame`, whose ESP part is in place behind them.
pub(crate) fn write(frame: &mut [u8], labels: &LabelStack, ttl: u8, tunnel: Tunnel, ecn: Ecn) {
    let outer = labels.len_bytes();
    labels.write(ttl, &mut frame[..outer]);
    let total_len = frame.len() - outer;
    let header = &mut frame[outer..outer + OUTER_BYTES];
    header[0] = VERSION_AND_LENGTH;
    header[1] = ecn.bits();
    header[2..4].copy_from_slice(&(total_len as u16).to_be_bytes());
    // Identification 0 and "don't fragment": an atomic datagram (RFC 6864 section 4.1).
    header[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
    header[8] = FIRST_TTL;
    header[9] = ip::protocol::ESP;
    header[12..16].copy_from_slice(&tunnel.source.octets());
    header[16..20].copy_from_slice(&tunnel.destination.octets());
    ipv4::Packet::new_unchecked(header).fill_checksum();
}
