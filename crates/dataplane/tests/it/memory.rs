//! A return path that two forward paths share: a reset on it reaches both ends, each by the right path.
//!
//! ```text
//!  path 1   gateway ──► hop 1 ──────────► egress
//!  path 3   gateway ──► hop 1 ──► hop 2 ──► egress
//!  path 2   gateway ◄── hop 1 ◄────────── egress
//! ```

use std::time::{Duration, Instant};

use ringmail_dataplane::function::{Action, FunctionCounter};
use ringmail_dataplane::{DropReason, Function, FunctionBatch, Verdict};
use ringmail_functions::Forward;
use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::tcp::Flags;
use ringmail_packet::{ipv4, tcp};

use crate::packets;
use crate::testbed::{Chain, FORWARD, HOP_FLOWS, Outcome, RETURN, Wire};

pub(crate) const LONGER: PathId = PathId(3);

/// Resets whatever ends with the word "stop".
#[derive(Debug)]
pub(crate) struct Stop;

impl Function for Stop {
    fn handle_batch(&mut self, _now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            if packets.packet(nth).ends_with(b"stop") {
                packets.set_action(nth, Action::Reset { rule: 0 });
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        Vec::new()
    }
}

fn shared() -> Chain {
    let mut chain = Chain::without_paths(
        Wire::Mpls,
        vec![(true, Box::new(Stop)), (true, Box::<Forward>::default())],
    );
    chain.lay(FORWARD, Some(RETURN), &[0, 1, 3]);
    chain.lay(LONGER, Some(RETURN), &[0, 1, 2, 3]);
    chain.lay(RETURN, None, &[3, 1, 0]);
    chain
}

fn flow(src_port: u16) -> FlowKey {
    FlowKey { src_port, ..packets::flow() }
}

fn segment(flow: FlowKey, flags: Flags, payload: &[u8]) -> Vec<u8> {
    packets::tcp_between(flow, flags, 1000, 2000, payload)
}

/// SYN and SYN-ACK of a connection over this path.
fn connect(chain: &mut Chain, flow: FlowKey, path: PathId) {
    chain.gateway.pin(flow, path).expect("room");
    chain.forward(&segment(flow, Flags::SYN, b"")).expect("delivered");
    chain.back(&segment(flow.reversed(), Flags::SYN | Flags::ACK, b"")).expect("delivered");
}

/// A reply that the function stops: where the resets go, as next elements, and to which ports.
fn stopped(chain: &mut Chain, flow: FlowKey) -> Vec<(usize, u16)> {
    let reply = segment(flow.reversed(), Flags::ACK, b"stop");
    let frame = chain.leave(&reply).expect("a frame");
    let Outcome { verdict, made, .. } = chain.step(&frame);
    assert_eq!(verdict, Verdict::Drop(DropReason::FunctionReset));
    let resets = made.into_iter().map(|reset| {
        let to = reset.to;
        let packet = chain.run(reset).expect("delivered");
        let ip = ipv4::Packet::new_checked(&packet[..]).expect("IPv4");
        let reset = tcp::Packet::new_checked(ip.payload()).expect("TCP");
        assert!(reset.flags().contains(Flags::RST) && reset.verify_checksum(ip.addresses()));
        (to, reset.dst_port())
    });
    resets.collect()
}

#[test]
fn a_reset_on_a_shared_return_path_reaches_both_ends_by_the_right_paths() {
    let mut chain = shared();
    connect(&mut chain, flow(1), FORWARD);
    connect(&mut chain, flow(2), LONGER);
    assert_eq!(stopped(&mut chain, flow(1)), [(0, 1), (3, 80)]);
    assert_eq!(stopped(&mut chain, flow(2)), [(0, 2), (2, 80)]);
    // What is stopped again, because it was on its way, is reset again.
    assert_eq!(stopped(&mut chain, flow(2)), [(0, 2), (2, 80)]);
}

#[test]
fn a_connection_that_the_hop_did_not_see_begin_is_reset_at_one_end() {
    let mut chain = shared();
    chain.gateway.pin(flow(1), FORWARD).expect("room");
    chain.forward(&segment(flow(1), Flags::ACK, b"data")).expect("delivered");
    assert_eq!(stopped(&mut chain, flow(1)), [(0, 1)]);
}

#[test]
fn a_remembered_path_that_no_longer_returns_this_way_is_not_used() {
    let mut chain = shared();
    connect(&mut chain, flow(1), LONGER);
    let mut config = chain.paths(1).get(LONGER).expect("the path").config.clone();
    config.return_path = None;
    chain.paths(1).put(config).expect("room");
    assert_eq!(stopped(&mut chain, flow(1)), [(0, 1)]);
}

#[test]
fn a_full_memory_keeps_what_it_has_and_hinders_no_packet() {
    let mut chain = shared();
    for port in 0..2 * HOP_FLOWS as u16 {
        connect(&mut chain, flow(port), FORWARD);
    }
    assert_eq!(chain.hops[0].flows(), HOP_FLOWS);
    assert_eq!(stopped(&mut chain, flow(0)), [(0, 0), (3, 80)]);
    assert_eq!(stopped(&mut chain, flow(HOP_FLOWS as u16)), [(0, HOP_FLOWS as u16)]);
}

#[test]
fn a_connection_is_forgotten_when_both_ends_closed_it_or_one_reset_it() {
    let mut chain = shared();
    connect(&mut chain, flow(1), FORWARD);
    connect(&mut chain, flow(2), FORWARD);
    let fin = Flags::FIN | Flags::ACK;
    chain.forward(&segment(flow(1), fin, b"")).expect("delivered");
    chain.forward(&segment(flow(1), fin, b"")).expect("delivered");
    assert_eq!(chain.hops[0].flows(), 2, "a half-closed connection may last");
    chain.back(&segment(flow(1).reversed(), fin, b"")).expect("delivered");
    assert_eq!(chain.hops[0].flows(), 1);
    chain.back(&segment(flow(2).reversed(), Flags::RST, b"")).expect("delivered");
    assert_eq!(chain.hops[0].flows(), 0);
}

#[test]
fn an_attempt_ages_in_minutes_and_a_connection_in_a_day() {
    let mut chain = shared();
    connect(&mut chain, flow(1), FORWARD);
    chain.gateway.pin(flow(2), FORWARD).expect("room");
    chain.forward(&segment(flow(2), Flags::SYN, b"")).expect("delivered");
    assert_eq!(chain.hops[0].flows(), 2);
    chain.now += Duration::from_secs(300);
    chain.hops[0].handle_timeout(chain.now);
    assert_eq!(chain.hops[0].flows(), 1);
    chain.now += Duration::from_secs(86_400);
    chain.hops[0].handle_timeout(chain.now);
    assert_eq!(chain.hops[0].flows(), 0);
}
