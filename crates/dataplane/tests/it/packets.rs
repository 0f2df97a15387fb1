//! Inner packets for tests, built with the project's own builders; real ones come from captures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::tcp::{Flags, Options};
use ringmail_packet::{ipv4, ipv6, tcp, udp};

use crate::testbed::{SERVICE, SERVICE_V6};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// The flow that tests use where they need only one.
pub(crate) fn flow() -> FlowKey {
    FlowKey {
        src: CLIENT.into(),
        dst: SERVICE,
        src_port: 40_000,
        dst_port: 80,
        protocol: protocol::TCP,
    }
}

/// A segment of [`flow`].
pub(crate) fn tcp(payload: &[u8]) -> Vec<u8> {
    tcp_between(flow(), Flags::ACK, 1000, 2000, payload)
}

/// A segment of the answers to [`flow`].
pub(crate) fn tcp_reply(payload: &[u8]) -> Vec<u8> {
    tcp_between(flow().reversed(), Flags::ACK, 2000, 1000, payload)
}

pub(crate) fn tcp_between(
    flow: FlowKey,
    flags: Flags,
    seq_number: u32,
    ack_number: u32,
    payload: &[u8],
) -> Vec<u8> {
    let header = tcp::Repr {
        src_port: flow.src_port,
        dst_port: flow.dst_port,
        seq_number,
        ack_number,
        flags,
        window: 500,
        urgent_pointer: 0,
        options: Options::new(&[]),
    };
    let mut packet = ip(flow, header.buffer_len() + payload.len());
    let at = packet.len() - header.buffer_len() - payload.len();
    packet[at + header.buffer_len()..].copy_from_slice(payload);
    let mut segment = tcp::Packet::new_unchecked(&mut packet[at..]);
    header.emit(&mut segment).expect("room");
    segment.fill_checksum(Addresses::new(flow.src, flow.dst).expect("of one version"));
    packet
}

/// A datagram from the client to the service.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let flow = FlowKey { protocol: protocol::UDP, dst_port: 53, ..flow() };
    let mut packet = ip(flow, 8 + payload.len());
    let addresses = ipv4::Packet::new_unchecked(&packet[..]).addresses();
    packet[28..].copy_from_slice(payload);
    let header =
        udp::Repr { src_port: flow.src_port, dst_port: flow.dst_port, payload_len: payload.len() };
    let mut datagram = udp::Packet::new_unchecked(&mut packet[20..]);
    header.emit(&mut datagram).expect("room");
    datagram.fill_checksum(addresses);
    packet
}

/// An echo request from the client to the service.
pub(crate) fn icmp_echo() -> Vec<u8> {
    let mut packet = ip(FlowKey { protocol: protocol::ICMP, ..flow() }, 8);
    packet[20..].copy_from_slice(&[8, 0, 0xf7, 0xfd, 0, 1, 0, 1]);
    packet
}

/// The flow of IPv6 that tests use where they need only one.
pub(crate) fn flow_v6() -> FlowKey {
    let src = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1).into();
    FlowKey { src, dst: SERVICE_V6, ..flow() }
}

pub(crate) fn ip(flow: FlowKey, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0; payload_len];
    match (flow.src, flow.dst) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let header = ipv4::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                identification: 1,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset_bytes: 0,
                ttl: 64,
                protocol: flow.protocol,
                src_addr,
                dst_addr,
                options: &[],
                payload_len,
            };
            packet.resize(20 + payload_len, 0);
            header.emit(&mut ipv4::Packet::new_unchecked(&mut packet[..])).expect("room");
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let header = ipv6::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                flow_label: 0x12345,
                payload_len: payload_len as u16,
                next_header: flow.protocol,
                hop_limit: 64,
                src_addr,
                dst_addr,
            };
            packet.resize(40 + payload_len, 0);
            header.emit(&mut ipv6::Packet::new_unchecked(&mut packet[..])).expect("room");
        }
        _ => unreachable!("a flow is of one IP version"),
    }
    packet
}
