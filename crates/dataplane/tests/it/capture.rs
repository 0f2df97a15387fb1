//! A real capture through the chain and back: nginx, curl, a DNS exchange and ICMP come out byte for byte.

use std::net::IpAddr;

use ringmail_dataplane::paths::Destination;
use ringmail_dataplane::{DropReason, Function, Verdict};
use ringmail_functions::{Dpi, DpiRule, DpiSettings, Forward, OnMatch, Pattern};
use ringmail_model::overhead::EspMode;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::{icmp, ipv4, ipv6, mpls, tcp, udp};

use crate::testbed::{Chain, FORWARD, Frame};

const CAPTURE: &[u8] = include_bytes!("../captures/chain.pcap");

const ETHERNET_BYTES: usize = 14;

fn client() -> [IpAddr; 2] {
    ["10.9.1.1", "fd09:1::1"].map(|address| address.parse().expect("an address"))
}

fn service() -> [IpAddr; 2] {
    ["10.9.1.2", "fd09:1::2"].map(|address| address.parse().expect("an address"))
}

/// The IP packets of a classic pcap file of Ethernet frames, in the order in which they were seen.
fn ip_packets(pcap: &[u8]) -> Vec<Vec<u8>> {
    let word = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1), "classic pcap, Ethernet");
    let (mut at, mut packets) = (24, Vec::new());
    while at < pcap.len() {
        let (captured, on_wire) = (word(at + 8) as usize, word(at + 12) as usize);
        assert_eq!(captured, on_wire, "whole frames");
        let frame = &pcap[at + 16..][..captured];
        if let [0x08, 0x00] | [0x86, 0xdd] = frame[12..ETHERNET_BYTES] {
            packets.push(frame[ETHERNET_BYTES..].to_vec());
        }
        at += 16 + captured;
    }
    packets
}

/// A forwarding hop, one that searches everything it carries, and paths to the service of the capture.
fn chain(mode: EspMode) -> Chain {
    let rule = DpiRule {
        name: "nothing".to_owned(),
        pattern: Pattern::Bytes(b"GET /nothing".to_vec()),
        ignore_case: false,
        ports: vec![],
        on_match: OnMatch::Alert,
    };
    let dpi = Dpi::new(&DpiSettings::new(vec![rule]), [1, 2, 3, 4]).expect("a good rule");
    let functions: Vec<(bool, Box<dyn Function>)> =
        vec![(false, Box::<Forward>::default()), (true, Box::new(dpi))];
    let mut chain = Chain::in_mode(mode, functions);
    let mut config = chain.egress.paths.get(FORWARD).expect("the path").config.clone();
    config.destinations =
        service().into_iter().filter_map(|ip| Destination::host(ip, None)).collect();
    chain.egress.paths.put(config).expect("room");
    chain
}

/// The TTL of a packet, its transport protocol, and whether every checksum in it is right.
fn health(packet: &[u8]) -> (u8, u8, bool) {
    let (ttl, protocol, addresses, payload, header_sum) = if packet[0] >> 4 == 4 {
        let ip = ipv4::Packet::new_checked(packet).expect("IPv4");
        (ip.ttl(), ip.protocol(), ip.addresses(), ip.payload(), ip.verify_checksum())
    } else {
        let ip = ipv6::Packet::new_checked(packet).expect("IPv6");
        (ip.hop_limit(), ip.next_header(), ip.addresses(), ip.payload(), true)
    };
    (ttl, protocol, header_sum && transport_sum(protocol, addresses, payload))
}

fn transport_sum(protocol: u8, addresses: Addresses, payload: &[u8]) -> bool {
    match protocol {
        protocol::TCP => tcp::Packet::new_checked(payload).expect("TCP").verify_checksum(addresses),
        protocol::UDP => udp::Packet::new_checked(payload).expect("UDP").verify_checksum(addresses),
        _ => icmp::Packet::new_checked(payload).expect("ICMP").verify_checksum(addresses),
    }
}

/// The packet at the other end. The TTL of the labels goes down by one an element, that of the packet does not.
fn through(chain: &mut Chain, mut frame: Frame) -> Vec<u8> {
    let mut expected_ttl = 64;
    loop {
        let stack = mpls::Stack::new_checked(&frame.bytes[..]).expect("a stack");
        let top = stack.entries().next().expect("a label");
        assert_eq!(top.ttl, expected_ttl);
        let outcome = chain.step(&frame);
        expected_ttl -= 1;
        match (outcome.frame, outcome.delivered) {
            (Some(next), _) => frame = next,
            (None, Some(packet)) => return packet,
            (None, None) => panic!("dropped on the way: {:?}", outcome.verdict),
        }
    }
}

fn replay(mode: EspMode) {
    let mut chain = chain(mode);
    let (mut delivered, mut refused) = ([0; 3], 0);
    for packet in ip_packets(CAPTURE) {
        let flow = FlowKey::of(&packet).expect("no fragments");
        let forward = client().contains(&flow.src) && service().contains(&flow.dst);
        if forward {
            chain.gateway.pin(flow, FORWARD).expect("room");
        }
        let entered = match client().contains(&flow.dst) {
            true => chain.leave(&packet),
            false => chain.enter(&packet),
        };
        let Ok(frame) = entered else {
            // What a starting interface says to its neighbours belongs to no flow of the proxy.
            let multicast = flow.dst.is_multicast();
            let reason = if multicast { DropReason::Multicast } else { DropReason::NoPath };
            assert_eq!(entered.err(), Some(Verdict::Drop(reason)));
            assert_eq!(flow.protocol, protocol::ICMPV6);
            refused += 1;
            continue;
        };
        let out = through(&mut chain, frame);
        assert_eq!(out, packet);
        let (ttl, protocol, sums) = health(&out);
        assert!(ttl == 64 && sums, "{flow:?}");
        delivered[match protocol {
            protocol::TCP => 0,
            protocol::UDP => 1,
            _ => 2,
        }] += 1;
    }
    assert_eq!((delivered, refused), ([84, 8, 10], 6));
    let mut alerts = Vec::new();
    chain.hops[1].function().drain_alerts(&mut |alert| alerts.push((alert.path, alert.flow.src)));
    assert_eq!(alerts, client().map(|client| (FORWARD, client)), "the function saw the requests");
}

#[test]
fn a_capture_goes_through_and_back_byte_for_byte() {
    replay(EspMode::Tunnel);
}

#[test]
fn a_capture_goes_through_and_back_byte_for_byte_in_transport_mode() {
    replay(EspMode::Transport);
}
