//! The counters of `dpi`: names, units and a sentence each.

use ringmail_dataplane::function::FunctionCounter;

use super::{Dpi, Refusal};

/// Those that may fall.
pub(super) const GAUGES: &[&str] = &["connections", "stream_blocks_used"];

/// All counters as they stand.
pub(super) fn of(dpi: &Dpi) -> Vec<FunctionCounter> {
    let counter = |name: &str, unit, description, value| FunctionCounter {
        name: name.to_owned(),
        unit,
        description,
        value,
    };
    let counts = &dpi.counts;
    let mut all = vec![
        counter("tcp_packets", "packets", "TCP segments looked at.", counts.tcp_packets),
        counter("udp_packets", "packets", "UDP datagrams looked at.", counts.udp_packets),
        counter(
            "unsearched_packets",
            "packets",
            "Packets of other protocols, which pass unsearched.",
            counts.unsearched_packets,
        ),
        counter("searched_bytes", "bytes", "Payload that was searched.", counts.searched_bytes),
        counter(
            "stopped_packets",
            "packets",
            "Packets of connections that a rule had stopped before.",
            counts.stopped_packets,
        ),
        counter("alerts_lost", "alerts", "Alerts that found the queue full.", dpi.alerts.lost()),
        counter(
            "connections",
            "connections",
            "TCP connections remembered now.",
            dpi.connections.len() as u64,
        ),
        counter(
            "connections_expired",
            "connections",
            "TCP connections forgotten by age.",
            dpi.connections.expired(),
        ),
        counter(
            "stream_blocks_used",
            "blocks",
            "Blocks of stream content in use now.",
            (dpi.shared.pool.blocks() - dpi.shared.pool.free_blocks()) as u64,
        ),
    ];
    all.extend(dpi.rules.iter().map(|rule| FunctionCounter {
        name: format!("alerts{{rule={:?}}}", rule.name),
        unit: "packets",
        description: "Packets in which a match of the rule ended.",
        value: rule.matches,
    }));
    all.extend(Refusal::ALL.iter().map(|&refusal| {
        counter(refusal.name(), "packets", refusal.description(), counts.refused[refusal as usize])
    }));
    all
}
