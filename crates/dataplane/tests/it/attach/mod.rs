//! A function outside of ringmail: what goes in finds its path again however it comes out, or is refused with a reason.

mod random;
mod world;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringmail_dataplane::attach::{AttachConfig, TellApart};
use ringmail_dataplane::{DropReason, Side, Verdict};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;

use self::world::{NAT, OTHER_FORWARD, PLAIN, World, router, through};
use crate::packets::{self, CLIENT, flow, tcp_between};
use crate::testbed::{FORWARD, SERVICE};

const GATEWAY: usize = 0;
const EGRESS: usize = 2;
/// The address that the function translates to.
const TRANSLATED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 90, 0, 1));

fn pinned(config: AttachConfig) -> World {
    let mut world = World::new(config, 1000);
    world.chain.gateway.pin(flow(), FORWARD).expect("room");
    world
}

fn refused(reason: DropReason) -> Result<(usize, Vec<u8>), Verdict> {
    Err(Verdict::Drop(reason))
}

/// An ICMP error (type 3, code 1) from `from` about `packet`, to its sender.
fn icmp_error(from: Ipv4Addr, to: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let quote = &packet[..28];
    let mut bytes = packets::ip(
        FlowKey { src: from.into(), dst: to.into(), protocol: protocol::ICMP, ..flow() },
        8 + quote.len(),
    );
    bytes[20..28].copy_from_slice(&[3, 1, 0, 0, 0, 0, 0, 0]);
    bytes[28..].copy_from_slice(quote);
    bytes
}

#[test]
fn a_request_and_its_reply_pass_a_router_unchanged() {
    let mut world = pinned(PLAIN);
    let (request, reply) = (packets::tcp(b"request"), packets::tcp_reply(b"reply"));
    assert_eq!(world.forward(&request, &mut router), Ok(vec![(EGRESS, request)]));
    assert_eq!(world.back(&reply, &mut router), Ok(vec![(GATEWAY, reply)]));
    assert_eq!(world.account(), [2, 2, 0, 0, 0]);
    assert_eq!(world.hop.flows(), 1);
}

#[test]
fn what_goes_forward_goes_in_at_the_clients_side_and_what_goes_back_at_the_services() {
    let mut world = pinned(PLAIN);
    let frame = world.chain.enter(&packets::tcp(b"x")).expect("a frame");
    let (side, packet) = world.put_in(&frame).expect("it goes in");
    assert_eq!(side, Side::In);
    world.take_out((Side::Out, packet)).expect("it goes on");
    let frame = world.chain.leave(&packets::tcp_reply(b"x")).expect("a frame");
    assert_eq!(world.put_in(&frame).expect("it goes in").0, Side::Out);
}

#[test]
fn a_function_with_one_side_is_told_apart_by_the_flow() {
    let mut world = pinned(AttachConfig { one_armed: true, ..PLAIN });
    let mut echo = |side, packet| vec![(side, packet)];
    let (request, reply) = (packets::tcp(b"request"), packets::tcp_reply(b"reply"));
    assert_eq!(world.forward(&request, &mut echo), Ok(vec![(EGRESS, request)]));
    assert_eq!(world.back(&reply, &mut echo), Ok(vec![(GATEWAY, reply)]));
    assert_eq!(world.account(), [2, 2, 0, 0, 0]);
}

#[test]
fn what_is_dropped_and_held_back_and_split_is_accounted() {
    let mut world = pinned(PLAIN);
    let mut held = Vec::new();
    let mut number = 0;
    let mut function = |side, packet: Vec<u8>| {
        number += 1;
        match number {
            1 => vec![],
            2 => {
                held.push(packet);
                vec![]
            }
            _ => vec![(through(side), packet.clone()), (through(side), packet)],
        }
    };
    for sent in [&b"dropped"[..], b"held", b"split"] {
        world.forward(&packets::tcp(sent), &mut function).expect("no refusal");
    }
    // Two halves came out for three: one is owed still, and the other half settled one.
    assert_eq!(world.account(), [3, 2, 0, 0, 1]);
    let late = held.pop().expect("held back");
    assert!(world.take_out((Side::Out, late.clone())).is_ok());
    assert_eq!(world.account(), [3, 3, 0, 0, 0]);
    // And one more than ever went in.
    assert!(world.take_out((Side::Out, late)).is_ok());
    assert_eq!(world.account(), [3, 3, 0, 1, 0]);
}

