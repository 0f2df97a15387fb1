//! Chains whose headers have the code of RFC 9145: what goes through, and what somebody on a link can change.

use std::time::Duration;

use aws_lc_rs::hmac;
use ringmail_dataplane::sa::Lease;
use ringmail_dataplane::sap::MacKey;
use ringmail_dataplane::{DropReason, Verdict};
use ringmail_model::SaSpi;
use ringmail_model::integrity::Scope::{self, Mac1, Mac2};
use ringmail_packet::ip::Ecn;
use ringmail_packet::{ipv4, nsh};

use super::{forward, header, header_at, pin, pinned};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, Position, UTC, Wire};

/// Bytes of the context header, which is last: class 2, type 1, length 1, then length of the key id 1, key id 4, timestamp 8,
/// length of the nonce 1, code 16, padding 2 (RFC 9145 section 5).
const CONTEXT: usize = 36;
const KEY_ID: usize = 5;
const TIMESTAMP: usize = 9;
const NONCE_LEN: usize = 17;
const MAC: usize = 18;

const BOTH: [(Scope, u8); 2] = [(Mac1, 2), (Mac2, 3)];

fn chain(wire: Wire, scope: Scope, intrusive: &[bool]) -> Chain {
    let functions = intrusive.iter().map(|intrusive| forward(*intrusive)).collect();
    pin(Chain::rfc9145(wire, scope, functions))
}

fn enter(chain: &mut Chain) -> Frame {
    chain.enter(&packets::tcp(b"hello")).expect("a frame")
}

fn frame_before(chain: &mut Chain, at: Position) -> Frame {
    let mut frame = enter(chain);
    while frame.to != at {
        frame = chain.step(&frame).frame.expect("a frame");
    }
    frame
}

fn dropped(chain: &mut Chain, frame: &Frame) -> DropReason {
    match chain.step(frame).verdict {
        Verdict::Drop(reason) => reason,
        verdict => panic!("{verdict:?}"),
    }
}

/// Where the context header with the code is on a frame.
fn context_at(frame: &Frame) -> usize {
    header_at(frame) + header(frame).header_len() - CONTEXT
}

/// The key of the link before this place of the forward path, as the testbed has it.
fn key(place: Position) -> [u8; 32] {
    [0x10 + FORWARD.0 as u8 * 64 + place as u8 - 1; 32]
}

/// The code over what is on the wire, made of one piece.
fn code(frame: &Frame, scope: Scope, key: [u8; 32]) -> Vec<u8> {
    let mut data = frame.bytes.clone();
    let mac = context_at(frame) + MAC;
    data[mac..mac + 16].fill(0);
    let from = header_at(frame) + if scope == Mac1 { 4 } else { 0 };
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &data[from..]);
    tag.as_ref()[..16].to_vec()
}

#[test]
fn packets_go_through_both_ways_under_every_profile() {
    for wire in Wire::WITH_NSH {
        for (scope, _) in BOTH {
            for intrusive in [&[][..], &[true], &[false, true, false], &[true; 6]] {
                let mut chain = chain(wire, scope, intrusive);
                let (request, reply) = (packets::tcp(b"a request"), packets::tcp_reply(b"a reply"));
                for _ in 0..3 {
                    assert_eq!(
                        chain.forward(&request).as_ref(),
                        Ok(&request),
                        "{wire:?} {scope:?}"
                    );
                    assert_eq!(chain.back(&reply).as_ref(), Ok(&reply), "{wire:?} {scope:?}");
                }
            }
        }
    }
}

/// The last context header, byte by byte; the time stays what it was when the packet began.
#[test]
fn the_header_on_every_link_is_that_of_the_rfc() {
    for wire in Wire::WITH_NSH {
        for (scope, kind) in BOTH {
            let mut chain = chain(wire, scope, &[true, false, true]);
            for place in 1..=4 {
                let frame = frame_before(&mut chain, place);
                let context = &frame.bytes[context_at(&frame)..][..CONTEXT];
                assert_eq!(context[..5], [0, 0, kind, 30, 4]);
                let key_id = 0x2000 + FORWARD.0 * 64 + place as u32 - 1;
                assert_eq!(context[KEY_ID..TIMESTAMP], key_id.to_be_bytes());
                let time = [1_800_000_000_u32.to_be_bytes(), (1_u32 << 29).to_be_bytes()].concat();
                assert_eq!(context[TIMESTAMP..NONCE_LEN], time);
                assert_eq!((context[NONCE_LEN], &context[MAC + 16..]), (0, &[0, 0][..]));
                assert_eq!(context[MAC..MAC + 16], code(&frame, scope, key(place)));
                let last = header(&frame).contexts().last().expect("some").expect("whole");
                assert_eq!((last.class, last.kind), (0, kind), "it stands last");
            }
        }
    }
}

