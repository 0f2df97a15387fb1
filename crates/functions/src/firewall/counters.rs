//! The counters of `firewall`: names, units and a sentence each.

use ringmail_dataplane::function::FunctionCounter;

use super::{Firewall, Refusal};

/// Those that may fall.
pub(super) const GAUGES: &[&str] = &["connections"];

/// All counters as they stand.
pub(super) fn of(firewall: &Firewall) -> Vec<FunctionCounter> {
    let counter =
        |name: String, unit, description, value| FunctionCounter { name, unit, description, value };
    let plain =
        |name: &str, unit, description, value| counter(name.to_owned(), unit, description, value);
    let mut all = vec![
        plain(
            "connections",
            "connections",
            "Connections remembered now.",
            firewall.connections.len() as u64,
        ),
        plain(
            "connections_expired",
            "connections",
            "Connections forgotten by age.",
            firewall.connections.expired(),
        ),
        plain(
            "rejects_withheld",
            "packets",
            "Rejected packets that got no answer, since too many had one in the same second.",
            firewall.judge.answers.withheld,
        ),
        plain(
            "alerts_lost",
            "alerts",
            "Alerts that found the queue full.",
            firewall.judge.alerts.lost(),
        ),
    ];
    for rule in &firewall.judge.by.outcomes {
        let named = |what: &str| format!("{what}{{rule={:?}}}", rule.name);
        all.extend([
            counter(
                named("rule_connections"),
                "connections",
                "Connections that the rule let begin.",
                rule.connections,
            ),
            counter(
                named("rule_packets"),
                "packets",
                "Packets that the rule decided over, those of its connections included.",
                rule.packets,
            ),
            counter(named("rule_bytes"), "bytes", "Bytes of those packets.", rule.bytes),
        ]);
    }
    all.extend(Refusal::ALL.iter().map(|&refusal| {
        plain(refusal.name(), "packets", refusal.description(), firewall.refused[refusal as usize])
    }));
    all
}
