//! A segment's end: a frame's ESP is opened in place, and the inner IP packet found in it (RFC 4303 section 3.4).

use std::time::Instant;

use ringmail_packet::{ipv4, ipv6};

use crate::counters::Counters;
use crate::ecn;
use crate::esp;
use crate::outer::Frame;
use crate::sa::InboundSa;
use crate::verdict::DropReason;

/// Opens the frame `bytes`, and returns where its inner IP packet lies and the next header that ESP had.
pub(crate) fn decapsulate(
    bytes: &mut [u8],
    frame: &Frame,
    sa: &InboundSa,
    now: Instant,
    counters: &Counters,
) -> Result<((usize, usize), u8), DropReason> {
    let opened = esp::open(sa, &mut bytes[frame.esp..], now)?;
    counters.opened.count(opened.inner.len());
    if opened.next_header == esp::NEXT_DUMMY {
        return Err(DropReason::Dummy);
    }
    let start = frame.esp + opened.inner.start;
    let inner = &mut bytes[start..frame.esp + opened.inner.end];
    let len = tunnelled_len_bytes(inner, opened.next_header)?;
    ecn::leave_tunnel(&mut inner[..len], frame.ecn)?;
    Ok(((start, start + len), opened.next_header))
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
