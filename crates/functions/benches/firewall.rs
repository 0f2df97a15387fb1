//! What `firewall` costs a packet of a known connection, and one that begins a connection, by rules and connections.
//!
//! Packets come in batches of 64. `sets` says how many prefixes each of the rules' sets holds.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmail_dataplane::function::Entry;
use ringmail_dataplane::{Action, BATCH_PACKETS, Batch, Function, FunctionBatch};
use ringmail_functions::{Firewall, FirewallRule, FirewallSettings};
use ringmail_model::Cidr;
use ringmail_model::domain::FirewallAction;

fn packet(flags: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 79, 0, 10];
    packet.extend([0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet
}

/// Rules that do not match, each with a set of its own, and one behind them that allows everything.
fn rules(count: usize, prefixes: usize) -> Vec<FirewallRule> {
    let other = |rule: usize| {
        let prefix = |n: usize| {
            let address = std::net::Ipv4Addr::from_bits(0xc000_0000 + (rule * prefixes + n) as u32);
            Cidr::around(address.into(), 32).expect("a prefix")
        };
        FirewallRule {
            destinations: Some((0..prefixes).map(prefix).collect()),
            protocols: Some(vec![6]),
            ports: Some(vec![(80, 80), (rule as u16, rule as u16 + 100)]),
            ..FirewallRule::any(&format!("rule-{rule}"), FirewallAction::Drop)
        }
    };
    let last = FirewallRule::any("all", FirewallAction::Allow);
    (1..count).map(other).chain([last]).collect()
}

/// A firewall with its batch.
struct Bed {
    firewall: Firewall,
    batch: Batch,
    entries: [Entry; BATCH_PACKETS],
    connections: usize,
    turn: usize,
    now: Instant,
}

impl Bed {
    fn new(rules: Vec<FirewallRule>, connections: usize, flags: u8) -> Bed {
        let settings = FirewallSettings {
            connections: 1 << 20,
            pick_up: true,
            ..FirewallSettings::new(rules)
        };
        let mut batch = Batch::default();
        let mut entries = [Entry::PASS; BATCH_PACKETS];
        let packet = packet(flags);
        for entry in &mut entries {
            let index = batch.push_copy(0, &packet, 0).expect("64 packets fit");
            let visible_bytes = packet.len() as u32;
            *entry = Entry { index: index as u8, visible_bytes, ..Entry::PASS };
        }
        let firewall = Firewall::new(&settings, [1, 2, 3, 4]).expect("good settings");
        Bed { firewall, batch, entries, connections, turn: 0, now: Instant::now() }
    }

    /// Gives each packet of the batch to the next connection in turn: by source address and port.
    fn prepare(&mut self) {
        for index in 0..BATCH_PACKETS {
            let connection = self.turn % self.connections;
            self.turn += 1;
            let packet = self.batch.packet_mut(index);
            packet[13..16].copy_from_slice(&(connection as u32 >> 8).to_be_bytes()[1..]);
            packet[20..22].copy_from_slice(&(connection as u16).to_be_bytes());
        }
    }

    fn judge(&mut self) {
        self.prepare();
        let mut packets = FunctionBatch::new(&mut self.batch, &mut self.entries);
        self.firewall.handle_batch(self.now, &mut packets);
        black_box(&self.entries);
    }
}

fn bench(criterion: &mut Criterion) {
    const ACK: u8 = 0x10;
    let mut group = criterion.benchmark_group("batch_of_64");
    group.throughput(Throughput::Elements(BATCH_PACKETS as u64));
    for connections in [1, 1000, 100_000] {
        for (count, prefixes) in [(1, 1), (100, 10), (1000, 50)] {
            let mut bed = Bed::new(rules(count, prefixes), connections, ACK);
            for _ in 0..connections.div_ceil(BATCH_PACKETS) {
                bed.judge();
            }
            let name = format!("{connections} connections, {count} rules, sets {prefixes}");
            group.bench_function(BenchmarkId::new("known", name), |bencher| {
                bencher.iter(|| bed.judge());
            });
            let passed = bed.entries.iter().all(|entry| entry.action == Action::Pass);
            assert!(passed, "every packet passes");
        }
    }
    // What a rule drops takes no place in the table, so each packet is evaluated.
    for (count, prefixes) in [(1, 1), (100, 10), (1000, 50), (4000, 50)] {
        let mut rules = rules(count, prefixes);
        rules.last_mut().expect("a rule").action = FirewallAction::Drop;
        let mut bed = Bed::new(rules, 1000, 0x02);
        let name = format!("{count} rules, sets {prefixes}");
        group.bench_function(BenchmarkId::new("evaluated", name), |bencher| {
            bencher.iter(|| bed.judge());
        });
        assert!(bed.entries.iter().all(|entry| entry.action != Action::Pass), "none passes");
    }
    let mut bed = Bed::new(rules(1, 1), 100_000, ACK);
    group.bench_function("the bed alone", |bencher| bencher.iter(|| bed.prepare()));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
