//! Chains whose packets carry a Network Service Header (`docs/nsh.md`): what goes through, and what does not any more.

mod altered;
mod insider;
mod metadata;
mod rfc9145;
mod trails;

use ringmail_dataplane::nsh::verify::Verdict as Proof;
use ringmail_dataplane::{Function, Verdict};
use ringmail_functions::Forward;
use ringmail_packet::nsh;

use crate::memory::Stop;
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, Position, RETURN, Served, Wire};

/// Which hops of a chain are intrusive.
const CHAINS: [&[bool]; 7] = [
    &[],
    &[true],
    &[false],
    &[true, true],
    &[false, true, false],
    &[true, false, false, true],
    &[true; 6],
];

fn forward(intrusive: bool) -> Served {
    (intrusive, Box::<Forward>::default() as Box<dyn Function>)
}

pub(super) fn pinned(wire: Wire, intrusive: &[bool]) -> Chain {
    let functions = intrusive.iter().map(|intrusive| forward(*intrusive)).collect();
    pin(Chain::on(wire, &[], functions))
}

fn pin(mut chain: Chain) -> Chain {
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    chain
}

/// Where the header begins on a frame.
pub(super) fn header_at(frame: &Frame) -> usize {
    // The labels end with the bottom of the stack; a frame that begins with the header has version 0 and TTL 63 or less,
    // as its first byte says.
    match frame.bytes.get(2..4) {
        Some([2, 1]) => 0,
        _ => 4 * (1 + frame.bytes.chunks(4).position(|entry| entry[2] & 1 == 1).expect("a stack")),
    }
}

pub(super) fn header(frame: &Frame) -> nsh::Packet<&[u8]> {
    nsh::Packet::new_checked(&frame.bytes[header_at(frame)..]).expect("a header")
}

fn proofs(chain: &mut Chain, at: Position, path: ringmail_model::PathId, verdict: Proof) -> u64 {
    chain.paths(at).get(path).expect("the path").proofs.of(verdict)
}

#[test]
fn a_request_and_its_reply_come_out_as_they_went_in_and_are_proved() {
    for wire in Wire::WITH_NSH {
        for intrusive in CHAINS {
            let mut chain = pinned(wire, intrusive);
            let request = packets::tcp(b"GET / HTTP/1.1\r\n\r\n");
            let reply = packets::tcp_reply(b"HTTP/1.1 200 OK\r\n\r\n");
            for _ in 0..3 {
                assert_eq!(
                    chain.forward(&request).as_ref(),
                    Ok(&request),
                    "{wire:?} {intrusive:?}"
                );
                assert_eq!(chain.back(&reply).as_ref(), Ok(&reply), "{wire:?} {intrusive:?}");
            }
            let end = intrusive.len() + 1;
            assert_eq!(proofs(&mut chain, end, FORWARD, Proof::Proved), 3);
            assert_eq!(proofs(&mut chain, 0, RETURN, Proof::Proved), 3);
        }
    }
}

#[test]
fn the_header_says_where_on_its_path_a_packet_is() {
    for wire in Wire::WITH_NSH {
        let mut chain = pinned(wire, &[true, false, true]);
        let mut frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
        for step in 0..3 {
            let header = header(&frame);
            assert_eq!((header.spi(), header.si(), header.ttl()), (1, 255 - step, 63 - step));
            frame = chain.step(&frame).frame.expect("a frame");
        }
    }
}

