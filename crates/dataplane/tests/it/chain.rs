//! Packets through a whole chain, and frames that are not what they should be.

use std::net::Ipv4Addr;
use std::time::Duration;

use ringmail_dataplane::function::{Action, FunctionCounter};
use ringmail_dataplane::{DropReason, Function, FunctionBatch, Verdict};
use ringmail_functions::Forward;
use ringmail_model::{PathId, SaSpi};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;
use ringmail_packet::{icmp, ipv4, tcp};

use crate::packets::{self, CLIENT};
use crate::testbed::{Chain, FORWARD, Frame, INNER_MTU_BYTES, SERVICE, Wire};

fn pinned(hops: usize) -> Chain {
    pin(Chain::intrusive(hops))
}

fn pin(mut chain: Chain) -> Chain {
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    chain
}

fn first_frame(chain: &mut Chain) -> Frame {
    chain.enter(&packets::tcp(b"hello")).expect("a frame")
}

/// The verdict on a frame that was changed on the link to the first hop, and how often its reason was counted.
fn verdict_on(chain: &mut Chain, frame: &Frame) -> (Verdict, u64) {
    let verdict = chain.step(frame).verdict;
    let counted = match verdict {
        Verdict::Drop(reason) => chain.hops[0].counters().dropped(reason),
        _ => 0,
    };
    (verdict, counted)
}

fn dropped(reason: DropReason) -> (Verdict, u64) {
    (Verdict::Drop(reason), 1)
}