/// At hops that open and at one that does not: packet, header and time, each bit. Labels are no part of it, so that forwarders
/// may change what labels do not say; MAC#1 leaves out the base header, of which only the TTL can be another.
#[test]
fn no_bit_that_is_covered_can_be_changed_on_a_link() {
    for (wire, scope) in [(Wire::MplsNsh, Mac2), (Wire::Nsh, Mac1), (Wire::Sff, Mac2)] {
        for at in 1..=4 {
            let mut chain = chain(wire, scope, &[true, false, true]);
            let frame = frame_before(&mut chain, at);
            let labels = header_at(&frame);
            let mut bad_macs = 0;
            for byte in labels..frame.bytes.len() {
                for bit in 0..8 {
                    // Of the first two bytes: four bits of the TTL, then two.
                    let ttl = byte == labels && bit < 4 || byte == labels + 1 && bit >= 6;
                    let mut altered = frame.clone();
                    altered.bytes[byte] ^= 1 << bit;
                    if ttl && scope == Mac1 {
                        continue;
                    }
                    bad_macs += usize::from(dropped(&mut chain, &altered) == DropReason::BadMac);
                }
            }
            assert!(bad_macs > 400, "{bad_macs}");
            assert!(chain.run(frame).is_ok(), "the frame itself goes through: {wire:?} {at}");
        }
    }
}

#[test]
fn a_forwarder_without_keys_may_lessen_the_ttl_under_mac_1_alone() {
    for (scope, _) in BOTH {
        let mut chain = chain(Wire::Nsh, scope, &[true, false]);
        let mut frame = enter(&mut chain);
        let ttl = header(&frame).ttl();
        nsh::Packet::new_unchecked(&mut frame.bytes[..]).set_ttl(ttl - 1);
        match scope {
            Mac1 => assert_eq!(chain.run(frame), Ok(packets::tcp(b"hello"))),
            Mac2 => assert_eq!(dropped(&mut chain, &frame), DropReason::BadMac),
        }
    }
}

#[test]
fn a_packet_is_taken_within_the_window_on_either_side_only() {
    let ms = Duration::from_millis;
    for (scope, _) in BOTH {
        for (skew, ahead, fine) in [
            (ms(1_999), true, true),
            (ms(1_999), false, true),
            (ms(2_000), true, false),
            (ms(2_000), false, false),
            (ms(3_600_000), true, false),
            (ms(3_600_000), false, false),
        ] {
            let mut chain = chain(Wire::MplsNsh, scope, &[true, true]);
            let frame = enter(&mut chain);
            let now = chain.now;
            let time = if ahead { UTC + skew } else { UTC - skew };
            chain.paths(1).clock().set(now, time);
            let outcome = chain.step(&frame);
            match fine {
                true => assert!(outcome.frame.is_some(), "{skew:?} {ahead}"),
                false => assert_eq!(outcome.verdict, Verdict::Drop(DropReason::StaleTimestamp)),
            }
        }
        // It was held back: the same clock, later.
        let mut chain = chain(Wire::MplsNsh, scope, &[true]);
        let frame = enter(&mut chain);
        chain.now += Duration::from_secs(2);
        assert_eq!(dropped(&mut chain, &frame), DropReason::StaleTimestamp);
    }
}

/// Nobody signs or takes anything while no one has said what time it is.
#[test]
fn without_a_clock_nothing_goes() {
    let mut chain = Chain::without_paths(Wire::MplsNsh, vec![forward(true)]);
    chain.scope = Some(Mac2);
    chain.lay(FORWARD, None, &[0, 1, 2]);
    let mut chain = pin(chain);
    let stale = Verdict::Drop(DropReason::StaleTimestamp);
    assert_eq!(chain.enter(&packets::tcp(b"hello")).err(), Some(stale));
    let now = chain.now;
    chain.paths(0).clock().set(now, UTC);
    let frame = enter(&mut chain);
    assert_eq!(dropped(&mut chain, &frame), DropReason::StaleTimestamp);
}

