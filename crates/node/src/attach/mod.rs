//! Attached functions on this machine: the namespace of one, its cables, and the program in it.
//!
//! ```text
//!   namespace sf1            namespace sf1.function
//!   hop ── fn-in  ═════════ in0  ─┐
//!       ── fn-out ═════════ out0 ─┴ the program, or the kernel's routes and rules
//!
//!   with `interfaces: tap`
//!   hop ── fn-in  ═════════ cable-in  ─ br-in  ─ in0  ─┐
//!       ── fn-out ═════════ cable-out ─ br-out ─ out0 ─┴ who opens these TAPs
//! ```

pub(crate) mod alone;
pub(crate) mod network;
mod program;

pub use program::{Commands, run};

use ringmail_dataplane::Side;
use ringmail_model::ElementId;
use ringmail_packet::ethernet::Address;

/// What the name of a function's program among the elements begins with.
pub(crate) const PREFIX: &str = "function-";

/// The namespace of the function that the hop of this name serves.
pub(crate) fn namespace(element: &str) -> String {
    format!("{element}.function")
}

/// The interfaces of a cable: at the hop, at the function.
pub(crate) fn interfaces(side: Side) -> [&'static str; 2] {
    match side {
        Side::In => ["fn-in", "in0"],
        Side::Out => ["fn-out", "out0"],
    }
}

/// With TAPs: the cable's end at the function, and the bridge that joins it with the function's interface.
fn behind(side: Side) -> [&'static str; 2] {
    match side {
        Side::In => ["cable-in", "br-in"],
        Side::Out => ["cable-out", "br-out"],
    }
}

/// The MAC addresses of a cable's ends: at the hop, at the function. Locally administered (IEEE 802 section 8.4.2).
pub(crate) fn addresses(element: ElementId, side: Side) -> [Address; 2] {
    let [high, low] = element.0.to_be_bytes();
    let side = match side {
        Side::In => 0,
        Side::Out => 2,
    };
    [side, side + 1].map(|end| Address([2, b'r', b'm', high, low, end]))
}
