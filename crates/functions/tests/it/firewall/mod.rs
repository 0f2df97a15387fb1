//! The function `firewall`.

mod model;
mod states;
mod workers;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ringmail_dataplane::function::{Alert, Entry};
use ringmail_dataplane::{Action, Batch, Function, FunctionBatch};
use ringmail_functions::{Firewall, FirewallRule, FirewallSettings};
use ringmail_model::PathId;
use ringmail_model::domain::{FirewallAction, Opener};
use ringmail_model::pathset::Direction;

use crate::harness::{ACK, ipv4};

pub(crate) const CLIENT: [u8; 4] = [10, 78, 0, 1];
pub(crate) const SERVICE: [u8; 4] = [10, 79, 0, 10];

/// The side of the chain that a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Service,
}

/// A firewall under test, with its clock.
pub(crate) struct Gate {
    pub(crate) firewall: Firewall,
    batch: Batch,
    now: Instant,
}

impl Gate {
    pub(crate) fn new(rules: Vec<FirewallRule>) -> Gate {
        Gate::with(&FirewallSettings { connections: 64, ..FirewallSettings::new(rules) })
    }

    pub(crate) fn with(settings: &FirewallSettings) -> Gate {
        Gate::of(Firewall::new(settings, [1, 2, 3, 4]).expect("good settings"))
    }

    pub(crate) fn of(firewall: Firewall) -> Gate {
        Gate { firewall, batch: Batch::default(), now: Instant::now() }
    }

    pub(crate) fn judge(&mut self, from: Side, packet: &[u8]) -> Action {
        self.batch.clear();
        let index = self.batch.push_copy(0, packet, 0).expect("one packet fits");
        let direction = match from {
            Side::Client => Direction::Forward,
            Side::Service => Direction::Return,
        };
        let mut entries = [Entry {
            index: index as u8,
            visible_bytes: packet.len() as u32,
            path: PathId(7),
            direction,
            ..Entry::PASS
        }];
        self.firewall
            .handle_batch(self.now, &mut FunctionBatch::new(&mut self.batch, &mut entries));
        entries[0].action
    }

    pub(crate) fn passes(&mut self, from: Side, packet: &[u8]) -> bool {
        self.judge(from, packet) == Action::Pass
    }

    /// Lets time go by and the function age, as a hop does.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        for _ in 0..4 {
            self.firewall.handle_timeout(self.now);
        }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.firewall.counters();
        let found = counters.iter().find(|counter| counter.name == name);
        found.unwrap_or_else(|| panic!("no counter is named {name}")).value
    }

    pub(crate) fn alerts(&mut self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.firewall.drain_alerts(&mut |alert| alerts.push(alert));
        alerts
    }
}

/// A rule for connections that clients open.
pub(crate) fn rule(
    name: &str,
    protocol: u8,
    port: Option<u16>,
    action: FirewallAction,
) -> FirewallRule {
    FirewallRule {
        from: Opener::Client,
        protocols: Some(vec![protocol]),
        ports: port.map(|port| vec![(port, port)]),
        ..FirewallRule::any(name, action)
    }
}

/// The source and destination of what a side sends: client's port, service's port.
fn ends(from: Side, ports: (u16, u16)) -> (([u8; 4], u16), ([u8; 4], u16)) {
    match from {
        Side::Client => ((CLIENT, ports.0), (SERVICE, ports.1)),
        Side::Service => ((SERVICE, ports.1), (CLIENT, ports.0)),
    }
}

/// A TCP segment; `ack` of `None` is none.
pub(crate) fn tcp(
    from: Side,
    ports: (u16, u16),
    flags: u8,
    (seq, ack): (u32, Option<u32>),
    content: &[u8],
) -> Vec<u8> {
    let (src, dst) = ends(from, ports);
    let mut tcp = Vec::new();
    tcp.extend(src.1.to_be_bytes());
    tcp.extend(dst.1.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.unwrap_or(0).to_be_bytes());
    tcp.extend([5 << 4, flags | if ack.is_some() { ACK } else { 0 }]);
    tcp.extend([0x01, 0, 0, 0, 0, 0]);
    tcp.extend(content);
    ipv4(6, src.0, dst.0, &tcp)
}

pub(crate) fn udp(from: Side, ports: (u16, u16)) -> Vec<u8> {
    let (src, dst) = ends(from, ports);
    let payload = [&src.1.to_be_bytes()[..], &dst.1.to_be_bytes(), &[0, 8, 0, 0]].concat();
    ipv4(17, src.0, dst.0, &payload)
}

/// An ICMP message of this type with an identifier.
pub(crate) fn icmp(from: Side, kind: u8, identifier: u16) -> Vec<u8> {
    let (src, dst) = ends(from, (0, 0));
    let [a, b] = identifier.to_be_bytes();
    ipv4(1, src.0, dst.0, &[kind, 0, 0, 0, a, b, 0, 1])
}

/// An ICMP error to `to`'s other side about a packet that it sent.
pub(crate) fn error_about(from: Side, sent: &[u8]) -> Vec<u8> {
    let (_, dst) = ends(from, (0, 0));
    let router = Ipv4Addr::new(192, 0, 2, 1).octets();
    let quoted = &sent[..sent.len().min(28)];
    ipv4(1, router, dst.0, &[&[3, 1, 0, 0, 0, 0, 0, 0], quoted].concat())
}
