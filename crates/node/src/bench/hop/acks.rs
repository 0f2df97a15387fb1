//! The other end of what a bench sends through an inspection: it acknowledges, some bytes late, as a receiver behind a
//! full chain does. Without it an inspection would keep what it forwarded until it has no room.

use std::time::Instant;

use anyhow::{Result, ensure};
use ringmail_dataplane::batch::Batch;
use ringmail_dataplane::esp::{self, HEADER_BYTES, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::sa::OutboundSa;
use ringmail_dataplane::{Neighbour, Verdict};

use super::fixture::{HEADERS_BYTES, PACKETS, inner_packet, refused};

/// The most that one connection has on its way: what Linux has by default.
const IN_FLIGHT_BYTES: u32 = 4 << 20;
/// The most that all have together.
const ALL_IN_FLIGHT_BYTES: u32 = 32 << 20;

/// Sends acknowledgements, apart from what is measured.
pub(super) struct Acks {
    front: Vec<u8>,
    lag_bytes: u32,
    batch: Batch,
    made: Batch,
}

impl Acks {
    /// For so many connections; `front` is what an acknowledgement's frame begins with.
    pub(super) fn new(flows: usize, front: Vec<u8>) -> Acks {
        let frame_len = front.len() + sealed_len_bytes(HEADERS_BYTES);
        Acks {
            front,
            lag_bytes: IN_FLIGHT_BYTES.min(ALL_IN_FLIGHT_BYTES / flows.max(1) as u32),
            batch: Batch::with_capacity_bytes(PACKETS * frame_len),
            made: Batch::with_capacity_bytes(frame_len),
        }
    }

    /// Acknowledges connections, each by its number and its next sequence number; at most [`PACKETS`].
    pub(super) fn send(
        &mut self,
        now: Instant,
        hop: &mut Hop,
        sender: &mut OutboundSa,
        flows: impl Iterator<Item = (usize, u32)>,
    ) -> Result<()> {
        self.batch.clear();
        self.batch.set_source(Some(Neighbour(0)));
        for (flow, next) in flows.take(PACKETS) {
            let front = self.front.len();
            let index = self.batch.push(0, front + sealed_len_bytes(HEADERS_BYTES), 0)?;
            let frame = self.batch.packet_mut(index);
            frame[..front].copy_from_slice(&self.front);
            let inner = acknowledgement(flow, next.wrapping_sub(self.lag_bytes));
            frame[front + HEADER_BYTES..][..HEADERS_BYTES].copy_from_slice(&inner);
            esp::seal(sender, &mut frame[front..], HEADERS_BYTES, NEXT_IPV4, now)
                .map_err(refused)?;
        }
        hop.handle_link(now, &mut self.batch, &mut self.made);
        let mut verdicts = (0..self.batch.len()).map(|n| self.batch.verdict(n));
        ensure!(
            verdicts.all(|verdict| verdict == Verdict::Send(Neighbour(1))),
            "a hop did not send an acknowledgement on"
        );
        Ok(())
    }
}

/// The answer to a packet of this connection.
fn acknowledgement(flow: usize, number: u32) -> Vec<u8> {
    let mut packet = inner_packet(HEADERS_BYTES, flow, 0);
    for (one, other, len) in [(12, 16, 4), (20, 22, 2)] {
        let (front, back) = packet.split_at_mut(other);
        front[one..one + len].swap_with_slice(&mut back[..len]);
    }
    packet[28..32].copy_from_slice(&number.to_be_bytes());
    packet
}
