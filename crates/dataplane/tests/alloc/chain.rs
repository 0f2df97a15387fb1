//! A packet through gateway, forwarding hop, searching hop and egress, and its answer back, allocate nothing; with a
//! Network Service Header, its proofs and what is noted of them neither.

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::limits::{HEADROOM_BYTES, PROOFS_KEPT, TAILROOM_BYTES};
use ringmail_dataplane::nsh::verify::Verdict as Proof;
use ringmail_dataplane::paths::PathTable;
use ringmail_dataplane::{Batch, DropReason, Function, Neighbour, Verdict};
use ringmail_functions::{Dpi, DpiRule, DpiSettings, Forward, OnMatch, Pattern};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::tcp::Flags;

use crate::allocations;
use crate::packets;
use crate::testbed::{Chain, FORWARD, RETURN, Wire};

const WIRES: [Wire; 4] = [Wire::Mpls, Wire::MplsNsh, Wire::Sff, Wire::Nsh];
const FLOWS: usize = 8;
const SEGMENT_BYTES: usize = 1000;
const WARM_UP_ROUNDS: usize = 8;
const ROUNDS: usize = 32;

fn chain(wire: Wire) -> Chain {
    let rule = DpiRule {
        name: "forbidden".to_owned(),
        pattern: Pattern::Bytes(b"forbidden".to_vec()),
        ignore_case: false,
        ports: vec![],
        on_match: OnMatch::Reset,
    };
    let dpi = Dpi::new(&DpiSettings::new(vec![rule]), [1, 2, 3, 4]).expect("a good rule");
    let functions: Vec<(bool, Box<dyn Function>)> =
        vec![(false, Box::<Forward>::default()), (true, Box::new(dpi))];
    let mut chain = Chain::on(wire, &[2], functions);
    for flow in 0..FLOWS {
        chain.gateway.pin(key(flow), FORWARD).expect("room");
    }
    chain
}

fn key(flow: usize) -> FlowKey {
    FlowKey { src_port: 1000 + flow as u16, ..packets::flow() }
}

/// A batch of one direction: 64 segments, each flow's one after another; the first round opens the connections.
fn round(round: usize, back: bool) -> Vec<Vec<u8>> {
    let each = BATCH_PACKETS / FLOWS;
    (0..BATCH_PACKETS)
        .map(|nth| {
            let flow = if back { key(nth % FLOWS).reversed() } else { key(nth % FLOWS) };
            let seq = ((round * each + nth / FLOWS) * SEGMENT_BYTES) as u32;
            match (round, nth / FLOWS) {
                (0, 0) if back => {
                    packets::tcp_between(flow, Flags::SYN | Flags::ACK, u32::MAX, 0, b"")
                }
                (0, 0) => packets::tcp_between(flow, Flags::SYN, u32::MAX, 0, b""),
                _ => packets::tcp_between(
                    flow,
                    Flags::ACK,
                    seq - SEGMENT_BYTES as u32,
                    0,
                    &[b'x'; SEGMENT_BYTES],
                ),
            }
        })
        .collect()
}

struct Bench {
    chain: Chain,
    batch: Batch,
    made: Batch,
}

impl Bench {
    fn new(wire: Wire) -> Bench {
        Bench { chain: chain(wire), batch: Batch::default(), made: Batch::default() }
    }

    /// Every packet from one end to the other, in place. Frames of which `corrupt` says so lose a bit on the first link.
    /// How many came out.
    fn run(&mut self, packets: &[Vec<u8>], back: bool, corrupt: fn(usize) -> bool) -> usize {
        let Bench { chain, batch, made } = self;
        let now = chain.now;
        batch.clear();
        for packet in packets {
            batch.push_copy(HEADROOM_BYTES, packet, TAILROOM_BYTES).expect("room");
        }
        match back {
            true => chain.egress.handle_inner(now, batch),
            false => chain.gateway.handle_inner(now, batch),
        }
        for index in (0..batch.len()).filter(|index| corrupt(*index)) {
            batch.packet_mut(index).last_mut().into_iter().for_each(|byte| *byte ^= 1);
        }
        let route = if back { [3, 2, 1] } else { [0, 1, 2] };
        for (from, nth) in route.into_iter().zip([0, 1]) {
            batch.set_source(Some(Neighbour(from)));
            let hop = if back { 1 - nth } else { nth };
            chain.hops[hop].handle_link(now, batch, made);
        }
        batch.set_source(Some(Neighbour(route[2])));
        match back {
            true => chain.gateway.handle_link(now, batch),
            false => chain.egress.handle_link(now, batch),
        }
        (0..batch.len()).filter(|index| batch.verdict(*index) == Verdict::Deliver).count()
    }
}