#[test]
fn a_reset_that_the_function_makes_reaches_both_ends() {
    let mut world = pinned(PLAIN);
    let frame = world.chain.enter(&packets::tcp(b"evil")).expect("a frame");
    world.put_in(&frame).expect("it goes in");
    // The egress has to know the flow, as it does once something arrived.
    let to_service = tcp_between(flow(), Flags::RST | Flags::ACK, 1000, 2000, b"");
    let to_client = tcp_between(flow().reversed(), Flags::RST | Flags::ACK, 2000, 1004, b"");
    assert_eq!(world.take_out((Side::Out, to_service.clone())), Ok((EGRESS, to_service)));
    assert_eq!(world.take_out((Side::In, to_client.clone())), Ok((GATEWAY, to_client)));
    // The first settled what was owed forward; nothing was owed on the way back.
    assert_eq!(world.account(), [1, 1, 0, 1, 0]);
}

#[test]
fn an_icmp_error_finds_the_path_of_the_packet_that_it_is_about() {
    let mut world = pinned(PLAIN);
    let request = packets::tcp(b"too far");
    world.forward(&request, &mut router).expect("it passes");
    let router_address = Ipv4Addr::new(10, 99, 0, 1);
    let IpAddr::V4(service) = SERVICE else { unreachable!() };
    let to_client = icmp_error(router_address, CLIENT, &request);
    assert_eq!(world.take_out((Side::In, to_client.clone())), Ok((GATEWAY, to_client)));
    let to_service = icmp_error(router_address, service, &packets::tcp_reply(b"x"));
    assert_eq!(world.take_out((Side::Out, to_service.clone())), Ok((EGRESS, to_service)));
    assert_eq!(world.hop.attach_counters().errors.get(), 2);
    // About nothing that passed, and to somebody who did not send it.
    let stranger = tcp_between(FlowKey { src_port: 1, ..flow() }, Flags::ACK, 1, 1, b"x");
    let about_nothing = icmp_error(router_address, CLIENT, &stranger);
    assert_eq!(world.take_out((Side::In, about_nothing)), refused(DropReason::UnmatchedError));
    let elsewhere = icmp_error(router_address, Ipv4Addr::new(192, 0, 2, 1), &request);
    assert_eq!(world.take_out((Side::In, elsewhere)), refused(DropReason::UnmatchedFlow));
}

#[test]
fn an_icmp_error_of_the_service_passes_the_chain_like_a_reply() {
    let mut world = pinned(PLAIN);
    let request = packets::tcp(b"x");
    world.forward(&request, &mut router).expect("it passes");
    let IpAddr::V4(service) = SERVICE else { unreachable!() };
    let unreachable = icmp_error(service, CLIENT, &request);
    let passed = world.back(&unreachable, &mut router);
    assert_eq!(passed, Ok(vec![(GATEWAY, unreachable)]));
    assert_eq!(world.account(), [2, 2, 0, 0, 0]);
    let other = tcp_between(FlowKey { src_port: 1, ..flow() }, Flags::ACK, 1, 1, b"x");
    let about_nothing = icmp_error(service, CLIENT, &other);
    let passed = world.back(&about_nothing, &mut router);
    assert_eq!(passed, Err(Verdict::Drop(DropReason::NoPath)));
}

#[test]
fn a_function_that_rewrites_unasked_sends_nothing() {
    let mut world = pinned(PLAIN);
    let rewritten = FlowKey { src: TRANSLATED, ..flow() };
    let rewritten = tcp_between(rewritten, Flags::ACK, 1000, 2000, b"x");
    let mut nat = |side, _| vec![(through(side), rewritten.clone())];
    let passed = world.forward(&packets::tcp(b"x"), &mut nat);
    assert_eq!(passed, Err(Verdict::Drop(DropReason::UnmatchedFlow)));
    assert_eq!((world.account(), world.dropped(DropReason::UnmatchedFlow)), ([1, 0, 0, 0, 1], 1));
}

#[test]
fn a_translated_flow_reaches_the_service_and_its_replies_come_back() {
    let mut world = pinned(NAT);
    let outside = FlowKey { src: TRANSLATED, src_port: 61_000, ..flow() };
    let packet = tcp_between(outside, Flags::ACK, 1000, 2000, b"x");
    let mut nat = |_, _| vec![(Side::Out, packet.clone())];
    let passed = world.forward(&packets::tcp(b"x"), &mut nat);
    assert_eq!(passed, Ok(vec![(EGRESS, packet.clone())]));
    // The egress learned the translated flow, the gateway sees its own.
    let reply = tcp_between(outside.reversed(), Flags::ACK, 2000, 1001, b"y");
    let restored = packets::tcp_reply(b"y");
    let mut nat = |_, _| vec![(Side::In, restored.clone())];
    assert_eq!(world.back(&reply, &mut nat), Ok(vec![(GATEWAY, restored.clone())]));
    assert_eq!(world.account(), [2, 0, 2, 0, 0]);
    assert_eq!(world.hop.flows(), 2);
}

