//! What an intrusive hop costs a packet with labels alone, with NSH, and with NSH under RFC 9145: the same packets, the same function, the same batches;
//! and what it costs gateway and hop that the hop is told whose a packet is.
//!
//! ```text
//! cargo bench -p ringmail-dataplane --bench profiles
//! ```

#[allow(dead_code, reason = "tests use more of it")]
#[allow(unreachable_pub, reason = "shared with tests")]
#[path = "../tests/it/testbed.rs"]
mod testbed;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::{BATCH_PACKETS, Batch, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::integrity::Scope;
use ringmail_model::metadata::{Facts, Kind, Kinds};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::{Ecn, protocol};
use ringmail_packet::{ipv4, udp};
use testbed::{Chain, FORWARD, SERVICE, Served, Wire};

/// Functions of the path; the first one's hop is measured.
const HOPS: usize = 6;

const CLIENT: [u8; 4] = [10, 78, 0, 1];

fn flow() -> FlowKey {
    FlowKey {
        src: CLIENT.into(),
        dst: SERVICE,
        src_port: 40_000,
        dst_port: 80,
        protocol: protocol::UDP,
    }
}

/// A datagram of [`flow`] of so many bytes with its headers.
fn packet(bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    let std::net::IpAddr::V4(service) = SERVICE else { unreachable!("the testbed's is IPv4") };
    let header = ipv4::Repr {
        dscp: 0,
        ecn: Ecn::NotEct,
        identification: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset_bytes: 0,
        ttl: 64,
        protocol: protocol::UDP,
        src_addr: CLIENT.into(),
        dst_addr: service,
        options: &[],
        payload_len: bytes - 20,
    };
    header.emit(&mut ipv4::Packet::new_unchecked(&mut packet)).expect("room");
    let datagram = udp::Repr { src_port: 40_000, dst_port: 80, payload_len: bytes - 28 };
    datagram.emit(&mut udp::Packet::new_unchecked(&mut packet[20..])).expect("room");
    packet
}

struct Measured {
    chain: Chain,
    packet: Vec<u8>,
    batch: Batch,
    made: Batch,
}

impl Measured {
    fn new(wire: Wire, scope: Option<Scope>, intrusive: bool, bytes: usize) -> Measured {
        let function = || -> Served { (intrusive, Box::<Forward>::default()) };
        let functions = (0..HOPS).map(|_| function()).collect();
        let mut chain = match scope {
            None => Chain::on(wire, &[], functions),
            Some(scope) => Chain::rfc9145(wire, scope, functions),
        };
        chain.gateway.pin(flow(), FORWARD).expect("room");
        let (batch, made) = (Batch::default(), Batch::default());
        Measured { chain, packet: packet(bytes), batch, made }
    }

    /// A chain of intrusive hops, the first of which is told the client's identity, or nothing.
    fn telling(told: bool, bytes: usize) -> Measured {
        if !told {
            return Measured::new(Wire::MplsNsh, None, true, bytes);
        }
        let function = || -> Served { (true, Box::<Forward>::default()) };
        let readers = [(FORWARD, 1, Kinds::only(Kind::Identity))];
        let functions = (0..HOPS).map(|_| function()).collect();
        let mut chain = Chain::telling(Wire::MplsNsh, &[], &readers, functions);
        chain.gateway.pin(flow(), FORWARD).expect("room");
        let mut facts = Facts::NONE;
        facts.set_identity("spiffe://campus.example/client/alice");
        chain.gateway.tell(flow(), &facts).expect("room");
        let (batch, made) = (Batch::default(), Batch::default());
        Measured { chain, packet: packet(bytes), batch, made }
    }

    /// One batch through gateway and hop; the time of the hop.
    fn run(&mut self) -> Duration {
        self.run_both()[1]
    }

    /// The times of both.
    fn run_both(&mut self) -> [Duration; 2] {
        let Measured { chain, packet, batch, made } = self;
        batch.clear();
        for _ in 0..BATCH_PACKETS {
            batch.push_copy(HEADROOM_BYTES, packet, TAILROOM_BYTES).expect("room");
        }
        let begun = Instant::now();
        chain.gateway.handle_inner(chain.now, batch);
        let begins = begun.elapsed();
        batch.set_source(Some(Neighbour(0)));
        let begun = Instant::now();
        chain.hops[0].handle_link(chain.now, batch, made);
        let taken = begun.elapsed();
        assert_eq!(batch.verdict(BATCH_PACKETS - 1), Verdict::Send(Neighbour(2)));
        [begins, taken]
    }
}

fn profiles(c: &mut Criterion) {
    let mut group = c.benchmark_group("profiles");
    group.throughput(Throughput::Elements(BATCH_PACKETS as u64));
    for bytes in [64, 1400] {
        for (kind, intrusive) in [("intrusive", true), ("not", false)] {
            let segment = [Wire::Mpls, Wire::MplsNsh, Wire::Sff].map(|wire| (wire, None));
            for (wire, scope) in segment.into_iter().chain([(Wire::MplsNsh, Some(Scope::Mac2))]) {
                let rfc9145 = scope.map_or("", |_| "-rfc9145");
                let name = format!("{kind}/{wire:?}{rfc9145}");
                let mut measured = Measured::new(wire, scope, intrusive, bytes);
                group.bench_function(BenchmarkId::new(name, bytes), |b| {
                    b.iter_custom(|times| (0..times).map(|_| measured.run()).sum());
                });
            }
        }
    }
    group.finish();
}

fn metadata(c: &mut Criterion) {
    let mut group = c.benchmark_group("metadata");
    group.throughput(Throughput::Elements(BATCH_PACKETS as u64));
    for bytes in [64, 1400] {
        for (nth, element) in ["gateway", "hop"].into_iter().enumerate() {
            for (told, what) in [(false, "nothing"), (true, "identity")] {
                let mut measured = Measured::telling(told, bytes);
                group.bench_function(BenchmarkId::new(format!("{element}/{what}"), bytes), |b| {
                    b.iter_custom(|times| (0..times).map(|_| measured.run_both()[nth]).sum());
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, profiles, metadata);
criterion_main!(benches);