#[test]
fn a_request_and_its_reply_come_out_as_they_went_in() {
    for hops in 0..=6 {
        let mut chain = pinned(hops);
        let request = packets::tcp(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(chain.forward(&request).as_ref(), Ok(&request), "{hops} hops");
        let reply = packets::tcp_reply(b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(chain.back(&reply).as_ref(), Ok(&reply), "{hops} hops");
    }
}

#[test]
fn non_intrusive_hops_forward_what_they_cannot_open() {
    let hop = |intrusive| (intrusive, Box::<Forward>::default() as Box<dyn Function>);
    let mut chain = pin(Chain::new(vec![hop(false), hop(true), hop(false)]));
    let request = packets::tcp(b"hello");
    assert_eq!(chain.forward(&request).as_ref(), Ok(&request));
    assert_eq!(chain.hops[0].counters().opened.packets.get(), 0);
    assert_eq!(chain.hops[1].counters().opened.packets.get(), 1);
}

#[test]
fn a_hop_makes_the_packet_shorter_by_its_label_and_changes_every_other_byte_of_esp() {
    let mut chain = pinned(2);
    let first = first_frame(&mut chain);
    let second = chain.step(&first).frame.expect("a frame");
    assert_eq!(second.bytes.len(), first.bytes.len() - 4);
    assert_ne!(first.bytes[12 + 20..], second.bytes[8 + 20..]);
}

#[test]
fn the_largest_inner_packet_fits_and_one_byte_more_does_not() {
    let mut chain = pinned(1);
    let headers = packets::tcp(b"").len();
    let payload = vec![7; usize::from(INNER_MTU_BYTES) - headers];
    assert!(chain.forward(&packets::tcp(&payload)).is_ok());
    let payload = vec![7; usize::from(INNER_MTU_BYTES) - headers + 1];
    assert_eq!(chain.forward(&packets::tcp(&payload)), Err(Verdict::Drop(DropReason::TooBig)));
}

/// The length field of an IP header has 16 bits, whatever MTU somebody configured.
#[test]
fn a_frame_longer_than_ip_can_say_is_not_made() {
    let mut chain = pinned(1);
    let mut config = chain.paths(0).get(FORWARD).expect("the path").config.clone();
    config.inner_mtu_bytes = u16::MAX;
    chain.paths(0).put(config).expect("room");
    let headers = packets::tcp(b"").len();
    // 65535 - 20 outer header - 16 header - 16 ICV, aligned, less the trailer.
    let most = 65_478 - headers;
    assert!(chain.forward(&packets::tcp(&vec![7; most])).is_ok());
    let refused = chain.forward(&packets::tcp(&vec![7; most + 1]));
    assert_eq!(refused, Err(Verdict::Drop(DropReason::TooBig)));
}

#[test]
fn a_packet_of_no_known_flow_goes_nowhere() {
    let mut chain = Chain::intrusive(1);
    assert_eq!(chain.forward(&packets::tcp(b"x")), Err(Verdict::Drop(DropReason::NoPath)));
    assert_eq!(chain.back(&packets::tcp_reply(b"x")), Err(Verdict::Drop(DropReason::NoPath)));
    assert_eq!(chain.gateway.counters().dropped(DropReason::NoPath), 1);
}

#[test]
fn an_unpinned_flow_lingers_and_then_is_forgotten() {
    let mut chain = pinned(1);
    assert!(chain.gateway.unpin(chain.now, &packets::flow(), Duration::from_secs(60)));
    chain.now += Duration::from_secs(60);
    assert!(chain.forward(&packets::tcp(b"x")).is_ok());
    assert!(chain.back(&packets::tcp_reply(b"x")).is_ok());
    // The packets just seen do not lengthen its life.
    chain.now += Duration::from_secs(1);
    assert_eq!(chain.back(&packets::tcp_reply(b"x")), Err(Verdict::Drop(DropReason::UnknownFlow)));
    assert_eq!(chain.forward(&packets::tcp(b"x")), Err(Verdict::Drop(DropReason::NoPath)));
}

#[test]
fn an_idle_flow_that_is_not_tcps_is_remembered_for_as_long_as_was_set() {
    let mut chain = Chain::intrusive(1);
    let query = packets::udp(b"query");
    let flow = FlowKey::of(&query).expect("a flow");
    chain.gateway.pin(flow, FORWARD).expect("room");
    let mut reply = packets::ip(flow.reversed(), 8);
    reply[20..22].copy_from_slice(&flow.dst_port.to_be_bytes());
    reply[22..24].copy_from_slice(&flow.src_port.to_be_bytes());
    chain.egress.set_flow_idle_s(5);
    assert!(chain.forward(&query).is_ok());
    chain.now += Duration::from_secs(5);
    assert_eq!(chain.back(&reply).as_ref(), Ok(&reply));
    chain.now += Duration::from_secs(6);
    assert_eq!(chain.back(&reply), Err(Verdict::Drop(DropReason::NoPath)));
    chain.egress.set_flow_idle_s(60);
    assert!(chain.forward(&query).is_ok());
    chain.now += Duration::from_secs(60);
    assert!(chain.back(&reply).is_ok());
}

#[test]
fn an_address_that_is_not_the_services_is_refused_at_the_egress() {
    let mut chain = Chain::intrusive(1);
    let other = FlowKey { dst: Ipv4Addr::new(10, 79, 0, 11).into(), ..packets::flow() };
    chain.gateway.pin(other, FORWARD).expect("room");
    let packet = packets::tcp_between(other, Flags::ACK, 1, 1, b"x");
    assert_eq!(chain.forward(&packet), Err(Verdict::Drop(DropReason::WrongService)));
}

#[test]
fn a_reply_to_a_flow_that_the_gateway_did_not_begin_is_refused() {
    let mut chain = pinned(1);
    chain.forward(&packets::tcp(b"x")).expect("delivered");
    chain.gateway.unpin(chain.now, &packets::flow(), Duration::ZERO);
    chain.now += Duration::from_secs(1);
    assert_eq!(chain.back(&packets::tcp_reply(b"x")), Err(Verdict::Drop(DropReason::UnknownFlow)));
}

#[test]
fn every_truncation_is_dropped_and_counted() {
    let mut chain = pinned(2);
    let frame = first_frame(&mut chain);
    for len in 0..frame.bytes.len() {
        let cut = Frame { bytes: frame.bytes[..len].to_vec(), ..frame.clone() };
        let before = chain.hops[0].counters().dropped_total();
        assert!(matches!(chain.step(&cut).verdict, Verdict::Drop(_)), "{len} bytes");
        assert_eq!(chain.hops[0].counters().dropped_total(), before + 1, "{len} bytes");
    }
    assert!(chain.run(frame).is_ok(), "the whole frame still passes");
}

#[test]
fn every_flipped_bit_is_dropped_and_counted_but_for_those_that_nobody_trusts() {
    let mut chain = pinned(2);
    let frame = first_frame(&mut chain);
    for bit in 0..frame.bytes.len() * 8 {
        let mut bytes = frame.bytes.clone();
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        // Traffic class and TTL of the labels steer nothing.
        let in_entry = bit % 32;
        if bit < 12 * 8 && ((20..=22).contains(&in_entry) || in_entry >= 24) {
            continue;
        }
        let before = chain.hops[0].counters().dropped_total();
        let outcome = chain.step(&Frame { bytes, ..frame.clone() });
        assert!(matches!(outcome.verdict, Verdict::Drop(_)), "bit {bit}: {:?}", outcome.verdict);
        assert_eq!(chain.hops[0].counters().dropped_total(), before + 1, "bit {bit}");
    }
    assert!(chain.run(frame).is_ok(), "the untouched frame still passes");
}

#[test]
fn bytes_behind_a_frame_are_refused_by_a_hop_that_opens_nothing_too() {
    let mut chain = pin(Chain::new(vec![(false, Box::<Forward>::default())]));
    let mut frame = first_frame(&mut chain);
    frame.bytes.push(0);
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::Malformed));
}

