//! The path of each TCP connection, as a hop remembers it, so that a reset finds its way to both ends.
//!
//! A return path may serve several forward paths; then what came on it does not say by which of them its sender is
//! reached. The connection's first SYN did: it went along that path. Only packets with SYN, FIN or RST are looked at
//! more closely, so that all others cost the look at one byte. What is forgotten, because the table is full or the hop
//! new, costs a reset to one of the two ends, which then learns of it by its own timer; nothing else depends on it.
//!
//! Workers of one hop share a memory, since the two directions of a connection may come to different ones. Its lock is taken
//! for the packets that are looked at more closely, for one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::ipv6;
use ringmail_packet::tcp::Flags;

use crate::flow::{FlowTable, PINNED};
use crate::limits::{HOP_FLOW_S, SWEEP_ENTRIES_PER_TIMEOUT, TCP_CLOSING_S};
use crate::reset;

/// Where the flags are in a TCP header.
const FLAGS_AT: usize = 13;

/// The connections that pass a hop.
#[derive(Debug)]
pub(crate) struct FlowMemory {
    /// By the key of the packets of whoever began the connection.
    flows: Arc<Mutex<FlowTable<FlowKey, Flow>>>,
    started: Instant,
    /// Counts what is the table's and not a worker's: one of the workers does.
    counts: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    /// The path of the packets of whoever began.
    path: PathId,
    /// Which ends said FIN: who began, who answered.
    closed: [bool; 2],
}

impl FlowMemory {
    pub(crate) fn new(flows: usize, seeds: [u64; 4], now: Instant) -> FlowMemory {
        let flows = Arc::new(Mutex::new(FlowTable::new(flows, seeds)));
        FlowMemory { flows, started: now, counts: true }
    }

    /// The same memory for another worker.
    pub(crate) fn share(&self) -> FlowMemory {
        let flows = Arc::clone(&self.flows);
        FlowMemory { flows, started: self.started, counts: false }
    }

    fn table(&self) -> MutexGuard<'_, FlowTable<FlowKey, Flow>> {
        // A worker that panicked leaves a table that is whole between any two of its calls.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that may be remembered.
    pub(crate) fn limit(&self) -> usize {
        if self.counts { self.table().capacity() } else { 0 }
    }

    /// Connections that are remembered.
    pub(crate) fn len(&self) -> usize {
        if self.counts { self.table().len() } else { 0 }
    }

    /// Bytes of memory for each connection.
    pub(crate) fn bytes_per_flow(&self) -> usize {
        self.table().bytes_per_flow()
    }

    /// New connections that were not remembered because the memory was full.
    pub(crate) fn refused(&self) -> u64 {
        if self.counts { self.table().refused() } else { 0 }
    }

    /// Learns from a packet that goes on along `path`.
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, packet: &[u8], path: PathId) {
        let flags = tcp_flags(packet);
        if flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            self.learn(now, packet, path, flags);
        }
    }

    fn learn(&mut self, now: Instant, packet: &[u8], path: PathId, flags: Flags) {
        let now_s = self.seconds(now);
        let Ok(flow) = FlowKey::of(packet) else { return };
        let mut flows = self.table();
        flows.sweep(now_s, 1);
        if flags.contains(Flags::RST) {
            flows.remove(&flow);
            flows.remove(&flow.reversed());
        } else if flags.contains(Flags::SYN | Flags::ACK) {
            flows.set_expiry(&flow.reversed(), now_s.saturating_add(HOP_FLOW_S));
        } else if flags.contains(Flags::SYN) {
            let begun = Flow { path, closed: [false; 2] };
            // A full table keeps what it has.
            let _full = flows.insert(flow, begun, now_s.saturating_add(TCP_CLOSING_S));
        } else {
            for (flow, end) in [(flow, 0), (flow.reversed(), 1)] {
                if let Some((known, _)) = flows.get_mut(&flow, now_s) {
                    known.closed[end] = true;
                    if known.closed == [true; 2] {
                        flows.remove(&flow);
                    }
                }
            }
        }
    }

    /// The connection of `packet` is being reset: the path by which the packet's sender is reached, if that is who
    /// answered. Packets on their way may come for a while yet.
    pub(crate) fn end(&mut self, now: Instant, packet: &[u8]) -> Option<PathId> {
        let flow = FlowKey::of(packet).ok()?;
        let now_s = self.seconds(now);
        let until = now_s.saturating_add(TCP_CLOSING_S);
        let mut flows = self.table();
        if flows.set_expiry(&flow, until) {
            return None;
        }
        flows.touch(&flow.reversed(), now_s, until).map(|flow| flow.path)
    }

    /// Forgets what is too old, a few entries at a time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        self.table().sweep(now_s, SWEEP_ENTRIES_PER_TIMEOUT);
    }

    fn seconds(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.started).as_secs();
        u32::try_from(elapsed).unwrap_or(PINNED - 1)
    }
}

/// The flags of a TCP segment; none for anything else. Only the bytes needed are looked at, nothing is checked.
#[inline]
fn tcp_flags(packet: &[u8]) -> Flags {
    const NONE: Flags = Flags(0);
    let header_len = match packet {
        [first, _, _, _, _, _, _, _, _, protocol::TCP, ..] if first >> 4 == 4 => {
            usize::from(first & 0xf) * 4
        }
        [first, _, _, _, _, _, protocol::TCP, ..] if first >> 4 == 6 => ipv6::HEADER_LEN_BYTES,
        [first, _, _, _, _, _, next, ..] if first >> 4 == 6 => {
            return match ipv6::extension::is_extension(*next) {
                true => reset::segment(packet).map_or(NONE, |segment| segment.flags()),
                false => NONE,
            };
        }
        _ => return NONE,
    };
    packet.get(header_len + FLAGS_AT).map_or(NONE, |bits| Flags((*bits).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a TCP segment over IPv4 between two ends.
    fn segment(from: u8, to: u8, flags: u8) -> [u8; 40] {
        let mut packet = [0; 40];
        packet[0] = 0x45;
        packet[3] = 40;
        packet[8] = 64;
        packet[9] = protocol::TCP;
        (packet[15], packet[19]) = (from, to);
        (packet[21], packet[23]) = (from, to);
        packet[32] = 0x50;
        packet[20 + FLAGS_AT] = flags;
        packet
    }

    #[test]
    fn what_one_worker_saw_begin_another_may_end() {
        let now = Instant::now();
        let mut one = FlowMemory::new(8, [1, 2, 3, 4], now);
        let mut other = one.share();
        one.observe(now, &segment(1, 2, 0x02), PathId(7));
        assert_eq!((one.len() + other.len(), one.limit() + other.limit()), (1, 8), "counted once");
        assert_eq!(other.end(now, &segment(2, 1, 0x10)), Some(PathId(7)));
        other.observe(now, &segment(2, 1, 0x04), PathId(8));
        assert_eq!(one.len(), 0);
    }
}
