//! The bodies of the fuzz targets of `ringmail-dataplane`: bytes become a batch of frames for a hop or for both ends of a
//! path, raw, mutated, or sealed with the right key over any text. `crates/dataplane/tests` calls them too, with the
//! committed corpus, and shares its chain in memory with them.
//!
//! What is checked: nothing panics, every packet ends in a verdict, every drop is counted once, and a good packet still
//! passes afterwards.

use std::time::{Duration, Instant};

use ringmail_dataplane::counters::Counters;
use ringmail_dataplane::function::{Action, FunctionCounter};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::sap::fuzz::fuzz_sap;
use ringmail_dataplane::{Batch, DropReason, Function, FunctionBatch, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::integrity::Scope;
use ringmail_model::overhead::EspMode;

use crate::packets;
use crate::sealing::reseal;
use crate::testbed::{Chain, FORWARD, Frame, RETURN, UTC, Wire, material};

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 4] = [
    ("dataplane_edge_frame", fuzz_edge_frame),
    ("dataplane_hop_frame", fuzz_hop_frame),
    ("dataplane_rfc9145_frame", fuzz_rfc9145_frame),
    ("dataplane_sap", fuzz_sap),
];

/// Packets of one input at most: what a batch holds.
const PACKETS: usize = 64;

/// Takes the input apart; every read of what is not there ends the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    /// Up to this many bytes.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Does what the last byte of a packet says, so that the input reaches every action.
#[derive(Debug)]
struct ByLastByte;

impl Function for ByLastByte {
    fn handle_batch(&mut self, _now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            packets.set_action(
                nth,
                match packets.packet(nth).last() {
                    Some(0xf0) => Action::Drop { rule: 0 },
                    Some(0xf1) => Action::Reset { rule: 0 },
                    Some(0xf2) => Action::NoRoom,
                    Some(0xf3) => Action::Refuse,
                    _ => Action::Pass,
                },
            );
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        Vec::new()
    }
}

fn mode(head: u8) -> EspMode {
    if head & 1 == 0 { EspMode::Tunnel } else { EspMode::Transport }
}

fn pinned(mut chain: Chain) -> Chain {
    for flow in [packets::flow(), packets::flow_v6()] {
        chain.gateway.pin(flow, FORWARD).expect("room");
    }
    chain
}

/// A packet that passes, of either IP version; what the kind leads to is up to the input.
fn plain(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let choice = input.byte()?;
    let flow = if choice & 1 == 0 { packets::flow() } else { packets::flow_v6() };
    let len = usize::from(input.byte()?);
    let payload = input.bytes(len);
    let flags = ringmail_packet::tcp::Flags(u16::from(choice >> 1));
    Some(packets::tcp_between(flow, flags, 1, 1, payload))
}

/// Changes bytes of a packet, cuts it, or puts bytes behind it.
fn mutate(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    match input.byte()? {
        0 => {
            let len = input.word()? % (bytes.len() + 1);
            bytes.truncate(len);
        }
        1 => {
            let len = usize::from(input.byte()?);
            bytes.extend_from_slice(input.bytes(len));
        }
        count => {
            for _ in 1..count.min(9) {
                let at = input.word()? % bytes.len().max(1);
                let xor = input.byte()?;
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= xor);
            }
        }
    }
    Some(())
}

/// The next frame of the input, for the first element behind the gateway. `None` when there is none.
fn frame(input: &mut Input<'_>, chain: &mut Chain, before: Option<&Vec<u8>>) -> Option<Vec<u8>> {
    let kind = input.byte()?;
    if kind == 0 {
        let len = input.word()?;
        return Some(input.bytes(len).to_vec());
    }
    if let (1, Some(before)) = (kind, before) {
        return Some(before.clone());
    }
    let packet = plain(input)?;
    let Ok(good) = chain.enter(&packet) else { return Some(packet) };
    match kind {
        2 => Some(good.bytes),
        3 => {
            let len = input.word()? % 2048;
            let text = input.bytes(len);
            Some(reseal(&good, &material(FORWARD, 0), text).bytes)
        }
        _ => {
            let mut bytes = good.bytes;
            mutate(input, &mut bytes)?;
            Some(bytes)
        }
    }
}

fn batch_of(packets: &[Vec<u8>], room: (usize, usize)) -> Batch {
    let mut batch = Batch::with_capacity_bytes(PACKETS * 4096);
    for packet in packets {
        if batch.push_copy(room.0, packet, room.1).is_err() {
            break;
        }
    }
    batch
}

/// Drops among these verdicts. None may be undecided.
fn drops(batch: &Batch) -> u64 {
    let verdicts = (0..batch.len()).map(|index| batch.verdict(index));
    verdicts
        .map(|verdict| {
            assert_ne!(verdict, Verdict::Pending);
            u64::from(matches!(verdict, Verdict::Drop(_)))
        })
        .sum()
}

fn check(counters: &Counters, dropped_before: u64, dropped: u64) {
    assert_eq!(counters.dropped_total(), dropped_before + dropped, "every drop is counted once");
}

fn still_good(chain: &mut Chain) {
    let request = packets::tcp(b"good");
    assert_eq!(chain.forward(&request).as_ref(), Ok(&request), "a good packet passes");
    let reply = packets::tcp_reply(b"good");
    assert_eq!(chain.back(&reply).as_ref(), Ok(&reply), "and its answer");
}

