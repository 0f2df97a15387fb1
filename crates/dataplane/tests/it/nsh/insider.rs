//! Frames made by somebody who owns an element of the path and all of its keys.

use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::nsh::link::{Constant, Covered, LinkKey, Parts};
use ringmail_dataplane::nsh::verify::Verdict as Proof;
use ringmail_dataplane::{DropReason, Verdict};
use ringmail_model::{Label, SaSpi};

use super::{header, header_at, pinned, proofs};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, Wire};

/// What the first hop of two, which does not open packets, makes of one when it passes it on as it likes: `change` sees
/// header and whole frame, and the link's code is right afterwards.
pub(super) fn passed_on(
    chain: &Chain,
    frame: &Frame,
    change: impl FnOnce(&mut [u8], usize),
) -> Frame {
    let _ = chain;
    let mut bytes = frame.bytes[4..].to_vec();
    let at = header_at(frame) - 4;
    let len = header(frame).header_len();
    bytes[at + 7] -= 1;
    let mut nsh = ringmail_packet::nsh::Packet::new_unchecked(&mut bytes[at..]);
    nsh.set_ttl(62);
    change(&mut bytes, at);
    let mac = len - 20;
    // The ids and keys of the testbed, of the link behind place 1.
    let number = FORWARD.0 * 64 + 1;
    bytes[at + mac..at + mac + 4].copy_from_slice(&(0x2000 + number).to_be_bytes());
    let constant = constant(&bytes[..at], &bytes[at..at + len]);
    let key = LinkKey::new(&[0x10 + number as u8; 16], SaSpi(0x2000 + number), &constant);
    let mut covered = Covered::default();
    let (nsh, rest) = bytes[at..].split_at(len);
    let (ip, esp) = rest.split_at(20);
    covered.push(Parts { nsh, ip, esp }, mac).expect("a packet");
    let code = covered.codes(&key)[0];
    bytes[at + mac + 4..at + mac + 20].copy_from_slice(&code);
    Frame { from: 1, to: 2, bytes }
}

/// What of a frame is the same in all of its path, read off the frame itself.
fn constant(labels: &[u8], nsh: &[u8]) -> Constant {
    let word = |at: usize| u32::from_be_bytes(nsh[at..at + 4].try_into().expect("a word"));
    let mut words = vec![word(0) & !(0x3f << 22), word(4)];
    let mut at = 8;
    while at < nsh.len() {
        words.push(word(at));
        at += 4 + usize::from(nsh[at + 3]).next_multiple_of(4);
    }
    let labels: Vec<_> = labels
        .chunks(4)
        .map(|entry| u32::from_be_bytes(entry.try_into().expect("an entry")) >> 12)
        .map(|label| Label::new(label).expect("a label"))
        .collect();
    Constant::new(words.into_iter(), &LabelStack::new(&labels).expect("a stack"))
}

fn arrived(chain: &mut Chain) -> Frame {
    chain.enter(&packets::tcp(b"hello")).expect("a frame")
}

/// The positive control: what the helper makes is taken by the next element.
#[test]
fn the_helper_makes_frames_that_the_next_element_takes() {
    let mut chain = pinned(Wire::MplsNsh, &[false, false]);
    let frame = arrived(&mut chain);
    let frame = passed_on(&chain, &frame, |_, _| ());
    assert!(chain.step(&frame).frame.is_some());
}

#[test]
fn a_hop_that_passes_packets_on_without_its_tag_is_noticed_at_the_end() {
    let mut chain = pinned(Wire::MplsNsh, &[false, false]);
    let frame = arrived(&mut chain);
    let frame = passed_on(&chain, &frame, |_, _| ());
    assert_eq!(chain.run(frame), Err(Verdict::Drop(DropReason::ProofUnknownKey)));
    assert_eq!(proofs(&mut chain, 3, FORWARD, Proof::UnknownKey), 1);
    // With the id of its key, but without a tag under it.
    let frame = arrived(&mut chain);
    let frame = passed_on(&chain, &frame, |bytes, at| {
        let id = (0x3000 + FORWARD.0 * 64 + 1) as u16;
        bytes[at + 12 + 32 + 2..][..2].copy_from_slice(&id.to_be_bytes());
    });
    assert_eq!(chain.run(frame), Err(Verdict::Drop(DropReason::ProofWrong)));
    assert_eq!(proofs(&mut chain, 3, FORWARD, Proof::WrongTag), 1);
}

#[test]
fn a_hop_cannot_move_the_proof_of_one_packet_to_another() {
    let mut chain = pinned(Wire::MplsNsh, &[false, false]);
    let (one, other) = (arrived(&mut chain), arrived(&mut chain));
    let proved = chain.step(&one).frame.expect("a frame");
    let proof = header_at(&proved) + 12;
    let moved = passed_on(&chain, &other, |bytes, at| {
        bytes[at + 12..at + 12 + 38].copy_from_slice(&proved.bytes[proof..proof + 38]);
    });
    assert_eq!(chain.run(moved), Err(Verdict::Drop(DropReason::ProofWrong)));
    assert!(chain.run(proved).is_ok(), "the proof is right where it belongs");
}

#[test]
fn a_hop_cannot_say_that_somebody_else_began_a_packet() {
    let mut chain = pinned(Wire::MplsNsh, &[false, false]);
    let frame = arrived(&mut chain);
    let frame = passed_on(&chain, &frame, |bytes, at| bytes[at + 13] = 2);
    assert_eq!(chain.run(frame), Err(Verdict::Drop(DropReason::ProofUnknownOrigin)));
}

/// Where only counting is asked for, what is not proved goes through and is counted.
#[test]
fn what_is_only_observed_is_counted_and_delivered() {
    let mut chain = pinned(Wire::MplsNsh, &[false, false]);
    let mut config = chain.paths(3).get(FORWARD).expect("the path").config.clone();
    config.nsh.as_mut().expect("a header").enforce = false;
    chain.paths(3).put(config).expect("room");
    let frame = arrived(&mut chain);
    let frame = passed_on(&chain, &frame, |_, _| ());
    assert!(chain.run(frame).is_ok());
    assert_eq!(proofs(&mut chain, 3, FORWARD, Proof::UnknownKey), 1);
}
