//! A segment's beginning: an inner IP packet becomes a frame, in place, in the room around it.

use std::time::Instant;

use crate::batch::Batch;
use crate::ecn;
use crate::esp;
use crate::outer::{self, FIRST_TTL, OUTER_BYTES};
use crate::paths::PathState;
use crate::verdict::{DropReason, Verdict};

/// Seals packet `index`, an inner IP packet with room around it, and addresses it to the next element of `path`.
pub(crate) fn encapsulate(
    batch: &mut Batch,
    index: usize,
    path: &mut PathState,
    now: Instant,
) -> Result<(), DropReason> {
    let leaving = path.config.leaving.as_ref().ok_or(DropReason::NoPath)?;
    let tunnel = leaving.tunnel.ok_or(DropReason::NoPath)?;
    let sa = path.outbound.as_mut().ok_or(DropReason::NoAssociation)?;
    let inner_len = batch.packet(index).len();
    if inner_len > usize::from(path.config.inner_mtu_bytes) {
        return Err(DropReason::TooBig);
    }
    let next_header = match batch.packet(index).first().map(|byte| byte >> 4) {
        Some(4) => esp::NEXT_IPV4,
        Some(6) => esp::NEXT_IPV6,
        _ => return Err(DropReason::MalformedInner),
    };
    let ecn = ecn::of(batch.packet(index));
    let front = leaving.labels.len_bytes() + OUTER_BYTES;
    let head = front + esp::HEADER_BYTES;
    let tail = esp::sealed_len_bytes(inner_len) - esp::HEADER_BYTES - inner_len;
    let (headroom, tailroom) = batch.room(index);
    if headroom < head || tailroom < tail {
        return Err(DropReason::TooBig);
    }
    let grown = batch.grow_front(index, head) && batch.grow_back(index, tail);
    debug_assert!(grown);
    let frame = batch.packet_mut(index);
    esp::seal(sa, &mut frame[front..], inner_len, next_header, now)?;
    outer::write(frame, &leaving.labels, FIRST_TTL, tunnel, ecn);
    path.traffic_out.count(inner_len);
    batch.set_verdict(index, Verdict::Send(leaving.next));
    Ok(())
}