#[test]
fn a_replayed_frame_is_dropped_at_the_hop() {
    let mut chain = pinned(1);
    let frame = first_frame(&mut chain);
    assert!(chain.step(&frame).frame.is_some());
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::Replayed));
}

#[test]
fn a_foreign_frame_is_dropped() {
    let mut chain = pinned(2);
    let frame = first_frame(&mut chain);
    let stranger = Frame { from: 3, ..frame.clone() };
    assert_eq!(verdict_on(&mut chain, &stranger), dropped(DropReason::UnknownNeighbour));
    let mut other = pinned(2);
    let mut foreign = other.enter(&packets::tcp(b"x")).expect("a frame");
    foreign.bytes[12 + 20 + 2] ^= 0xff;
    assert_eq!(verdict_on(&mut chain, &foreign), dropped(DropReason::UnknownSpi));
    assert!(chain.step(&frame).frame.is_some());
}

#[test]
fn a_frame_that_skips_an_intrusive_hop_cannot_be_opened_by_the_next() {
    let mut chain = pinned(2);
    let frame = first_frame(&mut chain);
    let skipped = Frame { from: 1, to: 2, bytes: frame.bytes[4..].to_vec() };
    assert_eq!(chain.step(&skipped).verdict, Verdict::Drop(DropReason::UnknownSpi));
}

#[test]
fn labels_of_another_path_are_refused() {
    let mut chain = pinned(2);
    let mut frame = first_frame(&mut chain);
    // The second label names the egress instead of hop 2.
    frame.bytes[4..7].copy_from_slice(&[0x00, 0x3e, 0xb0]);
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::LabelMismatch));
}

#[test]
fn a_label_whose_ttl_ran_out_is_dropped() {
    let mut chain = pinned(1);
    let mut frame = first_frame(&mut chain);
    frame.bytes[3] = 1;
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::TtlExpired));
}

#[test]
fn an_association_whose_lease_ended_neither_opens_nor_seals() {
    let mut chain = pinned(1);
    let frame = first_frame(&mut chain);
    chain.lease.expire();
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::LeaseExpired));
    let refused = chain.enter(&packets::tcp(b"x"));
    assert_eq!(refused.err(), Some(Verdict::Drop(DropReason::LeaseExpired)));
}

