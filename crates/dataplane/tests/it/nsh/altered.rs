//! Frames that were changed on a link, by somebody who holds no key.

use std::collections::BTreeMap;

use ringmail_dataplane::{DropReason, Verdict};

use super::{header_at, pinned};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, Position, Wire};

/// The frame on the link before the element at `at`.
fn frame_before(chain: &mut Chain, at: Position) -> Frame {
    let mut frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    while frame.to != at {
        frame = chain.step(&frame).frame.expect("a frame");
    }
    frame
}

fn reason(chain: &mut Chain, frame: &Frame) -> DropReason {
    match chain.step(frame).verdict {
        Verdict::Drop(reason) => reason,
        verdict => panic!("{verdict:?}"),
    }
}

/// On every link, to hops that open and to one that does not: nothing that steers can be changed. What can are traffic
/// class and TTL of labels, which forwarders change.
#[test]
fn no_bit_of_a_frame_can_be_changed_on_a_link() {
    for wire in Wire::WITH_NSH {
        for at in 1..=4 {
            let mut chain = pinned(wire, &[true, false, true]);
            let frame = frame_before(&mut chain, at);
            let labels = header_at(&frame);
            let headers = labels + super::header(&frame).header_len() + 20;
            let mut reasons = BTreeMap::new();
            for byte in 0..frame.bytes.len() {
                for bit in 0..8 {
                    let free =
                        byte < labels && (byte % 4 == 3 || byte % 4 == 2 && bit > 0 && bit < 4);
                    let mut altered = frame.clone();
                    altered.bytes[byte] ^= 1 << bit;
                    if free {
                        continue;
                    }
                    // What is encrypted a hop that does not open it passes on; whoever opens it sees it.
                    let text = headers + 16..frame.bytes.len() - 16;
                    let reason = match at == 2 && text.contains(&byte) {
                        true => match chain.run(altered) {
                            Err(Verdict::Drop(reason)) => reason,
                            other => panic!("{other:?}"),
                        },
                        false => reason(&mut chain, &altered),
                    };
                    *reasons.entry(reason).or_insert(0) += 1;
                }
            }
            assert!(reasons[&DropReason::BadMac] > 100, "{reasons:?}");
            assert!(chain.run(frame).is_ok(), "the frame itself goes through: {wire:?} {at}");
        }
    }
}

#[test]
fn each_part_of_the_header_has_its_reason() {
    for wire in Wire::WITH_NSH {
        let mut chain = pinned(wire, &[true, true]);
        let frame = frame_before(&mut chain, 1);
        let at = header_at(&frame);
        let mut with = |offset: usize, bits: u8| {
            let mut altered = frame.clone();
            altered.bytes[at + offset] ^= bits;
            reason(&mut chain, &altered)
        };
        assert_eq!(with(0, 0x20), DropReason::WrongNsh, "the O bit");
        assert_eq!(with(6, 0x02), DropReason::UnknownServicePath, "the path");
        assert_eq!(with(7, 0x01), DropReason::WrongServiceIndex, "the index");
        assert_eq!(with(0, 0x0f), DropReason::BadMac, "the TTL");
        assert_eq!(with(10, 0x01), DropReason::WrongNsh, "the type of a context header");
        assert_eq!(with(20, 0x01), DropReason::BadMac, "the proof");
        let mac = super::header(&frame).header_len() - 20;
        assert_eq!(with(mac, 0x01), DropReason::UnknownLinkKey, "the id of the code's key");
        assert_eq!(with(mac + 4, 0x01), DropReason::BadMac, "the code");
    }
}

/// A header whose TTL is over is not passed on, though its code were right.
#[test]
fn a_packet_goes_round_no_longer_than_its_ttl() {
    let mut chain = pinned(Wire::MplsNsh, &[true]);
    let frame = frame_before(&mut chain, 1);
    let mut altered = frame;
    let at = header_at(&altered);
    for (ttl, expected) in
        [(0, DropReason::TtlExpired), (1, DropReason::TtlExpired), (2, DropReason::BadMac)]
    {
        let mut packet = ringmail_packet::nsh::Packet::new_unchecked(&mut altered.bytes[at..]);
        packet.set_ttl(ttl);
        assert_eq!(reason(&mut chain, &altered), expected, "{ttl}");
    }
}

