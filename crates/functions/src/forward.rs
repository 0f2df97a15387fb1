//! The function `forward`: passes every packet and counts it. What a chain costs without work is measured with it.

use std::time::Instant;

use ringmail_dataplane::function::FunctionCounter;
use ringmail_dataplane::{Function, FunctionBatch};

/// Passes every packet.
#[derive(Debug, Default)]
pub struct Forward {
    packets: u64,
    bytes: u64,
}

impl Function for Forward {
    fn handle_batch(&mut self, _now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            self.packets += 1;
            self.bytes += packets.packet(nth).len() as u64;
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        let counter = |name: &str, unit, description, value| FunctionCounter {
            name: name.to_owned(),
            unit,
            description,
            value,
        };
        vec![
            counter("forwarded_packets", "packets", "Packets that passed.", self.packets),
            counter(
                "forwarded_bytes",
                "bytes",
                "Visible bytes of packets that passed.",
                self.bytes,
            ),
        ]
    }
}