#[test]
fn a_packet_through_the_chain_and_back_allocates_nothing() {
    for wire in WIRES {
        let mut bench = Bench::new(wire);
        there_and_back(&mut bench);
        let proved = |paths: &PathTable, path| {
            let state = paths.get(path).expect("the path");
            let noted = state.nsh.as_ref().and_then(|nsh| nsh.journal());
            noted.map(|noted| (state.proofs.of(Proof::Proved), noted.read(usize::MAX).len()))
        };
        let all = ((WARM_UP_ROUNDS + ROUNDS) * BATCH_PACKETS) as u64;
        let expected = Wire::WITH_NSH.contains(&wire).then_some((all, PROOFS_KEPT));
        assert_eq!(proved(&bench.chain.egress.paths, FORWARD), expected, "{wire:?}");
        assert_eq!(proved(&bench.chain.gateway.paths, RETURN), expected, "{wire:?}");
    }
}

fn there_and_back(bench: &mut Bench) {
    let rounds: Vec<_> =
        (0..WARM_UP_ROUNDS + ROUNDS).map(|n| (round(n, false), round(n, true))).collect();
    let (warm_up, measured) = rounds.split_at(WARM_UP_ROUNDS);
    for (there, back) in warm_up {
        assert_eq!(bench.run(there, false, |_| false), BATCH_PACKETS);
        assert_eq!(bench.run(back, true, |_| false), BATCH_PACKETS);
    }
    let mut delivered = 0;
    let count = allocations(|| {
        for (there, back) in measured {
            delivered += bench.run(there, false, |_| false);
            delivered += bench.run(back, true, |_| false);
        }
    });
    assert_eq!(delivered, 2 * ROUNDS * BATCH_PACKETS);
    assert_eq!(count, 0, "allocations over {delivered} packets");
}

#[test]
fn corrupt_and_forbidden_packets_allocate_nothing_either() {
    WIRES.into_iter().for_each(corrupt_and_forbidden);
}

fn corrupt_and_forbidden(wire: Wire) {
    let mut bench = Bench::new(wire);
    let mut rounds: Vec<_> = (0..WARM_UP_ROUNDS + ROUNDS).map(|n| round(n, false)).collect();
    // The last segment of every flow is what the function resets.
    let last = rounds.last_mut().expect("rounds");
    for (nth, packet) in last.iter_mut().enumerate().skip(BATCH_PACKETS - FLOWS) {
        let seq = (((WARM_UP_ROUNDS + ROUNDS - 1) * BATCH_PACKETS / FLOWS + nth / FLOWS - 1)
            * SEGMENT_BYTES) as u32;
        *packet = packets::tcp_between(key(nth % FLOWS), Flags::ACK, seq, 0, b"forbidden");
    }
    let (warm_up, measured) = rounds.split_at(WARM_UP_ROUNDS);
    for there in warm_up {
        bench.run(there, false, |_| false);
    }
    let count = allocations(|| {
        for there in measured {
            // First with every second frame corrupt; what the function did not see then is sent again.
            bench.run(there, false, |index| index % 2 == 1);
            bench.run(there, false, |_| false);
        }
    });
    assert_eq!(count, 0, "{wire:?}");
    let counters = bench.chain.hops[1].counters();
    // With a header the code of the link is looked at first, by the hop before.
    let corrupt = match Wire::WITH_NSH.contains(&wire) {
        true => bench.chain.hops[0].counters().dropped(DropReason::BadMac),
        false => counters.dropped(DropReason::BadIcv),
    };
    assert_eq!(corrupt, (ROUNDS * BATCH_PACKETS / 2) as u64, "{wire:?}");
    assert!(counters.dropped(DropReason::FunctionReset) >= FLOWS as u64);
    assert!(counters.originated.packets.get() >= 2 * FLOWS as u64);
}
