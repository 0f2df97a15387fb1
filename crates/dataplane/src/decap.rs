//! A segment's end: a frame's ESP is opened in place, and the inner IP packet made of it (RFC 4303 section 3.4).

use std::time::Instant;

use ringmail_model::overhead::EspMode;
use ringmail_packet::{ipv4, ipv6};

use crate::counters::Counters;
use crate::ecn;
use crate::esp::{self, HEADER_BYTES};
use crate::nsh::group;
use crate::outer::Frame;
use crate::paths::PathState;
use crate::sa::InboundSa;
use crate::transport;
use crate::verdict::DropReason;

/// An inner packet in its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner {
    /// Where it begins.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// The next header that ESP had.
    pub(crate) next_header: u8,
}

/// Opens the frame `bytes` of this path. What its sender left for the proof of transit goes where later elements find it.
#[inline]
pub(crate) fn decapsulate(
    bytes: &mut [u8],
    frame: &Frame,
    path: &PathState,
    sa: &InboundSa,
    now: Instant,
    counters: &Counters,
) -> Result<Inner, DropReason> {
    let mode = path.config.mode;
    frame.check_mode(mode)?;
    let opened = esp::open(sa, &mut bytes[frame.esp..], now)?;
    if let Some(place) = path.nsh.as_ref().and_then(|nsh| nsh.mark.clone()) {
        let mark = group::mark(bytes)?;
        bytes[frame.stack..][place].copy_from_slice(&mark);
    }
    counters.opened.count(opened.inner.len());
    let next_header = opened.next_header;
    if next_header == esp::NEXT_DUMMY {
        return Err(DropReason::Dummy);
    }
    let (start, end) = (frame.esp + opened.inner.start, frame.esp + opened.inner.end);
    match mode {
        EspMode::Tunnel => {
            let inner = &mut bytes[start..end];
            let len = tunnelled_len_bytes(inner, next_header)?;
            ecn::leave_tunnel(&mut inner[..len], frame.ecn)?;
            Ok(Inner { start, end: start + len, next_header })
        }
        EspMode::Transport => {
            transport::check_opened(&bytes[frame.outer..frame.esp], next_header)?;
            // The header moves over the ESP header, to the payload that it belongs to.
            bytes.copy_within(frame.outer..frame.esp, frame.outer + HEADER_BYTES);
            let header = &mut bytes[frame.outer + HEADER_BYTES..start];
            transport::rewrite(header, next_header, end - start);
            Ok(Inner { start: frame.outer + HEADER_BYTES, end, next_header })
        }
    }
}

/// Bytes of the IP packet that `inner` begins with; what is behind it is padding against traffic analysis
/// (RFC 4303 section 2.7).
fn tunnelled_len_bytes(inner: &[u8], next_header: u8) -> Result<usize, DropReason> {
    let (version, at, uncounted) = match next_header {
        esp::NEXT_IPV4 => (4, 2, 0),
        esp::NEXT_IPV6 => (6, 4, ipv6::HEADER_LEN_BYTES),
        _ => return Err(DropReason::WrongNextHeader),
    };
    match inner {
        [first, ..] if first >> 4 != version => Err(DropReason::WrongNextHeader),
        _ => {
            let field = inner.get(at..).and_then(<[u8]>::first_chunk);
            let field = field.ok_or(DropReason::MalformedInner)?;
            let len = uncounted + usize::from(u16::from_be_bytes(*field));
            let possible = ipv4::MIN_HEADER_LEN_BYTES..=inner.len();
            if possible.contains(&len) { Ok(len) } else { Err(DropReason::MalformedInner) }
        }
    }
}