#[test]
fn packets_after_an_association_ended_are_dropped_for_the_reason_why_it_ended() {
    let mut chain = pinned(1);
    let packet = packets::tcp(b"x");
    let refused = |chain: &mut Chain| chain.enter(&packet).err();
    let state = chain.gateway.paths.get_mut(FORWARD).expect("the path");
    let spi = state.outbound.as_ref().expect("an association").spi();
    assert!(state.end_outbound(SaSpi(spi.0 + 1)).is_none(), "it is another's");
    assert!(state.end_outbound(spi).is_some());
    // Replaced, withdrawn or the like; once the lease is over, that is why there is none.
    assert_eq!(refused(&mut chain), Some(Verdict::Drop(DropReason::NoAssociation)));
    chain.lease.expire();
    assert_eq!(refused(&mut chain), Some(Verdict::Drop(DropReason::LeaseExpired)));
}

/// ```text
///  gateway (0) ─┬─ hop 1 ─┬─ hop 3, opens nothing ── egress (4)
///               └─ hop 2 ─┘
/// ```
#[test]
fn paths_with_the_same_labels_left_are_told_apart_by_where_their_packets_come_from() {
    let forward = || Box::<Forward>::default();
    let mut chain = Chain::without_paths(
        Wire::Mpls,
        vec![(true, forward()), (true, forward()), (false, forward())],
    );
    let (by_one, by_two) = (PathId(1), PathId(2));
    chain.lay(by_one, Some(PathId(3)), &[0, 1, 3, 4]);
    chain.lay(by_two, Some(PathId(3)), &[0, 2, 3, 4]);
    chain.lay(PathId(3), Some(by_one), &[4, 0]);
    let packet = packets::tcp(b"x");
    let counted = |chain: &Chain, path| {
        let state = chain.hops[2].paths.get(path).expect("the path");
        (state.traffic_in.packets.get(), state.traffic_out.packets.get())
    };
    // In turn, so that remembering the last one does not help.
    for (turn, path) in [by_one, by_two, by_one, by_one, by_two].into_iter().enumerate() {
        let (before, others) = (counted(&chain, path), counted(&chain, PathId(3 - path.0)));
        chain.gateway.pin(packets::flow(), path).expect("room");
        assert_eq!(chain.forward(&packet).as_ref(), Ok(&packet), "turn {turn}");
        assert_eq!(counted(&chain, path), (before.0 + 1, before.1 + 1), "turn {turn}");
        assert_eq!(counted(&chain, PathId(3 - path.0)), others, "turn {turn}");
    }
    let frame = chain.enter(&packet).expect("a frame");
    let frame = chain.step(&frame).frame.expect("for hop 3");
    let stranger = Frame { from: 4, ..frame };
    assert_eq!(chain.step(&stranger).verdict, Verdict::Drop(DropReason::UnknownNeighbour));
}

#[test]
fn a_reply_that_meets_another_worker_of_the_egress_finds_its_path() {
    let (mut chain, mut other) = (pinned(0), pinned(0));
    let request = packets::tcp(b"x");
    let reply = packets::tcp_reply(b"y");
    let frame = chain.enter(&request).expect("a frame");
    let again = chain.enter(&request).expect("a frame");
    chain.egress.share();
    assert_eq!(chain.run(frame).as_ref(), Ok(&request));
    assert_eq!(chain.egress.learned().len(), 1);
    assert_eq!(other.leave(&reply).err(), Some(Verdict::Drop(DropReason::NoPath)));
    other.egress.hear(other.now, chain.egress.learned());
    assert!(other.leave(&reply).is_ok());
    // Told once, until the others would soon forget.
    assert_eq!(chain.run(again).as_ref(), Ok(&request));
    assert_eq!(chain.egress.learned(), []);
    chain.now += Duration::from_secs(4000);
    let later = chain.enter(&request).expect("a frame");
    assert_eq!(chain.run(later).as_ref(), Ok(&request));
    assert_eq!(chain.egress.learned().len(), 1);
}