/// What a hop makes itself is proved from that hop on, in both directions, where it is granted; otherwise it ends there.
#[test]
fn resets_are_proved_from_the_hop_that_makes_them_and_only_if_it_may() {
    for wire in Wire::WITH_NSH {
        for granted in [&[2][..], &[]] {
            let functions = vec![forward(true), (true, Box::new(Stop) as _), forward(false)];
            let mut chain = pin(Chain::on(wire, granted, functions));
            assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
            let frame = chain.enter(&packets::tcp(b"stop")).expect("a frame");
            let frame = chain.step(&frame).frame.expect("a frame");
            let made = chain.step(&frame).made;
            assert_eq!(made.len(), 2, "one for each end");
            for reset in made {
                let arrived = chain.run(reset);
                assert_eq!(arrived.is_ok(), !granted.is_empty(), "{wire:?} {arrived:?}");
            }
            let refused = proofs(&mut chain, 4, FORWARD, Proof::UnknownOrigin)
                + proofs(&mut chain, 0, RETURN, Proof::UnknownOrigin);
            assert_eq!(refused, if granted.is_empty() { 2 } else { 0 });
            // On the way there it is the second hop, on the way back, too.
            for (end, path) in [(4, FORWARD), (0, RETURN)] {
                let state = chain.paths(end).get(path).expect("the path");
                let from: Vec<_> = state.proofs.proved_from().filter(|(_, n)| *n > 0).collect();
                let begun = u64::from(path == FORWARD);
                let expected: &[(u8, u64)] = match (granted.is_empty(), begun) {
                    (true, 0) => &[],
                    (true, _) => &[(0, 1)],
                    (false, 0) => &[(2, 1)],
                    (false, _) => &[(0, 1), (2, 1)],
                };
                assert_eq!(from, expected, "{wire:?} {granted:?}");
                // The last of them is the reset: it names who made it, or who claims to have.
                let journal = state.nsh.as_ref().and_then(|nsh| nsh.journal()).expect("an end");
                let (_, last) = *journal.read(1).last().expect("a finding");
                let verdict = if granted.is_empty() { Proof::UnknownOrigin } else { Proof::Proved };
                assert_eq!((last.verdict, last.element().0), (verdict, 2));
            }
        }
    }
}

/// More packets than go through the cipher side by side, of two paths in turn.
#[test]
fn a_batch_of_several_paths_goes_through_as_its_packets_would_alone() {
    use ringmail_dataplane::{Batch, Neighbour};
    use ringmail_model::PathId;
    use ringmail_packet::tcp::Flags;

    const OTHER: PathId = PathId(3);
    for wire in Wire::WITH_NSH {
        let mut chain = Chain::without_paths(wire, vec![forward(true), forward(true)]);
        chain.lay(FORWARD, Some(RETURN), &[0, 1, 2, 3]);
        chain.lay(OTHER, Some(RETURN), &[0, 1, 3]);
        chain.lay(RETURN, None, &[3, 1, 0]);
        let other = ringmail_packet::flow::FlowKey { src_port: 2, ..packets::flow() };
        chain.gateway.pin(packets::flow(), FORWARD).expect("room");
        chain.gateway.pin(other, OTHER).expect("room");
        let mut batch = Batch::default();
        for nth in 0..30u32 {
            let flow = if nth % 3 == 0 { other } else { packets::flow() };
            let packet = packets::tcp_between(flow, Flags::ACK, nth, 1, b"hello");
            let frame = chain.enter(&packet).expect("a frame");
            batch.push_copy(0, &frame.bytes, 0).expect("room");
        }
        let at = batch.packet(7).len() / 2;
        batch.packet_mut(7)[at] ^= 1;
        batch.set_source(Some(Neighbour(0)));
        let mut made = Batch::default();
        chain.hops[0].handle_link(chain.now, &mut batch, &mut made);
        let mut arrived = 0;
        for nth in (0..30).filter(|nth| *nth != 7) {
            let Verdict::Send(to) = batch.verdict(nth) else { panic!("{nth} was not sent") };
            assert_eq!(to, Neighbour(if nth % 3 == 0 { 3 } else { 2 }));
            let bytes = batch.packet(nth).to_vec();
            arrived += u32::from(chain.run(Frame { from: 1, to: to.0.into(), bytes }).is_ok());
        }
        assert!(matches!(batch.verdict(7), Verdict::Drop(_)));
        assert_eq!(arrived, 29);
    }
}
