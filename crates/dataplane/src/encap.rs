//! A segment's beginning: an inner IP packet becomes a frame, in place, in the room around it.

use std::time::Instant;

use ringmail_model::overhead::EspMode;
use ringmail_packet::ip::protocol;

use crate::batch::Batch;
use crate::decap::Inner;
use crate::ecn;
use crate::esp::{self, HEADER_BYTES};
use crate::outer::{self, FIRST_TTL, OUTER_BYTES};
use crate::paths::PathState;
use crate::transport;
use crate::verdict::{DropReason, Verdict};

/// A frame whose payload lies where it will be sealed, in front of which there is room for everything else.
struct Laid {
    /// Where the labels go.
    front: usize,
    /// Where ESP begins; in transport mode the IP header, not yet changed, lies right before.
    esp: usize,
    payload_len: usize,
    next_header: u8,
}

/// Seals packet `index`, an inner IP packet with room around it, and addresses it to the next element of `path`. Where it
/// has an NSH, tag and code are still to be made ([`crate::nsh::group::finish`]).
pub(crate) fn encapsulate(
    batch: &mut Batch,
    index: usize,
    path: &mut PathState,
    now: Instant,
) -> Result<(), DropReason> {
    let leaving = path.config.leaving.as_ref().ok_or(DropReason::NoPath)?;
    let packet = batch.packet(index);
    let inner_len = packet.len();
    if inner_len > usize::from(path.config.inner_mtu_bytes) {
        return Err(DropReason::TooBig);
    }
    // The bytes of IP header: a new one in tunnel mode, the packet's own in transport mode.
    let (ip, kept, next_header) = match (path.config.mode, packet.first().map(|byte| byte >> 4)) {
        (EspMode::Tunnel, Some(4)) => (OUTER_BYTES, 0, esp::NEXT_IPV4),
        (EspMode::Tunnel, Some(6)) => (OUTER_BYTES, 0, esp::NEXT_IPV6),
        (EspMode::Tunnel, _) => return Err(DropReason::MalformedInner),
        (EspMode::Transport, _) => {
            let header = transport::carriable(packet)?;
            (header.len_bytes, header.len_bytes, header.protocol)
        }
    };
    let ecn = ecn::of(packet);
    let labels = leaving.labels.len_bytes();
    let steering = labels + path.nsh.as_ref().map_or(0, |nsh| nsh.len_bytes());
    let payload_len = inner_len - kept;
    let sealed = esp::sealed_len_bytes(payload_len);
    let head = steering + ip - kept + HEADER_BYTES;
    let tail = sealed - HEADER_BYTES - payload_len;
    let (headroom, tailroom) = batch.room(index);
    if headroom < head || tailroom < tail || ip + sealed > usize::from(u16::MAX) {
        return Err(DropReason::TooBig);
    }
    let grown = batch.grow_front(index, head) && batch.grow_back(index, tail);
    debug_assert!(grown);
    let frame = batch.packet_mut(index);
    frame.copy_within(head..head + kept, steering);
    if let Some(nsh) = &path.nsh {
        nsh.begin(&mut frame[labels..steering]);
    }
    let laid = Laid { front: 0, esp: steering + ip, payload_len, next_header };
    seal(batch, index, &laid, path, FIRST_TTL, ecn, now)?;
    path.traffic_out.count(inner_len);
    Ok(())
}

/// Seals frame `index`, opened before, for the next segment of `path`, without the label that it came by. Where it has an
/// NSH, that is stepped on, and tag and code are still to be made.
#[inline]
pub(crate) fn reseal(
    batch: &mut Batch,
    index: usize,
    inner: Inner,
    path: &mut PathState,
    ttl: u8,
    now: Instant,
) -> Result<(), DropReason> {
    let bytes = batch.packet_mut(index);
    let Inner { start, end, next_header } = inner;
    let ecn = ecn::of(&bytes[start..end]);
    let (esp, payload_len) = match path.config.mode {
        EspMode::Tunnel => (start - HEADER_BYTES, end - start),
        EspMode::Transport => {
            let header = transport::header_len_bytes(&bytes[start..end]);
            let outer = start - HEADER_BYTES;
            bytes.copy_within(start..start + header, outer);
            (outer + header, end - start - header)
        }
    };
    let front = pop_bytes(path);
    step(&mut bytes[path.config.arriving.len_bytes()..], path);
    let laid = Laid { front, esp, payload_len, next_header };
    seal(batch, index, &laid, path, ttl, ecn, now)?;
    path.traffic_out.count(end - start);
    let popped = batch.trim_front(index, front);
    debug_assert!(popped);
    Ok(())
}

/// Makes the NSH that `bytes` begin with, if the path has one, that of a packet which goes on.
#[inline]
pub(crate) fn step(bytes: &mut [u8], path: &PathState) {
    if let Some(nsh) = &path.nsh {
        nsh.step(&mut bytes[..nsh.len_bytes()]);
    }
}

/// Bytes of labels that a packet of the path loses here: its element's own, where it came by one.
#[inline]
pub(crate) fn pop_bytes(path: &PathState) -> usize {
    let leaving = path.config.leaving.as_ref().map_or(0, |leaving| leaving.labels.len_bytes());
    path.config.arriving.len_bytes().saturating_sub(leaving)
}

#[inline]
fn seal(
    batch: &mut Batch,
    index: usize,
    laid: &Laid,
    path: &mut PathState,
    ttl: u8,
    ecn: ringmail_packet::ip::Ecn,
    now: Instant,
) -> Result<(), DropReason> {
    let leaving = path.config.leaving.as_ref().ok_or(DropReason::NoPath)?;
    let tunnel = leaving.tunnel.ok_or(DropReason::NoPath)?;
    if let Some(nsh) = &path.nsh {
        nsh.ready(now)?;
    }
    let Some(sa) = &mut path.outbound else { return Err(path.unkeyed(now)) };
    let bytes = batch.packet_mut(index);
    let sealed = esp::seal(sa, &mut bytes[laid.esp..], laid.payload_len, laid.next_header, now)?;
    // Whoever sealed it before may have padded it by more than it needs.
    let surplus = bytes.len() - laid.esp - sealed;
    let trimmed = batch.trim_back(index, surplus);
    debug_assert!(trimmed);
    let frame = &mut batch.packet_mut(index)[laid.front..];
    match path.config.mode {
        EspMode::Tunnel => {
            let outer = laid.esp - OUTER_BYTES - laid.front;
            outer::write(frame, outer, &leaving.labels, ttl, tunnel, ecn);
        }
        EspMode::Transport => {
            let labels = leaving.labels.len_bytes();
            leaving.labels.write(ttl, &mut frame[..labels]);
            let header = &mut frame[labels..laid.esp - laid.front];
            transport::rewrite(header, protocol::ESP, sealed);
        }
    }
    batch.set_verdict(index, Verdict::Send(leaving.next));
    Ok(())
}
