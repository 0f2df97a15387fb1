//! Congestion marks between the UDP link's own IP header and the frame that it carries (RFC 6040): what the IP header behind
//! the frame's labels says is copied out, and what routers marked on the way is written back in.
//!
//! A mark on a frame that did not offer to be marked is written in all the same: where its segment ends it is dropped for
//! that, and counted (`congestion_not_ect`).

use ringmail_dataplane::ecn;
use ringmail_dataplane::limits::MAX_LABELS;
use ringmail_packet::ip::Ecn;

const LABEL_BYTES: usize = 4;

/// What the link's IP header is to say about this frame.
pub(super) fn outside(frame: &[u8]) -> Ecn {
    header(frame).map_or(Ecn::NotEct, |at| ecn::of(&frame[at..]))
}

/// Notes in a frame that the link's IP header was marked.
#[cold]
pub(super) fn congested(frame: &mut [u8]) {
    if let Some(at) = header(frame) {
        ecn::write(&mut frame[at..], Ecn::Ce);
    }
}

/// Where the labels end.
fn header(frame: &[u8]) -> Option<usize> {
    let mut labels = frame.chunks_exact(LABEL_BYTES).take(MAX_LABELS);
    let bottom = labels.position(|label| label[2] & 1 == 1)?;
    Some((bottom + 1) * LABEL_BYTES)
}
