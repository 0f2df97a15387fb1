//! Packets to feed a function with, and a receiver that reassembles by RFC 9293 section 3.10.7.4.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmail_dataplane::function::{Alert, Entry};
use ringmail_dataplane::{Action, Batch, Function, FunctionBatch};
use ringmail_functions::{Dpi, DpiRule, DpiSettings, OnMatch, Pattern};
use ringmail_model::PathId;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

/// Which way a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client at 10.0.0.1:40000.
    Out,
    /// From the server at 10.0.0.2:80.
    Back,
}

/// An IPv4 TCP segment of the connection whose client uses this port.
pub(crate) fn segment_from(
    port: u16,
    way: Way,
    seq: u32,
    ack: Option<u32>,
    flags: u8,
    content: &[u8],
) -> Vec<u8> {
    let ends = [([10, 0, 0, 1], port), ([10, 0, 0, 2], 80)];
    let (src, dst) = if way == Way::Out { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
    let mut tcp = Vec::new();
    tcp.extend(src.1.to_be_bytes());
    tcp.extend(dst.1.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.unwrap_or(0).to_be_bytes());
    tcp.extend([5 << 4, flags | if ack.is_some() { ACK } else { 0 }]);
    tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(content);
    ipv4(6, src.0, dst.0, &tcp)
}

/// An IPv4 TCP segment of one connection.
pub(crate) fn segment(way: Way, seq: u32, ack: Option<u32>, flags: u8, content: &[u8]) -> Vec<u8> {
    segment_from(40000, way, seq, ack, flags, content)
}

/// Content on its way out.
pub(crate) fn out(seq: u32, content: &[u8]) -> Vec<u8> {
    segment(Way::Out, seq, None, 0, content)
}

/// An IPv4 UDP datagram.
pub(crate) fn datagram(content: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(5000u16.to_be_bytes());
    udp.extend(53u16.to_be_bytes());
    udp.extend((8 + content.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(content);
    ipv4(17, [10, 0, 0, 1], [10, 0, 0, 2], &udp)
}

pub(crate) fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

/// An IPv6 packet of the same flow as [`segment`]'s kind, with a destination options header before TCP.
pub(crate) fn ipv6_with_options(seq: u32, content: &[u8]) -> Vec<u8> {
    let tcp = segment(Way::Out, seq, None, 0, content)[20..].to_vec();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((8 + tcp.len() as u16).to_be_bytes());
    packet.extend([60, 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend(tcp);
    packet
}

/// A `dpi` under test, with its clock.
pub(crate) struct Inspector {
    pub(crate) dpi: Dpi,
    batch: Batch,
    now: Instant,
}

impl Inspector {
    pub(crate) fn new(rules: &[(Pattern, OnMatch)]) -> Inspector {
        Inspector::with(&DpiSettings {
            connections: 64,
            stream_bytes: 8 << 20,
            ..DpiSettings::new(named(rules))
        })
    }

    pub(crate) fn with(settings: &DpiSettings) -> Inspector {
        Inspector {
            dpi: Dpi::new(settings, [1, 2, 3, 4]).expect("the rules are good"),
            batch: Batch::default(),
            now: Instant::now(),
        }
    }

    /// One rule over bytes that drops.
    pub(crate) fn dropping(bytes: &[u8]) -> Inspector {
        Inspector::new(&[(Pattern::Bytes(bytes.to_vec()), OnMatch::Drop)])
    }

    pub(crate) fn inspect(&mut self, packet: &[u8]) -> Action {
        self.batch.clear();
        let index = self.batch.push_copy(0, packet, 0).expect("one packet fits");
        let entry = Entry {
            index: index as u8,
            visible_bytes: packet.len() as u32,
            path: PathId(7),
            ..Entry::PASS
        };
        let mut entries = [entry];
        let mut packets = FunctionBatch::new(&mut self.batch, &mut entries);
        self.dpi.handle_batch(self.now, &mut packets);
        entries[0].action
    }

    pub(crate) fn passes(&mut self, packet: &[u8]) -> bool {
        self.inspect(packet) == Action::Pass
    }

    /// Lets the connection begin, so that its content goes out from sequence number `start` on.
    pub(crate) fn opened(mut self, start: u32) -> Inspector {
        assert!(self.passes(&segment(Way::Out, start.wrapping_sub(1), None, SYN, b"")));
        self
    }

    /// Lets time go by and the function age, as a hop does.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        for _ in 0..4 {
            self.dpi.handle_timeout(self.now);
        }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.dpi.counters();
        let found = counters.iter().find(|counter| counter.name == name);
        found.unwrap_or_else(|| panic!("no counter is named {name}")).value
    }

    pub(crate) fn alerts(&mut self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.dpi.drain_alerts(&mut |alert| alerts.push(alert));
        alerts
    }
}

pub(crate) fn named(rules: &[(Pattern, OnMatch)]) -> Vec<DpiRule> {
    let rule = |(index, (pattern, on_match)): (usize, &(Pattern, OnMatch))| DpiRule {
        name: format!("rule-{index}"),
        pattern: pattern.clone(),
        ignore_case: false,
        ports: Vec::new(),
        on_match: *on_match,
    };
    rules.iter().enumerate().map(rule).collect()
}

pub(crate) fn bytes(text: &str) -> Pattern {
    Pattern::Bytes(text.as_bytes().to_vec())
}

pub(crate) fn regex(text: &str) -> Pattern {
    Pattern::Regex(text.to_owned())
}

/// Which of two overlapping segments a receiver prefers: systems differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    FirstWins,
    LastWins,
}

/// The receiving end of a stream.
#[derive(Debug)]
pub(crate) struct Receiver {
    overlap: Overlap,
    start: u32,
    /// What the application got.
    pub(crate) stream: Vec<u8>,
    /// Out of order, by position in the stream.
    ahead: BTreeMap<usize, u8>,
}

impl Receiver {
    pub(crate) fn new(start: u32, overlap: Overlap) -> Receiver {
        Receiver { overlap, start, stream: Vec::new(), ahead: BTreeMap::new() }
    }

    /// What the receiver expects next, as it acknowledges it.
    pub(crate) fn next(&self) -> u32 {
        self.start.wrapping_add(self.stream.len() as u32)
    }

    pub(crate) fn receive(&mut self, seq: u32, content: &[u8]) {
        const WINDOW: i64 = 1 << 20;
        for (index, &byte) in content.iter().enumerate() {
            let ahead = i64::from(seq.wrapping_add(index as u32).wrapping_sub(self.next()) as i32);
            if !(0..WINDOW).contains(&ahead) {
                continue;
            }
            let position = self.stream.len() + ahead as usize;
            match self.overlap {
                Overlap::FirstWins => {
                    self.ahead.entry(position).or_insert(byte);
                }
                Overlap::LastWins => {
                    self.ahead.insert(position, byte);
                }
            }
        }
        while let Some(byte) = self.ahead.remove(&self.stream.len()) {
            self.stream.push(byte);
        }
    }
}

pub(crate) fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
