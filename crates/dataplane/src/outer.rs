//! The encapsulation around ESP: label stack, Network Service Header, outer IPv4, and where they end.
//!
//! ```text
//! | my label | labels of those behind me … S       |       | IPv4, protocol 50, 20 bytes | ESP …   mpls
//! | my label | labels of those behind me … | SFF S | NSH   | IPv4, protocol 50, 20 bytes | ESP …   mpls-nsh
//!                                          | SFF S | NSH   | IPv4, protocol 50, 20 bytes | ESP …   nsh over UDP
//!                                                  | NSH   | IPv4, protocol 50, 20 bytes | ESP …   nsh over Ethernet
//! ```
//!
//! In tunnel mode every segment sender writes an outer header of its own without options. In transport mode the inner
//! packet's header stands there, of either IP version. Anything else is refused.

use std::net::Ipv4Addr;

use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::SFF_LABEL;
use ringmail_model::{Label, PathId, SaSpi};
use ringmail_packet::ip::{self, Ecn};
use ringmail_packet::{ipv4, ipv6, mpls, nsh};

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

/// Where the checksum is, in words of 16 bits (RFC 791 section 3.1).
const CHECKSUM_WORD: usize = 5;

/// What stands where in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The TTL of the top label; the greatest where there is none.
    pub(crate) ttl: u8,
    /// Bytes of the label stack; the NSH, if there is one, goes from there to the outer IP header.
    pub(crate) stack: usize,
    /// The path that the NSH names, if there is an NSH.
    pub(crate) path: Option<PathId>,
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

/// How the frames of an element begin, by its profile and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With labels, of which this one is on top.
    Labels(Label),
    /// With the label of the SFF alone, under which there is an NSH.
    Sff,
    /// With an NSH.
    Nsh,
}

impl Form {
    /// The element's label is on top, or none of an element's.
    fn is_top(self, label: u32) -> bool {
        match self {
            Form::Labels(mine) => label == mine.get(),
            Form::Sff => label == SFF_LABEL.get(),
            Form::Nsh => false,
        }
    }
}

/// What a frame is about, for those who only look on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The path that its NSH names, if it has one.
    pub path: Option<PathId>,
    /// Where that NSH begins.
    pub header: Option<usize>,
    /// Where ESP begins.
    pub esp: usize,
}

/// Looks at a frame of elements whose frames begin as `form` says, whichever of them it is for; `None` where it holds no ESP.
pub fn glance(frame: &[u8], form: Form) -> Option<Glance> {
    let form = match form {
        Form::Labels(_) => {
            let top = mpls::Entry::from_bytes(*frame.first_chunk()?);
            Form::Labels(Label::new(top.label)?)
        }
        other => other,
    };
    let Frame { path, stack, esp, .. } = parse(frame, form).ok()?;
    Some(Glance { path, header: path.map(|_| stack), esp })
}

/// Looks at a frame that came from the link: it must begin as `form` says, and ESP must follow.
pub(crate) fn parse(frame: &[u8], form: Form) -> Result<Frame, DropReason> {
    if form == Form::Nsh {
        return parse_nsh(frame, 0, u8::MAX);
    }
    let mut entries = frame
        .chunks_exact(ENTRY_BYTES)
        .take(MAX_LABELS)
        .map(|entry| mpls::Entry::from_bytes([entry[0], entry[1], entry[2], entry[3]]));
    let top = entries.next().ok_or(DropReason::Malformed)?;
    if !form.is_top(top.label) {
        return Err(DropReason::UnknownLabel);
    }
    let (mut bottom, mut count) = (top, 1);
    while !bottom.bottom {
        bottom = entries.next().ok_or(DropReason::Malformed)?;
        count += 1;
    }
    let stack = count * ENTRY_BYTES;
    match bottom.label == SFF_LABEL.get() {
        true => parse_nsh(frame, stack, top.ttl),
        false => parse_ip(frame, stack, stack, None, top.ttl),
    }
}

/// Goes on where there is an NSH.
fn parse_nsh(frame: &[u8], stack: usize, ttl: u8) -> Result<Frame, DropReason> {
    let header = nsh::Packet::new_checked(frame.get(stack..).ok_or(DropReason::Malformed)?);
    let header = header.map_err(|_| DropReason::Malformed)?;
    parse_ip(frame, stack, stack + header.header_len(), Some(PathId(header.spi())), ttl)
}

/// Goes on where there is the outer IP header.
#[inline]
fn parse_ip(
    frame: &[u8],
    stack: usize,
    outer: usize,
    path: Option<PathId>,
    ttl: u8,
) -> Result<Frame, DropReason> {
    let packet = frame.get(outer..).ok_or(DropReason::Malformed)?;
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
    Ok(Frame { ttl, stack, path, outer, esp, plain, ecn, spi })
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
    /// Stands where no frame was looked at.
    pub(crate) const NONE: Frame = Frame {
        ttl: 0,
        stack: 0,
        path: None,
        outer: 0,
        esp: 0,
        plain: false,
        ecn: Ecn::NotEct,
        spi: SaSpi(0),
    };

    /// Whether the outer header is one that a path of this mode has.
    pub(crate) fn check_mode(&self, mode: EspMode) -> Result<(), DropReason> {
        match mode {
            EspMode::Tunnel if !self.plain => Err(DropReason::Malformed),
            EspMode::Tunnel | EspMode::Transport => Ok(()),
        }
    }
}

/// Writes labels and, at `outer`, the outer header of tunnel mode to `frame`, whose ESP part is in place behind it.
pub(crate) fn write(
    frame: &mut [u8],
    outer: usize,
    labels: &LabelStack,
    ttl: u8,
    tunnel: Tunnel,
    ecn: Ecn,
) {
    labels.write(ttl, &mut frame[..outer]);
    let total_len = frame.len() - outer;
    let [source, destination] = [tunnel.source, tunnel.destination].map(Ipv4Addr::to_bits);
    // As numbers: what has just been written byte by byte is slow to read again for the checksum.
    let mut words = [
        u16::from_be_bytes([VERSION_AND_LENGTH, ecn.bits()]),
        total_len as u16,
        // Identification 0 and "don't fragment": an atomic datagram (RFC 6864 section 4.1).
        0,
        0x4000,
        u16::from_be_bytes([FIRST_TTL, ip::protocol::ESP]),
        0,
        (source >> 16) as u16,
        source as u16,
        (destination >> 16) as u16,
        destination as u16,
    ];
    let sum: u32 = words.iter().map(|word| u32::from(*word)).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    words[CHECKSUM_WORD] = !((sum + (sum >> 16)) as u16);
    for (place, word) in frame[outer..outer + OUTER_BYTES].chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
