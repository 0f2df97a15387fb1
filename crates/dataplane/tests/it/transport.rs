//! ESP in transport mode: the inner packet's own IP header stays outside, and opening gives back the same bytes.

use ringmail_dataplane::esp::{NEXT_DUMMY, NEXT_IPV4};
use ringmail_dataplane::function::{Action, FunctionCounter};
use ringmail_dataplane::{DropReason, Function, FunctionBatch, Verdict};
use ringmail_functions::Forward;
use ringmail_model::domain::LinkKind;
use ringmail_model::overhead::{self, EspMode};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;
use ringmail_packet::{ipv4, ipv6, tcp};

use crate::packets;
use crate::sealing::{padded, places, reseal, text_of};
use crate::testbed::{Chain, FORWARD, Frame, INNER_MTU_BYTES, material};

fn forward(intrusive: bool) -> (bool, Box<dyn Function>) {
    (intrusive, Box::<Forward>::default())
}

/// Gateway, a hop that opens, one that does not, one that opens, egress; with flows of both IP versions.
fn transport() -> Chain {
    pinned(Chain::in_mode(EspMode::Transport, vec![forward(true), forward(false), forward(true)]))
}

fn pinned(mut chain: Chain) -> Chain {
    for flow in [packets::flow(), packets::flow_v6()] {
        for protocol in [protocol::TCP, protocol::UDP, protocol::ICMP, 4, 59] {
            let ports = if protocol == protocol::TCP { (40_000, 80) } else { (0, 0) };
            let (src_port, dst_port) = ports;
            let flow = FlowKey { protocol, src_port, dst_port, ..flow };
            chain.gateway.pin(flow, FORWARD).expect("room");
        }
    }
    let query = FlowKey::of(&packets::udp(b"query")).expect("a flow");
    chain.gateway.pin(query, FORWARD).expect("room");
    chain
}

fn tcp_v6(payload: &[u8]) -> Vec<u8> {
    packets::tcp_between(packets::flow_v6(), Flags::ACK, 1, 1, payload)
}

/// The packet with four bytes of options (no operation) in its IPv4 header, and everything else that can be odd.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..20], &[1, 1, 1, 0], &packet[20..]].concat();
    let len = packet.len() as u16;
    packet[0] = 0x46;
    packet[6] |= 0x80;
    let mut header = ipv4::Packet::new_unchecked(&mut packet[..]);
    header.set_dscp(46);
    header.set_total_len(len);
    header.set_identification(0xabcd);
    header.set_ttl(1);
    header.fill_checksum();
    packet
}

#[test]
fn what_goes_in_comes_out_byte_for_byte() {
    let mut chain = transport();
    let requests = [
        packets::tcp(b"GET / HTTP/1.1"),
        packets::udp(b"query"),
        packets::icmp_echo(),
        with_options(&packets::tcp(b"odd")),
        tcp_v6(b"GET / HTTP/1.1"),
        tcp_v6(b""),
    ];
    for request in requests {
        assert_eq!(chain.forward(&request).as_ref(), Ok(&request));
    }
    let v6 = packets::tcp_between(packets::flow_v6().reversed(), Flags::ACK, 1, 1, b"200 OK");
    for reply in [packets::tcp_reply(b"200 OK"), with_options(&packets::tcp_reply(b"x")), v6] {
        assert_eq!(chain.back(&reply).as_ref(), Ok(&reply));
    }
}