#[test]
fn what_is_laid_out_otherwise_is_refused_before_anything_is_computed() {
    for (scope, kind) in BOTH {
        let mut chain = chain(Wire::MplsNsh, scope, &[true, true]);
        let frame = enter(&mut chain);
        let (from, at) = (header_at(&frame), context_at(&frame));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut altered = frame.clone();
            change(&mut altered.bytes);
            altered
        };
        // Two context headers of ours, `proof` and `marks`, are exchanged; they are 44 and 20 bytes long.
        let reordered = with(&|bytes| bytes[from + 8..at].rotate_left(at - from - 8 - 20));
        // The code comes first, and the rest behind it.
        let first = with(&|bytes| bytes[from + 8..at + CONTEXT].rotate_right(CONTEXT));
        let missing = with(&|bytes| {
            bytes.drain(at..at + CONTEXT);
            bytes[from + 1] -= (CONTEXT / 4) as u8;
        });
        let other = with(&|bytes| bytes[at + 2] = kind ^ 1);
        let key_id_len = with(&|bytes| bytes[at + 4] = 3);
        let nonce = with(&|bytes| bytes[at + NONCE_LEN] = 12);
        for wrong in [&reordered, &first, &missing, &other, &key_id_len, &nonce] {
            assert_eq!(dropped(&mut chain, wrong), DropReason::WrongNsh);
        }
        let key_id = with(&|bytes| bytes[at + KEY_ID + 3] ^= 1);
        assert_eq!(dropped(&mut chain, &key_id), DropReason::UnknownLinkKey);
        assert!(chain.run(frame).is_ok());
    }
}

#[test]
fn neither_kind_of_code_is_taken_for_the_other() {
    let mut theirs = chain(Wire::MplsNsh, Mac2, &[true]);
    let mut ours = pinned(Wire::MplsNsh, &[true]);
    let (of_theirs, of_ours) = (enter(&mut theirs), enter(&mut ours));
    assert_eq!(dropped(&mut theirs, &of_ours), DropReason::WrongNsh);
    assert_eq!(dropped(&mut ours, &of_theirs), DropReason::WrongNsh);
    let mut first = chain(Wire::MplsNsh, Mac1, &[true]);
    assert_eq!(dropped(&mut first, &of_theirs), DropReason::WrongNsh);
}

/// Whoever knows another link's key, or the path's former one, signs nothing that is taken.
#[test]
fn a_code_is_of_one_link_and_one_key() {
    for (scope, _) in BOTH {
        let mut chain = chain(Wire::MplsNsh, scope, &[true, true]);
        let mut frame = enter(&mut chain);
        let mac = context_at(&frame) + MAC;
        for (signed, fine) in [(key(2), false), ([0; 32], false), (key(1), true)] {
            let made = code(&frame, scope, signed);
            frame.bytes[mac..mac + 16].copy_from_slice(&made);
            match fine {
                true => assert!(chain.step(&frame).frame.is_some()),
                false => assert_eq!(dropped(&mut chain, &frame), DropReason::BadMac),
            }
        }
        // A key whose lease is over, and one too short for this code.
        let frame = enter(&mut chain);
        let id = SaSpi(0x2000 + FORWARD.0 * 64);
        let (now, short) = (chain.now, MacKey::new([0x50; 16]));
        let over = Lease::new(now, Duration::ZERO);
        chain.header(1, FORWARD).install_came(id, &MacKey::new_long(key(1)), over);
        assert_eq!(dropped(&mut chain, &frame), DropReason::LeaseExpired);
        let lease = chain.lease.clone();
        chain.header(1, FORWARD).install_came(id, &short, lease);
        assert_eq!(dropped(&mut chain, &frame), DropReason::UnknownLinkKey);
    }
}

/// A link of UDP copies a router's mark to the packet, below the header (RFC 6040); what cannot be marked cannot.
#[test]
fn a_mark_of_congestion_on_the_way_is_no_change() {
    let marked = |before: Ecn| {
        let mut chain = chain(Wire::Sff, Mac2, &[false, true]);
        let mut request = packets::tcp(b"hello");
        ipv4::Packet::new_unchecked(&mut request[..]).rewrite_ecn(before);
        let mut frame = chain.enter(&request).expect("a frame");
        let ip = header_at(&frame) + header(&frame).header_len();
        ipv4::Packet::new_unchecked(&mut frame.bytes[ip..]).rewrite_ecn(Ecn::Ce);
        chain.run(frame).map(|packet| ipv4::Packet::new_unchecked(&packet[..]).ecn())
    };
    assert_eq!(marked(Ecn::Ect0), Ok(Ecn::Ce));
    assert_eq!(marked(Ecn::Ect1), Ok(Ecn::Ce));
    assert_eq!(marked(Ecn::Ce), Ok(Ecn::Ce));
    assert_eq!(marked(Ecn::NotEct), Err(Verdict::Drop(DropReason::BadMac)));
}