/// Two addresses are exchanged, so that the checksum of the outer header stays right.
#[test]
fn exchanged_addresses_are_noticed_though_the_checksum_is_right() {
    for wire in Wire::WITH_NSH {
        let mut chain = pinned(wire, &[false, true]);
        let mut frame = frame_before(&mut chain, 1);
        let ip = header_at(&frame) + super::header(&frame).header_len();
        let (source, destination) = frame.bytes[ip + 12..ip + 20].split_at_mut(4);
        source.swap_with_slice(destination);
        assert_eq!(reason(&mut chain, &frame), DropReason::BadMac);
    }
}

#[test]
fn a_frame_of_one_packet_does_not_take_the_header_of_another() {
    for wire in Wire::WITH_NSH {
        let mut chain = pinned(wire, &[true]);
        let one = frame_before(&mut chain, 1);
        let mut other = frame_before(&mut chain, 1);
        let at = header_at(&one);
        let end = at + super::header(&one).header_len();
        other.bytes[at..end].copy_from_slice(&one.bytes[at..end]);
        assert_eq!(reason(&mut chain, &other), DropReason::BadMac);
    }
}

/// Labels without the header, and a header where there should be none.
#[test]
fn profiles_never_fall_back() {
    let strip = |frame: &Frame| {
        let (at, len) = (header_at(frame), super::header(frame).header_len());
        let mut bytes = frame.bytes[..at - 4].to_vec();
        bytes[at - 6] |= 1;
        bytes.extend(&frame.bytes[at + len..]);
        Frame { bytes, ..frame.clone() }
    };
    for at in [1, 2, 3] {
        let mut chain = pinned(Wire::MplsNsh, &[true, false]);
        let frame = frame_before(&mut chain, at);
        // The second hop finds paths by what steers alone.
        let expected = if at == 2 { DropReason::LabelMismatch } else { DropReason::WrongProfile };
        assert_eq!(reason(&mut chain, &strip(&frame)), expected, "{at}");
        assert!(chain.run(frame).is_ok());
    }
    let mut with = pinned(Wire::MplsNsh, &[true]);
    let frame = frame_before(&mut with, 1);
    let mut without = pinned(Wire::Mpls, &[true]);
    assert_eq!(reason(&mut without, &frame), DropReason::WrongProfile);
}

#[test]
fn without_keys_nothing_goes_on_and_the_reason_is_counted() {
    use ringmail_model::SaSpi;
    let mut chain = pinned(Wire::MplsNsh, &[false]);
    let spi = |kind: u32, place: u32| SaSpi(kind + FORWARD.0 * 64 + place);
    chain.header(1, FORWARD).remove_goes(spi(0x2000, 1));
    let frame = frame_before(&mut chain, 1);
    assert_eq!(reason(&mut chain, &frame), DropReason::NoAssociation);
    let mut chain = pinned(Wire::MplsNsh, &[true]);
    chain.header(0, FORWARD).remove_prover(spi(0x3000, 0));
    let refused = chain.enter(&packets::tcp(b"hello")).map(|_| ());
    assert_eq!(refused, Err(Verdict::Drop(DropReason::NoAssociation)));
    let mut chain = pinned(Wire::MplsNsh, &[true]);
    let frame = frame_before(&mut chain, 1);
    chain.header(1, FORWARD).remove_came(spi(0x2000, 0));
    assert_eq!(reason(&mut chain, &frame), DropReason::UnknownLinkKey);
}

#[test]
fn when_the_lease_is_over_nothing_goes_on() {
    let mut chain = pinned(Wire::MplsNsh, &[false]);
    let frame = frame_before(&mut chain, 1);
    chain.lease.expire();
    assert_eq!(reason(&mut chain, &frame), DropReason::LeaseExpired);
}