#[test]
fn the_packets_own_header_is_outside_and_only_its_payload_encrypted() {
    let mut chain = transport();
    for packet in [packets::tcp(b"hello"), with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")]
    {
        let mut frame = chain.enter(&packet).expect("a frame");
        // To the first hop, and from there past the second to the third.
        for segment in [0, 1] {
            let (outer, esp) = places(&frame.bytes);
            let header = &frame.bytes[outer..esp];
            let text = text_of(&frame, &material(FORWARD, segment));
            assert_eq!(text, padded(&packet[header.len()..], protocol::TCP));
            let mut expected = packet[..header.len()].to_vec();
            let payload_len = frame.bytes.len() - esp;
            if packet[0] >> 4 == 4 {
                let mut ip = ipv4::Packet::new_unchecked(&mut expected[..]);
                ip.set_protocol(protocol::ESP);
                ip.set_total_len((header.len() + payload_len) as u16);
                ip.fill_checksum();
            } else {
                let mut ip = ipv6::Packet::new_unchecked(&mut expected[..]);
                ip.set_next_header(protocol::ESP);
                ip.set_payload_len(payload_len as u16);
            }
            assert_eq!(header, expected);
            frame = chain.step(&frame).frame.expect("a frame");
        }
    }
}

/// Remembers what it saw last.
#[derive(Debug, Default)]
struct Seen(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Function for Seen {
    fn handle_batch(&mut self, _now: std::time::Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            *self.0.lock().expect("no panic") = packets.packet(nth).to_vec();
            if packets.packet(nth).ends_with(b"stop") {
                packets.set_action(nth, Action::Reset { rule: 0 });
            }
        }
    }

    fn handle_timeout(&mut self, _now: std::time::Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        Vec::new()
    }
}

#[test]
fn an_intrusive_function_sees_the_inner_packet_and_another_sees_no_byte_of_its_payload() {
    let (first, second) = (Seen::default(), Seen::default());
    let (opened, closed) = (first.0.clone(), second.0.clone());
    let functions: Vec<(bool, Box<dyn Function>)> =
        vec![(true, Box::new(first)), (false, Box::new(second))];
    let mut chain = pinned(Chain::in_mode(EspMode::Transport, functions));
    for packet in [with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")] {
        let frame = chain.enter(&packet).expect("a frame");
        let frame = chain.step(&frame).frame.expect("a frame");
        assert_eq!(*opened.lock().expect("no panic"), packet);
        let (outer, esp) = places(&frame.bytes);
        assert!(chain.step(&frame).frame.is_some());
        assert_eq!(*closed.lock().expect("no panic"), frame.bytes[outer..esp + 8]);
    }
}

#[test]
fn a_reset_leaves_in_transport_mode_too() {
    let mut chain =
        pinned(Chain::in_mode(EspMode::Transport, vec![(true, Box::<Seen>::default())]));
    let stopped = packets::tcp(b"stop");
    let frame = chain.enter(&stopped).expect("a frame");
    let outcome = chain.step(&frame);
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::FunctionReset));
    assert_eq!(outcome.made.len(), 2);
    for reset in outcome.made {
        let packet = chain.run(reset).expect("delivered");
        let ip = ipv4::Packet::new_checked(&packet[..]).expect("IPv4");
        let reset = tcp::Packet::new_checked(ip.payload()).expect("TCP");
        assert!(ip.verify_checksum() && reset.verify_checksum(ip.addresses()));
        assert!(reset.flags().contains(Flags::RST));
    }
}

fn entered(packet: &[u8]) -> Verdict {
    let mut chain = transport();
    let verdict = chain.enter(packet).expect_err("refused");
    assert_eq!(chain.gateway.counters().dropped_total(), 1);
    verdict
}

#[test]
fn what_transport_mode_cannot_give_back_is_refused_at_the_gateway() {
    // A destination options header in front of TCP.
    let plain = tcp_v6(b"hello");
    let mut extended = [&plain[..40], &[6, 0, 1, 4, 0, 0, 0, 0], &plain[40..]].concat();
    extended[6] = 60;
    extended[5] += 8;
    assert_eq!(entered(&extended), Verdict::Drop(DropReason::NotForTransport));
    let mut dummy = packets::icmp_echo();
    dummy[9] = 59;
    ipv4::Packet::new_unchecked(&mut dummy[..]).fill_checksum();
    assert_eq!(entered(&dummy), Verdict::Drop(DropReason::NotForTransport));
    let mut wrong_sum = packets::tcp(b"hello");
    wrong_sum[10] ^= 1;
    assert_eq!(entered(&wrong_sum), Verdict::Drop(DropReason::MalformedInner));
    for packet in [packets::tcp(b"hello"), tcp_v6(b"hello")] {
        let longer = [&packet[..], b"x"].concat();
        assert_eq!(entered(&longer), Verdict::Drop(DropReason::MalformedInner));
    }
}

/// The verdict of the first hop on the frame of `packet` with another text, and that it was counted.
fn resealed(chain: &mut Chain, packet: &[u8], text: &[u8]) -> Verdict {
    let frame = chain.enter(packet).expect("a frame");
    stepped(chain, &reseal(&frame, &material(FORWARD, 0), text))
}

fn stepped(chain: &mut Chain, frame: &Frame) -> Verdict {
    let before = chain.hops[0].counters().dropped_total();
    let verdict = chain.step(frame).verdict;
    let dropped = u64::from(matches!(verdict, Verdict::Drop(_)));
    assert_eq!(chain.hops[0].counters().dropped_total(), before + dropped);
    verdict
}

#[test]
fn a_text_that_does_not_fit_its_header_is_refused() {
    let mut chain = transport();
    let (v4, v6) = (packets::tcp(b"hello"), tcp_v6(b"hello"));
    for (packet, header) in [(&v4, 20), (&v6, 40)] {
        let dummy = padded(&packet[header..], NEXT_DUMMY);
        let verdict = resealed(&mut chain, packet, &dummy);
        assert_eq!(verdict, Verdict::Drop(DropReason::Dummy));
    }
    for extension in [0, 43, 44, 51, 60] {
        let extended = padded(&[&[6, 0, 1, 4, 0, 0, 0, 0], &v6[40..]].concat(), extension);
        let verdict = resealed(&mut chain, &v6, &extended);
        assert_eq!(verdict, Verdict::Drop(DropReason::WrongNextHeader), "{extension}");
    }
    // A fragment's payload is no packet's.
    let mut frame = chain.enter(&v4).expect("a frame");
    let (outer, _) = places(&frame.bytes);
    let mut header = ipv4::Packet::new_unchecked(&mut frame.bytes[outer..]);
    header.set_fragment(false, true, 0);
    header.fill_checksum();
    assert_eq!(stepped(&mut chain, &frame), Verdict::Drop(DropReason::Fragment));
}