#[test]
fn two_paths_of_one_translating_function_are_told_apart_by_dscp_or_not_at_all() {
    for (tell_apart, outcome) in
        [(TellApart::Dscp, Ok(())), (TellApart::Flow, Err(DropReason::AmbiguousPath))]
    {
        let mut world = World::two_paths(AttachConfig { tell_apart, ..NAT });
        let second = FlowKey { src_port: 50_000, ..flow() };
        world.chain.gateway.pin(flow(), FORWARD).expect("room");
        world.chain.gateway.pin(second, OTHER_FORWARD).expect("room");
        for (number, inside) in [flow(), second].into_iter().enumerate() {
            let mut translate = |side, mut packet: Vec<u8>| {
                let at = if side == Side::In { 12 } else { 16 };
                let address = if side == Side::In { [10, 90, 0, 1] } else { CLIENT.octets() };
                packet[at..at + 4].copy_from_slice(&address);
                vec![(through(side), packet)]
            };
            let request = tcp_between(inside, Flags::ACK, 1, 1, b"x");
            let passed = world.forward(&request, &mut translate);
            if let Err(reason) = outcome {
                assert_eq!(passed, Err(Verdict::Drop(reason)));
                continue;
            }
            let (to, delivered) = passed.expect("it passes").remove(0);
            assert_eq!((to, delivered[1]), (EGRESS, 0), "no mark is left");
            let outside = FlowKey { src: TRANSLATED, ..inside };
            let reply = tcp_between(outside.reversed(), Flags::ACK, 1, 2, b"y");
            let back = world.back(&reply, &mut translate).expect("it comes back");
            assert_eq!(back[0].0, GATEWAY);
            let path = [FORWARD, OTHER_FORWARD][number];
            let counted = world.hop.paths.get(path).expect("a path").traffic_out.packets.get();
            assert_eq!(counted, 1);
        }
    }
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old_and_forgets_the_idle() {
    let mut world = World::new(PLAIN, 2);
    let flows = [1, 2, 3].map(|src_port| FlowKey { src_port, ..flow() });
    let packet = |flow| tcp_between(flow, Flags::ACK, 1, 1, b"x");
    for flow in flows {
        world.chain.gateway.pin(flow, FORWARD).expect("room");
    }
    assert!(world.forward(&packet(flows[0]), &mut router).is_ok());
    assert!(world.forward(&packet(flows[1]), &mut router).is_ok());
    let refusal = world.forward(&packet(flows[2]), &mut router);
    assert_eq!(refusal, Err(Verdict::Drop(DropReason::FlowTableFull)));
    assert!(world.forward(&packet(flows[0]), &mut router).is_ok());
    world.chain.now += Duration::from_secs(7_441);
    world.hop.handle_timeout(world.now());
    assert_eq!(world.hop.flows(), 0);
    // What the function held that long is nobody's any more.
    let late = world.take_out((Side::Out, packet(flows[1])));
    assert_eq!(late, refused(DropReason::UnmatchedFlow));
    assert!(world.forward(&packet(flows[2]), &mut router).is_ok());
}

#[test]
fn fragments_and_what_is_no_packet_are_refused_at_either_side() {
    let mut world = pinned(PLAIN);
    world.forward(&packets::tcp(b"x"), &mut router).expect("it passes");
    let mut fragment = packets::tcp(b"x");
    fragment[6] = 0x20;
    assert_eq!(world.take_out((Side::Out, fragment)), refused(DropReason::Fragment));
    assert_eq!(world.take_out((Side::Out, vec![0x45; 8])), refused(DropReason::MalformedInner));
    assert_eq!(world.take_out((Side::In, vec![])), refused(DropReason::MalformedInner));
    let mut too_big = packets::tcp(&[0; 2000]);
    too_big[8] = 1;
    assert_eq!(world.take_out((Side::Out, too_big)), refused(DropReason::TooBig));
}

#[test]
fn a_flow_that_does_not_return_by_this_hop_has_no_way_back() {
    let mut world = pinned(PLAIN);
    let mut config = world.hop.paths.get(FORWARD).expect("a path").config.clone();
    config.return_path = None;
    world.hop.paths.put(config).expect("room");
    world.forward(&packets::tcp(b"x"), &mut router).expect("it passes");
    let reset = tcp_between(flow().reversed(), Flags::RST, 2000, 0, b"");
    assert_eq!(world.take_out((Side::In, reset)), refused(DropReason::NoPathBack));
}
