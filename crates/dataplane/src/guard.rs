//! What neither enters nor leaves a chain at its ends: packets in which something else is wrapped. Functions would not see
//! it, and what the domain itself wraps stays inside.

use ringmail_packet::ip::protocol;
use ringmail_packet::wrapped::is_wrapped;

use crate::attach::Subject;
use crate::verdict::DropReason;

/// The flow of a plain packet that may pass an end of chains; `link_port` is the UDP port of the domain's links.
#[inline]
pub(crate) fn subject(
    packet: &[u8],
    other_idle_s: u32,
    link_port: u16,
) -> Result<Subject, DropReason> {
    let subject = Subject::of(packet, other_idle_s)?;
    match may_wrap(packet) && is_wrapped(packet, link_port) {
        true => Err(DropReason::Wrapped),
        false => Ok(subject),
    }
}

/// False for what is TCP at the first look, as most is.
fn may_wrap(packet: &[u8]) -> bool {
    let next = match packet {
        [first, _, _, _, _, _, next, ..] if first >> 4 == 6 => *next,
        [first, _, _, _, _, _, _, _, _, next, ..] if first >> 4 == 4 => *next,
        _ => return true,
    };
    next != protocol::TCP
}