/// An MLDv2 report, as a kernel with an IPv6 address on its TUN sends one (RFC 3810 section 5.2: a hop-by-hop option
/// stands before ICMPv6).
#[test]
fn the_kernels_own_multicast_counts_under_a_reason_of_its_own() {
    let mut report = vec![0x60, 0, 0, 0, 0, 36, 0, 1];
    report.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    report.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
    report.extend([58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0]);
    report.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]);
    let mut chain = pinned(1);
    assert_eq!(chain.enter(&report).err(), Some(Verdict::Drop(DropReason::Multicast)));
    assert_eq!(chain.leave(&report).err(), Some(Verdict::Drop(DropReason::Multicast)));
    for end in [&chain.gateway, &chain.egress] {
        assert_eq!(end.counters().dropped(DropReason::Multicast), 1);
        assert_eq!(end.counters().dropped(DropReason::NoPath), 0, "nothing that alarms");
    }
}

#[test]
fn fragments_are_refused_at_both_ends() {
    let mut chain = pinned(1);
    let mut fragment = packets::tcp(b"x");
    let mut view = ipv4::Packet::new_unchecked(&mut fragment[..]);
    view.set_fragment(false, true, 0);
    view.fill_checksum();
    assert_eq!(chain.forward(&fragment), Err(Verdict::Drop(DropReason::Fragment)));
}

#[test]
fn other_protocols_and_ipv6_cross_the_chain() {
    let mut chain = Chain::intrusive(2);
    let six = packets::tcp_between(packets::flow_v6(), Flags::ACK, 1, 1, b"hello");
    for packet in [packets::udp(b"query"), packets::icmp_echo(), six] {
        chain.gateway.pin(FlowKey::of(&packet).expect("a flow"), FORWARD).expect("room");
        assert_eq!(chain.forward(&packet).as_ref(), Ok(&packet));
    }
}

/// Says the same of every packet.
#[derive(Debug)]
struct Always(Action);

impl Function for Always {
    fn handle_batch(&mut self, _now: std::time::Instant, packets: &mut FunctionBatch<'_>) {
        (0..packets.len()).for_each(|nth| packets.set_action(nth, self.0));
    }

    fn handle_timeout(&mut self, _now: std::time::Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        Vec::new()
    }
}

#[test]
fn a_function_that_says_drop_is_obeyed() {
    let mut chain = pin(Chain::new(vec![(true, Box::new(Always(Action::Drop { rule: 0 })))]));
    let frame = first_frame(&mut chain);
    assert_eq!(verdict_on(&mut chain, &frame), dropped(DropReason::Function));
}

#[test]
fn a_reset_reaches_both_ends_and_the_packet_neither() {
    let mut chain = pin(Chain::new(vec![
        (true, Box::<Forward>::default()),
        (true, Box::new(Always(Action::Reset { rule: 0 }))),
    ]));
    let stopped =
        packets::tcp_between(packets::flow(), Flags::ACK | Flags::PSH, 7000, 9000, b"test");
    let frame = chain.enter(&stopped).expect("a frame");
    let frame = chain.step(&frame).frame.expect("passes the first hop");
    let outcome = chain.step(&frame);
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::FunctionReset));
    let resets: Vec<Vec<u8>> =
        outcome.made.into_iter().map(|frame| chain.run(frame).expect("delivered")).collect();
    let seen: Vec<_> = resets
        .iter()
        .map(|packet| {
            let ip = ipv4::Packet::new_checked(&packet[..]).expect("IPv4");
            let reset = tcp::Packet::new_checked(ip.payload()).expect("TCP");
            assert!(ip.verify_checksum() && reset.verify_checksum(ip.addresses()));
            assert!(reset.flags().contains(Flags::RST));
            (ip.dst_addr(), reset.seq_number(), reset.ack_number())
        })
        .collect();
    let service = match SERVICE {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!("the service has an IPv4 address"),
    };
    assert_eq!(seen, [(service, 7000, 9000), (CLIENT, 9000, 7004)]);
    assert_eq!(packets::flow().protocol, protocol::TCP);
}

