//! The path of each TCP connection, as a hop remembers it, so that a reset finds its way to both ends.
//!
//! A return path may serve several forward paths; then what came on it does not say by which of them its sender is
//! reached. The connection's first SYN did: it went along that path. Only packets with SYN, FIN or RST are looked at
//! more closely, so that all others cost the look at one byte. What is forgotten, because the table is full or the hop
//! new, costs a reset to one of the two ends, which then learns of it by its own timer; nothing else depends on it.

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
    flows: FlowTable<FlowKey, Flow>,
    started: Instant,
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
        FlowMemory { flows: FlowTable::new(flows, seeds), started: now }
    }

    /// Connections that may be remembered.
    pub(crate) fn limit(&self) -> usize {
        self.flows.capacity()
    }

    /// Connections that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Bytes of memory for each connection.
    pub(crate) fn bytes_per_flow(&self) -> usize {
        self.flows.bytes_per_flow()
    }

    /// New connections that were not remembered because the memory was full.
    pub(crate) fn refused(&self) -> u64 {
        self.flows.refused()
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
        self.flows.sweep(now_s, 1);
        let Ok(flow) = FlowKey::of(packet) else { return };
        if flags.contains(Flags::RST) {
            self.flows.remove(&flow);
            self.flows.remove(&flow.reversed());
        } else if flags.contains(Flags::SYN | Flags::ACK) {
            self.flows.set_expiry(&flow.reversed(), now_s.saturating_add(HOP_FLOW_S));
        } else if flags.contains(Flags::SYN) {
            let begun = Flow { path, closed: [false; 2] };
            // A full table keeps what it has.
            let _full = self.flows.insert(flow, begun, now_s.saturating_add(TCP_CLOSING_S));
        } else {
            self.close(flow, 0, now_s);
            self.close(flow.reversed(), 1, now_s);
        }
    }

    fn close(&mut self, flow: FlowKey, end: usize, now_s: u32) {
        if let Some((known, _)) = self.flows.get_mut(&flow, now_s) {
            known.closed[end] = true;
            if known.closed == [true; 2] {
                self.flows.remove(&flow);
            }
        }
    }

    /// The connection of `packet` is being reset: the path by which the packet's sender is reached, if that is who
    /// answered. Packets on their way may come for a while yet.
    pub(crate) fn end(&mut self, now: Instant, packet: &[u8]) -> Option<PathId> {
        let flow = FlowKey::of(packet).ok()?;
        let now_s = self.seconds(now);
        let until = now_s.saturating_add(TCP_CLOSING_S);
        if self.flows.set_expiry(&flow, until) {
            return None;
        }
        self.flows.touch(&flow.reversed(), now_s, until).map(|flow| flow.path)
    }

    /// Forgets what is too old, a few entries at a time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        self.flows.sweep(now_s, SWEEP_ENTRIES_PER_TIMEOUT);
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