/// Frames for a hop; what it sends on goes on to the end. The first byte chooses mode, kind of hop and neighbour.
pub fn fuzz_hop_frame(data: &[u8]) {
    let mut input = Input(data);
    let Some(head) = input.byte() else { return };
    let intrusive = head & 2 == 0;
    let mut chain = pinned(Chain::in_mode(mode(head), vec![(intrusive, Box::new(ByLastByte))]));
    let mut frames: Vec<Vec<u8>> = Vec::new();
    while let Some(frame) = frame(&mut input, &mut chain, frames.last())
        && frames.len() < PACKETS
    {
        frames.push(frame);
    }
    let mut batch = batch_of(&frames, (0, 0));
    let from = if head & 4 == 0 { 0 } else { 2 };
    batch.set_source(Some(Neighbour(from)));
    let mut made = Batch::default();
    chain.hops[0].handle_link(chain.now, &mut batch, &mut made);
    let counters = chain.hops[0].counters();
    check(counters, 0, drops(&batch) + drops(&made));
    assert_eq!(counters.link_in.packets.get(), batch.len() as u64);
    let sent = (batch.len() + made.len()) as u64 - counters.dropped_total();
    assert_eq!(counters.link_out.packets.get(), sent);
    for batch in [&batch, &made] {
        for index in 0..batch.len() {
            if let Verdict::Send(to) = batch.verdict(index) {
                let bytes = batch.packet(index).to_vec();
                // Delivered or refused; a text of the input's own need not be for the service.
                let _end = chain.run(Frame { from: 1, to: to.0.into(), bytes });
            }
        }
    }
    still_good(&mut chain);
}

/// Frames whose headers have the code of RFC 9145 for a hop. Whatever it takes is what somebody with the key sent, and within
/// the window: it arrives, unless it came before. The first byte chooses scope, profile, kind of hop and its clock.
pub fn fuzz_rfc9145_frame(data: &[u8]) {
    let mut input = Input(data);
    let Some(head) = input.byte() else { return };
    let scope = if head & 1 == 0 { Scope::Mac1 } else { Scope::Mac2 };
    let wire = Wire::WITH_NSH[usize::from(head >> 1 & 3) % Wire::WITH_NSH.len()];
    let hops: Vec<crate::testbed::Served> =
        vec![(head & 8 == 0, Box::new(ByLastByte)), (true, Box::<Forward>::default())];
    let mut chain = pinned(Chain::rfc9145(wire, scope, hops));
    let mut frames: Vec<Vec<u8>> = Vec::new();
    while let Some(frame) = frame(&mut input, &mut chain, frames.last())
        && frames.len() < PACKETS
    {
        frames.push(frame);
    }
    let (late, now) = (head & 16 != 0, chain.now);
    if late {
        chain.paths(1).clock().set(now, UTC + Duration::from_secs(2));
    }
    let mut batch = batch_of(&frames, (0, 0));
    batch.set_source(Some(Neighbour(0)));
    let mut made = Batch::default();
    chain.hops[0].handle_link(now, &mut batch, &mut made);
    check(chain.hops[0].counters(), 0, drops(&batch) + drops(&made));
    for index in 0..batch.len() {
        let Verdict::Send(to) = batch.verdict(index) else { continue };
        assert!(!late, "it is too old");
        let bytes = batch.packet(index).to_vec();
        let arrived = chain.run(Frame { from: 1, to: to.0.into(), bytes });
        // TTLs of labels, and under MAC#1 that of the header, are anybody's.
        let fine = [DropReason::Replayed, DropReason::ProofRepeated, DropReason::TtlExpired];
        let refused =
            |verdict: &Verdict| fine.iter().any(|reason| *verdict == Verdict::Drop(*reason));
        assert!(arrived.as_ref().err().is_none_or(refused), "{arrived:?}");
    }
    chain.paths(1).clock().set(now, UTC);
    still_good(&mut chain);
}

/// Frames and plain packets for both ends of a path without hops. The first byte chooses mode and end.
pub fn fuzz_edge_frame(data: &[u8]) {
    let mut input = Input(data);
    let Some(head) = input.byte() else { return };
    let mut chain = pinned(Chain::in_mode(mode(head), vec![]));
    let to_gateway = head & 2 != 0;
    let (mut frames, mut inner): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
    while frames.len() < PACKETS && inner.len() < PACKETS {
        let Some(frame) = frame(&mut input, &mut chain, frames.last()) else { break };
        frames.push(frame);
        let Some(mut packet) = plain(&mut input) else { break };
        if mutate(&mut input, &mut packet).is_none() {
            break;
        }
        inner.push(packet);
    }
    if to_gateway {
        // Frames for the egress are foreign here; those of answers come from the egress.
        let opening = packets::tcp(b"opens the flow");
        chain.forward(&opening).expect("delivered");
        let mut answers = Input(data);
        while frames.len() < PACKETS
            && let (Some(at), Some(text)) = (answers.byte(), answers.byte())
        {
            let answer = chain.leave(&packets::tcp_reply(&[at])).expect("a frame");
            let text = answers.bytes(text.into());
            frames.push(reseal(&answer, &material(RETURN, 0), text).bytes);
        }
    }
    let now = chain.now;
    let (end, from) = match to_gateway {
        true => (&mut chain.gateway, 1),
        false => (&mut chain.egress, 0),
    };
    let dropped_before = end.counters().dropped_total();
    let mut batch = batch_of(&frames, (0, 0));
    batch.set_source(Some(Neighbour(from)));
    end.handle_link(now, &mut batch);
    let mut dropped = drops(&batch);
    check(end.counters(), dropped_before, dropped);
    let mut batch = batch_of(&inner, (HEADROOM_BYTES, TAILROOM_BYTES));
    end.handle_inner(now, &mut batch);
    dropped += drops(&batch);
    check(end.counters(), dropped_before, dropped);
    still_good(&mut chain);
}
