//! Whatever a function does, every packet is accounted for and none leaves on another path than its own.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use ringmail_dataplane::{Side, Verdict};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::tcp::Flags;

use super::world::{OTHER_FORWARD, PLAIN, World, through};
use crate::packets::{flow, tcp_between};
use crate::testbed::FORWARD;

/// What a function does with one packet.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Pass,
    Drop,
    Hold,
    Twice,
    Reset,
    Rewrite,
    TurnBack,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => Just(Deed::Pass),
        1 => Just(Deed::Drop),
        1 => Just(Deed::Hold),
        1 => Just(Deed::Twice),
        1 => Just(Deed::Reset),
        1 => Just(Deed::Rewrite),
        1 => Just(Deed::TurnBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Flows 0 to 7 take one path, 8 to 15 the other.
    #[test]
    fn every_packet_is_accounted_for_and_none_changes_its_path(
        steps in prop::collection::vec((0u16..16, deed()), 1..80),
    ) {
        let mut world = World::two_paths(PLAIN);
        let of = |number: u16| FlowKey { src_port: 40_000 + number, ..flow() };
        for number in 0..16 {
            let path = if number < 8 { FORWARD } else { OTHER_FORWARD };
            world.chain.gateway.pin(of(number), path).expect("room");
        }
        let mut held: Vec<Vec<u8>> = Vec::new();
        let (mut out, mut refused) = ([0u64; 2], 0u64);
        for (number, deed) in &steps {
            let packet = tcp_between(of(*number), Flags::ACK, 1, 1, b"x");
            let frame = world.chain.enter(&packet).expect("a frame");
            let (side, packet) = world.put_in(&frame).expect("it goes in");
            let mut given = match deed {
                Deed::Pass => vec![(through(side), packet)],
                Deed::Drop => vec![],
                Deed::Hold => {
                    held.push(packet);
                    vec![]
                }
                Deed::Twice => vec![(through(side), packet.clone()), (through(side), packet)],
                Deed::Reset => {
                    let reset = tcp_between(of(*number).reversed(), Flags::RST, 1, 1, b"");
                    vec![(side, reset)]
                }
                Deed::Rewrite => {
                    let src = IpAddr::V4(Ipv4Addr::new(10, 90, 0, 1));
                    let packet = tcp_between(FlowKey { src, ..of(*number) }, Flags::ACK, 1, 1, b"x");
                    vec![(through(side), packet)]
                }
                // As if it came from the service: its flow in this direction is nobody's.
                Deed::TurnBack => vec![(side, packet)],
            };
            if held.len() > 3 {
                given.extend(held.drain(..2).map(|packet| (Side::Out, packet)));
            }
            for (side, packet) in given {
                let port = u16::from_be_bytes([packet[20], packet[21]]);
                let before: u64 = world.chain.gateway.counters().dropped_total()
                    + world.chain.egress.counters().dropped_total();
                match world.take_out((side, packet)) {
                    Ok((end, delivered)) => {
                        let number = if end == 2 { port } else {
                            u16::from_be_bytes([delivered[22], delivered[23]])
                        } - 40_000;
                        out[usize::from(number >= 8)] += 1;
                    }
                    Err(Verdict::Drop(_)) => {
                        let after: u64 = world.chain.gateway.counters().dropped_total()
                            + world.chain.egress.counters().dropped_total();
                        prop_assert_eq!(before, after, "the hop let it go and an end refused it");
                        refused += 1;
                    }
                    Err(other) => prop_assert!(false, "{other:?}"),
                }
            }
        }
        let [sent, same, rewritten, made, _] = world.account();
        prop_assert_eq!(sent, steps.len() as u64);
        prop_assert_eq!(rewritten, 0);
        prop_assert_eq!(same + made, out[0] + out[1]);
        prop_assert_eq!(refused, world.hop.counters().dropped_total());
        let on = |forward: u32, back: u32| -> u64 {
            [forward, back].into_iter().map(|path| {
                let state = world.hop.paths.get(ringmail_model::PathId(path)).expect("a path");
                state.traffic_out.packets.get()
            }).sum()
        };
        prop_assert_eq!([on(1, 2), on(3, 4)], out);
    }

    /// Arbitrary bytes from a function never leave, and never stop the hop.
    #[test]
    fn noise_from_a_function_goes_nowhere(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut world = World::new(PLAIN, 10);
        world.chain.gateway.pin(flow(), FORWARD).expect("room");
        for side in [Side::In, Side::Out] {
            let verdict = world.take_out((side, noise.clone()));
            prop_assert!(matches!(verdict, Err(Verdict::Drop(_))), "{verdict:?}");
        }
        prop_assert_eq!(world.hop.counters().dropped_total(), 2);
    }
}