/// What the gateway's inner side gets for a packet that a function on the way rejects.
fn answer_of_a_rejection(packet: &[u8], pinned: FlowKey) -> Vec<u8> {
    let mut chain = Chain::new(vec![
        (true, Box::<Forward>::default()),
        (true, Box::new(Always(Action::Reject { rule: 0 }))),
    ]);
    chain.gateway.pin(pinned, FORWARD).expect("room");
    let frame = chain.enter(packet).expect("a frame");
    let frame = chain.step(&frame).frame.expect("passes the first hop");
    let outcome = chain.step(&frame);
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::FunctionReject));
    let mut made: Vec<_> = outcome.made.into_iter().map(|frame| chain.run(frame)).collect();
    assert_eq!(made.len(), 1, "only the sender is told");
    made.pop().and_then(Result::ok).expect("delivered")
}

#[test]
fn a_rejected_connection_is_reset_towards_its_sender_only() {
    let begin = packets::tcp_between(packets::flow(), Flags::SYN, 7000, 0, b"");
    let answer = answer_of_a_rejection(&begin, packets::flow());
    let ip = ipv4::Packet::new_checked(&answer[..]).expect("IPv4");
    let reset = tcp::Packet::new_checked(ip.payload()).expect("TCP");
    assert_eq!(ip.dst_addr(), CLIENT);
    assert!(ip.verify_checksum() && reset.verify_checksum(ip.addresses()));
    assert_eq!((reset.flags(), reset.ack_number()), (Flags::RST | Flags::ACK, 7001));
}

#[test]
fn the_sender_of_a_rejected_datagram_hears_that_it_is_prohibited() {
    for bytes in [3, 1200] {
        let datagram = packets::udp(&vec![b'x'; bytes]);
        let flow = FlowKey::of(&datagram).expect("a flow");
        let answer = answer_of_a_rejection(&datagram, flow);
        let ip = ipv4::Packet::new_checked(&answer[..]).expect("IPv4");
        let error = icmp::Packet::new_checked(ip.payload()).expect("ICMP");
        assert_eq!((ip.dst_addr(), ip.protocol()), (CLIENT, protocol::ICMP));
        assert!(ip.verify_checksum() && error.verify_checksum(ip.addresses()));
        assert_eq!((error.kind(), error.code()), (3, 13));
        assert!(datagram.starts_with(error.payload()) && error.payload().len() >= 28);
        assert!(answer.len() <= 576);
    }
}

#[test]
fn an_icmp_error_about_another_flow_is_not_delivered() {
    let mut chain = pin(Chain::intrusive(1));
    let frame = chain.enter(&packets::tcp(b"teaches the egress")).expect("a frame");
    chain.run(frame).expect("delivered");
    let error = |about: FlowKey| {
        let sent = packets::tcp_between(about, Flags::ACK, 1, 1, b"");
        let mut error = vec![0x45, 0, 0, 28 + sent.len() as u8, 0, 0, 0, 0, 64, protocol::ICMP];
        error.extend([0, 0, 10, 79, 0, 10, 10, 78, 0, 1, 3, 13, 0, 0, 0, 0, 0, 0]);
        error.extend(&sent);
        error
    };
    let related = error(packets::flow());
    assert_eq!(chain.back(&related), Ok(related), "it has the way of the flow that it is about");
    let other = FlowKey { src_port: 40_001, ..packets::flow() };
    assert_eq!(chain.back(&error(other)), Err(Verdict::Drop(DropReason::NoPath)));
}
