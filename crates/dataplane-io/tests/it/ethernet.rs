//! The Ethernet link on a bridge: every byte, in order, from the right neighbour; nothing that is not for it.
//!
//! ```text
//!   a ─┐
//!   b ─┼─ bridge    (link interfaces a, b, c; their bridge ports a-port, b-port, c-port)
//!   c ─┘
//! ```

use std::cell::RefCell;
use std::io::IoSlice;

use proptest::collection::vec;
use proptest::prelude::*;
use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_dataplane_io::ethernet::{EthernetConfig, EthernetLink};
use ringmail_dataplane_io::packet::{PacketConfig, PacketSocket};
use ringmail_dataplane_io::{Link, LinkCounter as C};
use ringmail_packet::ethernet::{Address, EtherType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::{self, ip, isolated};

pub(crate) const STATIONS: [(&str, Address); 3] = [
    ("a", Address([2, 0, 0, 0, 0, 1])),
    ("b", Address([2, 0, 0, 0, 0, 2])),
    ("c", Address([2, 0, 0, 0, 0, 3])),
];

/// Three interfaces on one bridge, in this thread's namespace.
pub(crate) fn bridge(mtu: u32) {
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    ip("link add name bridge up type bridge forward_delay 0 stp_state 0");
    for (name, address) in STATIONS {
        ip(&format!(
            "link add name {name} mtu {mtu} address {address} up type veth peer name {name}-port mtu {mtu}"
        ));
        ip(&format!("link set {name}-port master bridge up"));
    }
    // A port takes frames as soon as its state says so.
    for (name, _) in STATIONS {
        netns::await_up(name);
        while !ip(&format!("-d link show {name}-port")).contains("state forwarding") {
            std::thread::yield_now();
        }
    }
}

/// A link on the interface of station `own`; the others are neighbours by their index.
pub(crate) fn config(own: usize) -> EthernetConfig {
    let others = (0..).zip(STATIONS).filter(|(index, _)| *index != own);
    let peers = others.map(|(index, (_, address))| (Neighbour(index as u16), address)).collect();
    EthernetConfig::new(STATIONS[own].0, peers)
}

fn open(own: usize) -> EthernetLink {
    EthernetLink::open(&config(own)).unwrap()
}

/// Packet number `index`: its bytes say so.
pub(crate) fn packet(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (index * 131 + at * 7) as u8).collect()
}

/// Sends packets in batches of at most 64.
pub(crate) fn send_all(link: &mut impl Link, packets: &[(u16, Vec<u8>)]) {
    let mut batch = Batch::with_capacity_bytes(1 << 20);
    for some in packets.chunks(64) {
        batch.clear();
        for (neighbour, bytes) in some {
            let slot = batch.push_copy(3, bytes, 5).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(*neighbour)));
        }
        let sent = link.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (some.len(), 0), "{:?}", link.counters());
    }
}

/// Receives until `count` packets are there.
pub(crate) fn recv_all(link: &mut impl Link, count: usize) -> Vec<(Option<Neighbour>, Vec<u8>)> {
    let (mut batch, mut received) = (Batch::default(), Vec::new());
    while received.len() < count {
        if link.recv(&mut batch).unwrap() == 0 {
            let fd = link.fd().unwrap();
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
            assert_eq!(ready, 1, "{} of {count} packets after five seconds", received.len());
        }
        for index in 0..batch.len() {
            assert_eq!(batch.verdict(index), Verdict::Pending);
            received.push((batch.source(), batch.packet(index).to_vec()));
        }
    }
    assert_eq!(link.recv(&mut batch).unwrap(), 0, "nothing comes twice");
    received
}

#[test]
fn every_size_arrives_whole_and_in_order() {
    isolated("ethernet::every_size_arrives_whole_and_in_order", || {
        bridge(9000);
        let (mut a, mut b) = (open(0), open(1));
        assert_eq!((a.address(), a.mtu_bytes()), (STATIONS[0].1, 9000));
        for len in [46, 47, 64, 576, 1023, 1400, 1500, 4096, 8900, 9000] {
            let packets: Vec<_> = (0..200).map(|i| (1, packet(i, len))).collect();
            send_all(&mut a, &packets);
            let received = recv_all(&mut b, packets.len());
            for (got, sent) in received.iter().zip(&packets) {
                assert_eq!(got.0, Some(Neighbour(0)));
                assert!(got.1 == sent.1, "bytes differ at {len}");
            }
        }
        let (sent, received) = (a.counters(), b.counters());
        assert_eq!((sent.get(C::SentPackets), received.get(C::ReceivedPackets)), (2000, 2000));
        assert_eq!(sent.get(C::SentBytes), received.get(C::ReceivedBytes));
        assert!(sent.get(C::SendCalls) < 100, "{sent:?}");
        assert!(received.get(C::ReceiveCalls) < 400, "{received:?}");
    });
}

