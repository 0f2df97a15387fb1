//! What a sender that holds the key of a segment may seal, though ringmail's own never does.

use ringmail_dataplane::esp::{NEXT_DUMMY, NEXT_IPV4, NEXT_IPV6};
use ringmail_dataplane::{DropReason, Verdict};
use ringmail_packet::flow::FlowKey;

use crate::packets;
use crate::sealing::{padded, reseal, text};
use crate::testbed::{Chain, FORWARD, material};

fn pinned(hops: usize) -> Chain {
    let mut chain = Chain::intrusive(hops);
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    chain
}

/// What becomes of this text at the first element behind the gateway, and whether it counted it.
fn verdict_on(hops: usize, text: &[u8]) -> Verdict {
    let mut chain = pinned(hops);
    let frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    let verdict = chain.step(&reseal(&frame, &material(FORWARD, 0), text)).verdict;
    if let Verdict::Drop(reason) = verdict {
        let counters = match chain.hops.first() {
            Some(hop) => hop.counters(),
            None => chain.egress.counters(),
        };
        assert_eq!((counters.dropped(reason), counters.dropped_total()), (1, 1));
    }
    verdict
}

#[test]
fn a_packet_padded_by_more_than_it_needs_leaves_a_hop_with_what_it_needs() {
    let mut chain = pinned(2);
    let packet = packets::tcp(b"hello");
    let first = chain.enter(&packet).expect("a frame");
    // 45 bytes need one of padding.
    for more in [4, 100, 252] {
        let frame = chain.enter(&packet).expect("a frame");
        let longer = text(&packet, 1 + more, NEXT_IPV4);
        let longer = reseal(&frame, &material(FORWARD, 0), &longer);
        assert_eq!(longer.bytes.len(), first.bytes.len() + usize::from(more));
        let second = chain.step(&longer).frame.expect("a frame");
        assert_eq!(second.bytes.len(), first.bytes.len() - 4);
        let counted = chain.hops[0].counters().link_out.bytes.get();
        assert_eq!(counted % second.bytes.len() as u64, 0);
        assert_eq!(chain.run(second).as_ref(), Ok(&packet));
    }
}

/// RFC 4303 section 2.7: a sender in tunnel mode may put padding behind the inner packet as well.
#[test]
fn padding_against_traffic_analysis_is_taken_off() {
    for hops in [0, 1] {
        let mut chain = pinned(hops);
        let packet = packets::tcp(b"hello");
        let frame = chain.enter(&packet).expect("a frame");
        let longer = padded(&[&packet[..], &[0xaa; 99]].concat(), NEXT_IPV4);
        let longer = reseal(&frame, &material(FORWARD, 0), &longer);
        assert_eq!(chain.run(longer).as_ref(), Ok(&packet), "{hops} hops");
    }
}

/// RFC 4303 section 2.6: "A receiver MUST be prepared to discard dummy packets without any error".
#[test]
fn dummies_are_dropped_and_counted_as_such() {
    for hops in [0, 1] {
        for inner in [&packets::tcp(b"hello")[..], &[0; 38], &[]] {
            let dummy = padded(inner, NEXT_DUMMY);
            assert_eq!(verdict_on(hops, &dummy), Verdict::Drop(DropReason::Dummy), "{hops} hops");
        }
    }
}

#[test]
fn in_tunnel_mode_only_ip_of_the_version_that_esp_names_is_accepted() {
    let packet = packets::tcp(b"hello");
    let six = [&[0x60, 0, 0, 0, 0, 5, 59, 64][..], &[0; 32], b"hello"].concat();
    for hops in [0, 1] {
        for (inner, next_header) in
            [(&packet, 6), (&packet, 0), (&packet, NEXT_IPV6), (&six, NEXT_IPV4)]
        {
            let verdict = verdict_on(hops, &padded(inner, next_header));
            let expected = Verdict::Drop(DropReason::WrongNextHeader);
            assert_eq!(verdict, expected, "next header {next_header}, {hops} hops");
        }
    }
    assert!(matches!(verdict_on(1, &padded(&six, NEXT_IPV6)), Verdict::Send(_)));
}

#[test]
fn an_inner_packet_that_is_shorter_than_it_says_is_refused() {
    let packet = packets::tcp(b"hello");
    let mut short = packet.clone();
    short[3] = 19;
    for hops in [0, 1] {
        for inner in [&packet[..42], &[], &[0x45, 0], &short] {
            let verdict = verdict_on(hops, &padded(inner, NEXT_IPV4));
            assert_eq!(verdict, Verdict::Drop(DropReason::MalformedInner), "{hops} hops");
        }
    }
}

/// Nothing encapsulated enters a chain or leaves one: not from the inner side, and not from a hop that has the keys.
#[test]
fn what_wraps_another_packet_passes_neither_end_of_a_chain() {
    let of = |number: u8, dst_port: u16, payload: &[u8]| {
        let flow = FlowKey { protocol: number, src_port: 0, dst_port, ..packets::flow() };
        let mut packet = packets::ip(flow, payload.len());
        packet[20..].copy_from_slice(payload);
        (flow, packet)
    };
    let mut wrapped: Vec<_> = [4, 41, 47, 50, 97, 115, 137, 143, 145]
        .map(|number| (of(number, 0, &[0x45; 40]), Verdict::Drop(DropReason::Wrapped)))
        .into();
    for (port, verdict) in [
        (6635u16, Verdict::Drop(DropReason::Wrapped)),
        (4790, Verdict::Drop(DropReason::Wrapped)),
        (53, Verdict::Deliver),
    ] {
        let [high, low] = port.to_be_bytes();
        wrapped.push((of(17, port, &[0, 0, high, low, 0, 12, 0, 0, 1, 2, 3, 4]), verdict));
    }
    for ((flow, packet), verdict) in wrapped {
        let mut chain = pinned(0);
        chain.gateway.pin(flow, FORWARD).expect("room");
        // From the inner side, though the flow has a path; it comes out at the other end if it gets in.
        let entered = chain.forward(&packet);
        let expected = if verdict == Verdict::Deliver { Ok(packet.clone()) } else { Err(verdict) };
        assert_eq!(entered, expected, "protocol {}", flow.protocol);
        // From whoever holds the keys of the last segment.
        let sealed = padded(&packet, NEXT_IPV4);
        assert_eq!(verdict_on(0, &sealed), verdict, "protocol {}", flow.protocol);
        // From the service.
        let mut back = packet.clone();
        let (src, dst) = packet[12..20].split_at(4);
        back[12..16].copy_from_slice(dst);
        back[16..20].copy_from_slice(src);
        if verdict != Verdict::Deliver {
            assert_eq!(chain.back(&back), Err(verdict), "protocol {}", flow.protocol);
        }
    }
}
