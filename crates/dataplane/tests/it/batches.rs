//! Batches: order is kept, and what becomes of one packet does not touch its neighbours.

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_packet::tcp::Flags;

use crate::memory::{LONGER, Stop};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, RETURN, Wire};

/// A segment that says its number, each of another length.
fn numbered(number: usize) -> Vec<u8> {
    packets::tcp(format!("{number} {}", "x".repeat(number * 17 % 200)).as_bytes())
}

fn batch_of<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Batch {
    let mut batch = Batch::default();
    for packet in packets {
        batch.push_copy(HEADROOM_BYTES, packet, TAILROOM_BYTES).expect("room");
    }
    batch
}

/// The batch as the next element gets it: the same bytes, from this neighbour.
fn onwards(mut batch: Batch, from: u16) -> Batch {
    batch.set_source(Some(Neighbour(from)));
    batch
}

fn verdicts(batch: &Batch) -> Vec<Verdict> {
    (0..batch.len()).map(|index| batch.verdict(index)).collect()
}

fn full() -> (Chain, Vec<Vec<u8>>, Batch) {
    let mut chain = Chain::intrusive(1);
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    let plain: Vec<_> = (0..BATCH_PACKETS).map(numbered).collect();
    let mut batch = batch_of(plain.iter().map(Vec::as_slice));
    chain.gateway.handle_inner(chain.now, &mut batch);
    assert_eq!(verdicts(&batch), vec![Verdict::Send(Neighbour(1)); BATCH_PACKETS]);
    (chain, plain, onwards(batch, 0))
}

#[test]
fn a_full_batch_goes_through_in_place_and_in_order() {
    let (mut chain, plain, mut batch) = full();
    let mut made = Batch::default();
    chain.hops[0].handle_link(chain.now, &mut batch, &mut made);
    assert_eq!(verdicts(&batch), vec![Verdict::Send(Neighbour(2)); BATCH_PACKETS]);
    let mut batch = onwards(batch, 1);
    chain.egress.handle_link(chain.now, &mut batch);
    assert_eq!(verdicts(&batch), vec![Verdict::Deliver; BATCH_PACKETS]);
    let out: Vec<_> = (0..batch.len()).map(|index| batch.packet(index).to_vec()).collect();
    assert_eq!(out, plain);
    assert!(made.is_empty());
}

#[test]
fn every_second_frame_corrupt_costs_every_second_frame() {
    let (mut chain, plain, mut batch) = full();
    for index in (1..BATCH_PACKETS).step_by(2) {
        *batch.packet_mut(index).last_mut().expect("bytes") ^= 1;
    }
    chain.hops[0].handle_link(chain.now, &mut batch, &mut Batch::default());
    let mut batch = onwards(batch, 1);
    let alternating = [Verdict::Send(Neighbour(2)), Verdict::Drop(DropReason::BadIcv)];
    assert_eq!(verdicts(&batch), alternating.repeat(BATCH_PACKETS / 2));
    let half = BATCH_PACKETS as u64 / 2;
    let counters = chain.hops[0].counters();
    assert_eq!((counters.dropped(DropReason::BadIcv), counters.dropped_total()), (half, half));
    assert_eq!((counters.opened.packets.get(), counters.link_out.packets.get()), (half, half));
    let good = (0..BATCH_PACKETS).step_by(2);
    let mut survivors = batch_of(good.clone().map(|index| batch.packet(index)));
    survivors.set_source(batch.source());
    batch.clear();
    chain.egress.handle_link(chain.now, &mut survivors);
    for (nth, index) in good.enumerate() {
        assert_eq!(
            (survivors.verdict(nth), survivors.packet(nth)),
            (Verdict::Deliver, &plain[index][..])
        );
    }
}

/// Two paths, a function that passes, resets and never sees, a replay, a foreign label and a cut frame.
#[test]
fn each_packet_of_a_mixed_batch_gets_the_verdict_that_it_would_get_alone() {
    let mut chain = Chain::without_paths(
        Wire::Mpls,
        vec![(true, Box::new(Stop)), (true, Box::<Forward>::default())],
    );
    chain.lay(FORWARD, Some(RETURN), &[0, 1, 3]);
    chain.lay(LONGER, Some(RETURN), &[0, 1, 2, 3]);
    chain.lay(RETURN, None, &[3, 1, 0]);
    let (short, long) =
        (packets::flow(), ringmail_packet::flow::FlowKey { src_port: 2, ..packets::flow() });
    chain.gateway.pin(short, FORWARD).expect("room");
    chain.gateway.pin(long, LONGER).expect("room");
    let mut frame = |flow, payload: &[u8]| {
        chain.enter(&packets::tcp_between(flow, Flags::ACK, 1, 1, payload)).expect("a frame").bytes
    };
    let first = frame(short, b"first");
    let mut foreign = frame(short, b"foreign");
    foreign[0] ^= 1;
    let mut cut = frame(long, b"cut");
    cut.pop();
    let frames = [
        first.clone(),
        frame(long, b"second"),
        foreign,
        frame(long, b"stop"),
        first,
        frame(short, b"third"),
        cut,
        vec![],
        frame(long, b"fourth"),
    ];
    let mut batch = onwards(batch_of(frames.iter().map(Vec::as_slice)), 0);
    let mut made = Batch::default();
    chain.hops[0].handle_link(chain.now, &mut batch, &mut made);
    let (near, far) = (Verdict::Send(Neighbour(3)), Verdict::Send(Neighbour(2)));
    let expected = [
        near,
        far,
        Verdict::Drop(DropReason::UnknownLabel),
        Verdict::Drop(DropReason::FunctionReset),
        Verdict::Drop(DropReason::Replayed),
        near,
        Verdict::Drop(DropReason::Malformed),
        Verdict::Drop(DropReason::Malformed),
        far,
    ];
    assert_eq!(verdicts(&batch), expected);
    // The resets of the stopped packet: on along its path, and back.
    assert_eq!(verdicts(&made), [far, Verdict::Send(Neighbour(0))]);
    assert_eq!(chain.hops[0].counters().dropped_total(), 5);
    for (index, text) in [(0, "first"), (1, "second"), (5, "third"), (8, "fourth")] {
        let Verdict::Send(to) = batch.verdict(index) else { panic!("not sent") };
        let bytes = batch.packet(index).to_vec();
        let out = chain.run(Frame { from: 1, to: to.0.into(), bytes }).expect("delivered");
        assert!(out.ends_with(text.as_bytes()), "{text}");
    }
}