#[test]
fn packets_of_several_neighbours_keep_their_order_and_never_share_a_batch() {
    isolated(
        "ethernet::packets_of_several_neighbours_keep_their_order_and_never_share_a_batch",
        || {
            bridge(1500);
            let links = RefCell::new([open(0), open(1), open(2)]);
            let packets = vec((any::<bool>(), 46..1500_usize), 1..300);
            let config =
                ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
            proptest!(config, |(packets in packets)| {
                let [a, b, c] = &mut *links.borrow_mut();
                let mut expected = [Vec::new(), Vec::new()];
                for (index, (from_a, len)) in packets.into_iter().enumerate() {
                    let sent = (2, packet(index, len));
                    expected[usize::from(!from_a)].push(sent.1.clone());
                    send_all(if from_a { &mut *a } else { &mut *b }, &[sent]);
                }
                let received = recv_all(c, expected[0].len() + expected[1].len());
                for (sender, expected) in expected.iter().enumerate() {
                    let source = Some(Neighbour(sender as u16));
                    let got = received.iter().filter(|(from, _)| *from == source);
                    prop_assert!(got.map(|(_, bytes)| bytes).eq(expected), "from {sender}");
                }
            });
            let counters = links.borrow()[2].counters().clone();
            assert!(counters.get(C::ReceivedSpilled) > 0, "{counters:?}");
        },
    );
}

#[test]
fn strangers_come_without_a_source_and_frames_for_others_not_at_all() {
    isolated("ethernet::strangers_come_without_a_source_and_frames_for_others_not_at_all", || {
        bridge(1500);
        let (mut a, mut b) = (open(0), open(1));
        let mut stranger = PacketSocket::open(&PacketConfig::new("c", EtherType::MPLS)).unwrap();
        let frame = |to: Address, ethertype: u16, byte| {
            let mut frame = [&to.0[..], &STATIONS[2].1.0, &ethertype.to_be_bytes()].concat();
            frame.extend([byte; 60]);
            frame
        };
        let (own, other) = (STATIONS[1].1, Address([2, 0, 0, 0, 0, 9]));
        let sent = [
            frame(own, 0x8847, 1),
            frame(other, 0x8847, 2),
            frame(own, 0x8848, 3),
            frame(own, 0x0800, 4),
            frame(Address::BROADCAST, 0x8847, 5),
            frame(own, 0x8847, 6),
        ];
        b.set_peers(&[(Neighbour(0), STATIONS[0].1)]);
        for frame in &sent {
            stranger.send(&[&[IoSlice::new(frame)]], &mut []);
        }
        send_all(&mut a, &[(1, packet(7, 60))]);
        let received = recv_all(&mut b, 3);
        assert_eq!(received[0], (None, vec![1; 60]));
        assert_eq!(received[1], (None, vec![6; 60]));
        assert_eq!(received[2], (Some(Neighbour(0)), packet(7, 60)));
        assert_eq!(b.counters().get(C::ReceivedFromUnknown), 2);
    });
}

#[test]
fn a_vlan_is_apart_from_others_and_from_untagged_frames() {
    isolated("ethernet::a_vlan_is_apart_from_others_and_from_untagged_frames", || {
        bridge(1500);
        let vlan = |own, vlan| {
            EthernetLink::open(&EthernetConfig { vlan: Some(vlan), ..config(own) }).unwrap()
        };
        let (mut plain, mut tagged, mut other) = (open(0), vlan(0, 77), vlan(0, 78));
        let (mut at_plain, mut at_tagged) = (open(1), vlan(1, 77));
        // The tag takes no room from the packet.
        send_all(&mut other, &[(1, packet(1, 1500))]);
        send_all(&mut tagged, &[(1, packet(2, 1500))]);
        send_all(&mut plain, &[(1, packet(3, 1500))]);
        let from = Some(Neighbour(0));
        assert!(recv_all(&mut at_tagged, 1) == [(from, packet(2, 1500))]);
        assert!(recv_all(&mut at_plain, 1) == [(from, packet(3, 1500))]);
    });
}

#[test]
fn a_packet_over_the_mtu_is_refused_and_the_others_go() {
    isolated("ethernet::a_packet_over_the_mtu_is_refused_and_the_others_go", || {
        bridge(1500);
        let (mut a, mut b) = (open(0), open(1));
        let mut batch = Batch::default();
        for len in [1500, 1501, 1600, 100, 1500] {
            let slot = batch.push_copy(0, &packet(0, len), 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
        }
        let sent = a.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (3, 2));
        let refused = Verdict::Drop(DropReason::LinkRefused);
        let verdicts: Vec<_> = (0..5).map(|index| batch.verdict(index) == refused).collect();
        assert_eq!(verdicts, [false, true, true, false, false]);
        let lens: Vec<_> = recv_all(&mut b, 3).iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, [1500, 100, 1500]);
        assert_eq!(a.counters().get(C::SendRefused), 2);
    });
}

#[test]
fn packets_of_other_links_are_left_alone() {
    isolated("ethernet::packets_of_other_links_are_left_alone", || {
        bridge(1500);
        let mut a = open(0);
        let mut batch = Batch::default();
        let verdicts = [
            Verdict::Pending,
            Verdict::Deliver,
            Verdict::Send(Neighbour(5)),
            Verdict::Drop(DropReason::TooOld),
        ];
        for verdict in verdicts {
            let slot = batch.push_copy(0, b"packet", 0).unwrap();
            batch.set_verdict(slot, verdict);
        }
        let sent = a.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (0, 0));
        assert_eq!([0, 1, 2, 3].map(|index| batch.verdict(index)), verdicts);
        assert_eq!(a.counters().get(C::SendCalls), 0);
    });
}