#[test]
fn a_path_takes_no_frame_of_the_other_mode() {
    let mut tunnel = pinned(Chain::in_mode(EspMode::Tunnel, vec![forward(true)]));
    let mut transport = pinned(Chain::in_mode(EspMode::Transport, vec![forward(true)]));
    let malformed = Verdict::Drop(DropReason::Malformed);
    for (packet, expected) in [
        (packets::tcp(b"hello"), Verdict::Drop(DropReason::WrongNextHeader)),
        (with_options(&packets::tcp(b"hello")), malformed),
        (tcp_v6(b"hello"), malformed),
    ] {
        let frame = transport.enter(&packet).expect("a frame");
        assert_eq!(stepped(&mut tunnel, &frame), expected);
    }
    // A hop that opens nothing sees as much as the header.
    let mut closed = pinned(Chain::in_mode(EspMode::Tunnel, vec![forward(false)]));
    for packet in [with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")] {
        let frame = transport.enter(&packet).expect("a frame");
        assert_eq!(stepped(&mut closed, &frame), malformed);
    }
    // A tunnelled packet reads as IP in IP between two elements, which no service is.
    let frame = tunnel.enter(&packets::tcp(b"hello")).expect("a frame");
    let (outer, _) = places(&frame.bytes);
    assert_eq!(text_of(&frame, &material(FORWARD, 0)).last(), Some(&NEXT_IPV4));
    assert_eq!(frame.bytes[outer + 12], 10);
    assert_eq!(transport.run(frame), Err(Verdict::Drop(DropReason::Wrapped)));
}

#[test]
fn every_flipped_bit_of_the_frame_is_dropped_but_for_those_that_nobody_protects() {
    let mut chain = transport();
    for packet in [with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")] {
        let frame = chain.enter(&packet).expect("a frame");
        let (outer, esp) = places(&frame.bytes);
        // Traffic class and TTL of labels; of an IPv6 header all but version, length and next header.
        let stack =
            |bit: usize| bit < outer * 8 && ((20..=22).contains(&(bit % 32)) || bit % 32 >= 24);
        let six = |bit: usize| {
            let at = bit.wrapping_sub(outer * 8);
            packet[0] >> 4 == 6
                && bit < esp * 8
                && ((4..32).contains(&at) || (56..320).contains(&at))
        };
        for bit in (0..frame.bytes.len() * 8).filter(|bit| !stack(*bit) && !six(*bit)) {
            let mut bytes = frame.bytes.clone();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            let verdict = stepped(&mut chain, &Frame { bytes, ..frame.clone() });
            assert!(matches!(verdict, Verdict::Drop(_)), "bit {bit}: {verdict:?}");
        }
        assert_eq!(chain.run(frame).as_ref(), Ok(&packet));
    }
}

#[test]
fn every_truncation_is_dropped() {
    let mut chain = transport();
    for packet in [with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")] {
        let frame = chain.enter(&packet).expect("a frame");
        for len in 0..frame.bytes.len() {
            let cut = Frame { bytes: frame.bytes[..len].to_vec(), ..frame.clone() };
            assert!(matches!(stepped(&mut chain, &cut), Verdict::Drop(_)), "{len} bytes");
        }
    }
}

#[test]
fn bytes_behind_a_frame_are_refused_by_a_hop_that_opens_nothing_too() {
    let mut chain = pinned(Chain::in_mode(EspMode::Transport, vec![forward(false)]));
    for packet in [with_options(&packets::tcp(b"hello")), tcp_v6(b"hello")] {
        let mut frame = chain.enter(&packet).expect("a frame");
        frame.bytes.push(0);
        assert_eq!(stepped(&mut chain, &frame), Verdict::Drop(DropReason::Malformed));
    }
}

/// What the inner MTU is computed from is what is sent.
#[test]
fn a_frame_is_as_long_as_the_model_says() {
    let link = overhead::LINK_IPV4_BYTES + overhead::LINK_UDP_BYTES;
    for mode in [EspMode::Tunnel, EspMode::Transport] {
        let mut chain = pinned(Chain::in_mode(mode, vec![forward(true), forward(true)]));
        let headers = packets::tcp(b"").len();
        for len in (headers..headers + 8).chain([usize::from(INNER_MTU_BYTES)]) {
            let packet = packets::tcp(&vec![7; len - headers]);
            let frame = chain.enter(&packet).expect("a frame");
            assert_eq!(
                frame.bytes.len() + link,
                overhead::frame_bytes(LinkKind::Udp, len, overhead::Steering::labels(3), mode)
            );
        }
    }
}
