//! What went into an attached function and what came of it.
//!
//! `sent_in = returned_same + returned_rewritten + dropped + not_returned` holds at every moment: a packet that came out settles at
//! most one that went in. What came out beyond that the function made or split off itself. Where a function rewrites
//! headers, a packet that it dropped and one that it made cannot be told from one that it rewrote.

use crate::counters::{Counter, Traffic};
use crate::function::FunctionCounter;

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
    /// Packets that an SFC-aware function said it dropped.
    pub dropped: Counter,
    /// ICMP errors among all that came out and were matched.
    pub errors: Counter,
}

impl AttachCounters {
    /// Packets that went in and have not come back: dropped, joined with others, or still held.
    pub fn not_returned(&self) -> u64 {
        let back = self.returned_same.packets.get()
            + self.returned_rewritten.packets.get()
            + self.dropped.get();
        self.sent_in.packets.get().saturating_sub(back)
    }

    /// All of them, for reports.
    pub fn readings(&self) -> Vec<FunctionCounter> {
        let mut readings = Vec::new();
        for (name, traffic, packets, bytes) in [
            (
                "sent_in",
                &self.sent_in,
                "Packets given to the attached function.",
                "Bytes of the packets given to the attached function.",
            ),
            (
                "returned_same",
                &self.returned_same,
                "Packets that came back in the flow in which they were given.",
                "Bytes of the packets that came back in the flow in which they were given.",
            ),
            (
                "returned_rewritten",
                &self.returned_rewritten,
                "Packets that came back in another flow, while others were owed.",
                "Bytes of the packets that came back in another flow.",
            ),
            (
                "originated",
                &self.originated,
                "Packets beyond those that were given: made by the function, or split off.",
                "Bytes of the packets beyond those that were given.",
            ),
        ] {
            let (count, sum) = (traffic.packets.get(), traffic.bytes.get());
            readings.push(reading(&format!("{name}_packets"), "packets", packets, count));
            readings.push(reading(&format!("{name}_bytes"), "bytes", bytes, sum));
        }
        let what = "Packets that an SFC-aware function said it dropped.";
        readings.push(reading("dropped_packets", "packets", what, self.dropped.get()));
        let what = "ICMP errors that came out and found their path.";
        readings.push(reading("error_packets", "packets", what, self.errors.get()));
        let what = "Packets that were given and have not come back: dropped, joined or held.";
        readings.push(reading(NOT_RETURNED, "packets", what, self.not_returned()));
        readings
    }

    /// Whether the reading of this name can fall.
    pub fn is_gauge(name: &str) -> bool {
        name == NOT_RETURNED
    }
}

const NOT_RETURNED: &str = "not_returned_packets";

fn reading(
    name: &str,
    unit: &'static str,
    description: &'static str,
    value: u64,
) -> FunctionCounter {
    FunctionCounter { name: name.to_owned(), unit, description, value }
}
