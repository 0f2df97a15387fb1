//! What went into an attached function and what came of it.
//!
//! `sent_in = returned_same + returned_rewritten + not_returned` holds at every moment: a packet that came out settles at
//! most one that went in. What came out beyond that the function made or split off itself. Where a function rewrites
//! headers, a packet that it dropped and one that it made cannot be told from one that it rewrote.

use crate::counters::{Counter, Traffic};

/// Written by the hop's worker, read by anyone.
#[derive(Debug, Default)]
pub struct AttachCounters {
    /// Packets given to the function.
    pub sent_in: Traffic,
    /// Packets that came back in the flow and direction in which they were sent in.
    pub returned_same: Traffic,
    /// Packets that came back in another flow, while others were owed.
    pub returned_rewritten: Traffic,
    /// Packets beyond those that were sent in: made by the function, or split off.
    pub originated: Traffic,
    /// ICMP errors among all that came out and were matched.
    pub errors: Counter,
}

impl AttachCounters {
    /// Packets that went in and have not come back: dropped, joined with others, or still held.
    pub fn not_returned(&self) -> u64 {
        let back = self.returned_same.packets.get() + self.returned_rewritten.packets.get();
        self.sent_in.packets.get().saturating_sub(back)
    }
}
